"""The page of end-to-end results: Markdown tables of rows, beside what larger models are published to reach."""

from collections import defaultdict
from collections.abc import Sequence
from math import inf

from toolken.benchmarks.selection.rows import Row

#: What the stages mean.
STAGES = """Every attempt is scored stage by stage, so that a loss can be located: whether a tool is *called*, whether
the *tool* is the right one (KAMEL's published rule, by exact ids), whether its *arguments* are, whether the call's
*execution* brings a result, and whether the final *answer* is right. On KAMEL these stages are those of the first call,
each counts only where the one before it is passed, and a refused call that is made again with the name that the tool
offers counts for the answer alone; "answer, any" asks that one right object is named, "answer" that all are and nothing
else. On GSM8K-XL and FuncQA "answer" is the published rule (equal after rounding to two decimals; for multi-hop
questions within 0.1 %), "answer, strict" asks that all published digits are right, and tools and arguments are compared
with those of the one published way, beside which there may be others."""

#: What is published on each benchmark.
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


#: What another LM takes; computed from its configuration, not measured.
LARGER = """## With a larger model

`--lm` takes a folder, a GGUF file or a hub id; heads, settings and traces are made anew for each LM. In memory it takes
its weights (2 bytes a parameter in bfloat16: 3.4 GB for 1.7 billion, 26 GB for 13 billion) and the KV caches of the
texts that are written together, 16 at most, fewer where prompts are long: 2 x layers x key-value heads x head dimension
x 2 bytes a token, which is 23 kB for SmolLM2-135M, 0.2 MB for SmolLM2-1.7B and 0.8 MB for a LLaMA of 13 billion. Tools
in the prompt cost most: 234 descriptions are some thousands of tokens, in each of the texts; toolkens cost none. Time
grows with the number of parameters. The command prints its estimate, from the speed that it measures, before it
starts."""


def page(rows: Sequence[Row], command: str) -> str:
    """Return the page.

    Parameters
    ----------
    rows
        Rows of end-to-end runs; those of dev questions are passed over.
    command
        The command line that makes the page.
    """
    shown = [row for row in rows if row.mode == "end-to-end" and not row.split.startswith("dev: ")]
    commands = list(dict.fromkeys(row.command for row in shown if row.command))
    parts = [
        "# Results, end to end",
        "From the question to the final answer, with the tools really called. Intervals are 95 % bootstrap intervals "
        "over the questions; p is that of the exact McNemar test on the same questions against `toolken` (where seeds "
        "are averaged, of a permutation test). Settings were chosen on dev data by the command.",
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
    lines = [f"| method | examples a tool | {' | '.join(metrics)} | p | settings |", "|---" * (len(metrics) + 4) + "|"]
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
    """Say at which stage the project's own method loses most, with the most examples that it was given."""
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
    """Return a row's examples a tool; all there are is the most."""
    return inf if row.examples_per_tool is None else row.examples_per_tool
