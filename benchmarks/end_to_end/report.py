"""The page of end-to-end results: Markdown tables, and published figures of larger models."""

from collections import defaultdict
from collections.abc import Sequence
from math import inf

from toolken.benchmarks.selection.rows import Row

#: Explanation of the stages.
STAGES = """Each attempt is scored in stages, which locates a loss: a tool is *called*; the *tool* is the right
one (KAMEL's published rule, with exact ids); its *arguments* are right; the *execution* returns a result; the
final *answer* is right. On KAMEL the stages refer to the first call, each counts only if the one before it
passed, and a refused call that is repeated with the name suggested by the tool counts for the answer only;
"answer, any" requires one right object, "answer" all of them and nothing else. On GSM8K-XL and FuncQA, "answer"
is the published rule (equal after rounding to two decimals; within 0.1 % for multi-hop questions), "answer,
strict" requires all published digits, and tools and arguments are compared with the one published solution,
although others may exist."""

#: Published figures per benchmark.
PUBLISHED = {
    "kamel": "KAMEL, right tool of 30 / 234. Synthetic data: ToolkenGPT .592 / .254 (13B), TokenLearning .538 / .238 "
    "(13B) and .632 / .330 (70B), Chain-of-Tools .436 of 234 (7B), tools in the prompt .502 / .082 (13B). Supervised "
    "data: ToolkenGPT .980 / .932 (13B), Chain-of-Tools .938 of 234 (7B).",
    "gsm8k-xl": "GSM8K-XL, right answers: ToolkenGPT .33 (30B), the best baseline of its authors .32 (30B), "
    "Chain-of-Tools .19 (7B), a port of ToolkenGPT to SmolLM2-1.7B .187, which has .116 without.",
    "funcqa": "FuncQA, right answers one-hop / multi-hop: ToolkenGPT .73 / .15 (30B), tools in the prompt .57 / .06 "
    "(30B), Chain-of-Tools .53 / .07 (7B), a port of ToolkenGPT to SmolLM2-1.7B .317 one-hop, which has .117 without.",
    "virtualhome": "VirtualHome, success: ToolkenGPT .68 (13B), tools in the prompt with grounded decoding .38 (13B).",
}


#: Memory and time of larger LMs, computed from their configuration, not measured.
LARGER = """## With a larger model

`--lm` takes a folder, a GGUF file or a hub id; heads, settings and traces are computed per LM. Memory holds the
weights (2 bytes per parameter in bfloat16: 3.4 GB for 1.7 billion, 26 GB for 13 billion) and the KV caches of
the texts that are decoded together, at most 16, fewer for long prompts: 2 x layers x key-value heads x head
dimension x 2 bytes per token, which is 23 kB for SmolLM2-135M, 0.2 MB for SmolLM2-1.7B and 0.8 MB for a LLaMA
with 13 billion parameters. Tools in the prompt cost most: 234 descriptions take thousands of tokens in each
text, toolkens none. Time grows with the number of parameters. The command measures the speed and prints an
estimate before it starts."""


def page(rows: Sequence[Row], command: str) -> str:
    """Return the page.

    Parameters
    ----------
    rows
        Rows of end-to-end runs; rows of dev questions are skipped.
    command
        The command line that writes the page.
    """
    shown = [row for row in rows if row.mode == "end-to-end" and not row.split.startswith("dev: ")]
    commands = list(dict.fromkeys(row.command for row in shown if row.command))
    parts = [
        "# Results, end to end",
        "From question to final answer, with tools that run. Brackets hold 95 % bootstrap intervals over the "
        "questions; p is from the exact McNemar test against `toolken` on the same questions (a permutation test "
        "where seeds are averaged). The command chose settings on dev data.",
        STAGES,
        "```sh\n" + "\n".join([*commands, command]) + "\n```",
    ]
    for (benchmark, split, tools), group in _groups(shown).items():
        parts.append(f"## {benchmark}, {split}, {tools} tools ({max(row.n for row in group)} questions)")
        parts.append(_table(group))
        parts.append(_losses(group))
    parts.append(LARGER)
    parts.append("## As published, with larger models")
    parts += [text for benchmark, text in PUBLISHED.items() if any(row.benchmark == benchmark for row in shown)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _groups(rows: Sequence[Row]) -> dict[tuple[str, str, int], list[Row]]:
    groups: dict[tuple[str, str, int], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.benchmark, row.split, row.tools].append(row)
    return groups


def _table(group: Sequence[Row]) -> str:
    metrics = list(dict.fromkeys(row.metric for row in group))
    lines = [
        f"| method | examples per tool | {' | '.join(metrics)} | p | settings |",
        "|---" * (len(metrics) + 4) + "|",
    ]
    for method, k in dict.fromkeys((row.method, row.examples_per_tool) for row in group):
        cells = {row.metric: row for row in group if (row.method, row.examples_per_tool) == (method, k)}
        values = [
            f"{cells[name].value:.3f} ({cells[name].low:.3f}–{cells[name].high:.3f})" if name in cells else ""
            for name in metrics
        ]
        last = cells.get(metrics[-1])
        p = "" if last is None or last.p_value is None else f"{last.p_value:.2g}"
        settings = ", ".join(f"{key} {value}" for key, value in next(iter(cells.values())).settings.items())
        lines.append(f"| {method} | {'all' if k is None else k} | {' | '.join(values)} | {p} | {settings} |")
    return "\n".join(lines)


def _losses(group: Sequence[Row]) -> str:
    """Return a sentence with the loss of `toolken` per stage, for its largest number of examples."""
    ours = [row for row in group if row.method == "toolken"]
    most = max((_count(row) for row in ours), default=0.0)
    values = {row.metric: row.value for row in ours if _count(row) == most}
    stages = [name for name in ("call", "tool", "tools", "arguments", "execution") if name in values]
    if not stages or "execution" not in values or group[0].benchmark != "kamel":
        return ""
    before, losses = 1.0, {}
    for name in stages:
        losses[name] = before - values[name]
        before = values[name]
    return "Lost by `toolken` at each stage: " + ", ".join(f"{name} {loss:.3f}" for name, loss in losses.items()) + "."


def _count(row: Row) -> float:
    """Return the examples per tool of a row; infinity for all."""
    return inf if row.examples_per_tool is None else row.examples_per_tool
