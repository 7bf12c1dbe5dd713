"""Tables of function-calling rows for the terminal, and the page of results."""

from collections.abc import Iterator, Sequence

from rich.table import Table

from toolken.benchmarks.function_calling.figures import SUMMARY, has_own_tools, pooled
from toolken.benchmarks.function_calling.methods import METHODS
from toolken.benchmarks.selection.rows import Row

#: Columns of the tables in their order, with their headings.
COLUMNS = {
    "tools": "right tools",
    "exact": "exact calls",
    "valid": "valid calls",
    "over_declined": "wrongly declined",
    "declined": "declined",
    "asked": "asked back",
    "says": "sensible text",
    "calibration error": "calibration error",
    "median seconds": "seconds",
    "p95 seconds": "p95",
    "set-up seconds": "set-up",
    "tokens read": "read",
    "tokens written": "written",
    "cache megabytes": "KV MB",
}
#: Columns that are no shares.
_PLAIN = ("median seconds", "p95 seconds", "set-up seconds", "tokens read", "tokens written", "cache megabytes")
#: Columns that are errors, where zero is the best.
_ERRORS = ("calibration error",)
#: Figures of the summary after the scores.
_SUMMARY_COSTS = {"tokens read": "tokens read", "median seconds": "seconds (median)", "cache megabytes": "KV cache, MB"}
#: From this p-value on, a difference is not reported as a loss.
SIGNIFICANT = 0.05

_INTRODUCTION = """The same LM answers the same requests with toolkens and with the tools' schemas in its prompt,
greedy and one request at a time. Brackets hold 95 % bootstrap intervals over the requests; n/a marks a method that
does not apply, for example since its prompt exceeds the LM's context."""

EXPLANATION = """*right tools*: each right tool is called, as often as it should be. *exact calls*: the calls are
the right ones by the rules of the Berkeley function-calling leaderboard (order of parallel calls free). *valid
calls*: of the answers with calls, those whose calls pass their schemas. *wrongly declined* and *declined*: no call
where one is right, and where none is. *asked back*: no call, and the text names what is missing or wrong. *sensible
text*: no call, and the text has what a good answer contains, where a result that is copied as it is counts too; in
the category "answer" the right calls and their results are in the history. *calibration error*: of P(tool), or of
P(no call). *seconds* per request without *set- up*, which is done once per set of tools: reading the descriptions
(toolken), or the schemas in the prompt and their grammar (a server with a prefix cache keeps them). *read*: tokens
of the prompt. *KV MB*: the KV cache of one request. p is from the exact McNemar test of exact calls, or declined,
against `toolken` on the same requests.

`toolken` knows the tools by their descriptions alone, `toolken-k` by k examples each too. `native` is the LM's own
chat template with all schemas; calls are read leniently. `native-constrained` writes calls under the union of the
schemas' grammars. `retriever` puts the five tools into the prompt whose descriptions are nearest to the request
(all-MiniLM-L6-v2). LMs whose template takes no tools have a few-shot prompt instead of `native`: instructions and
four solved requests. A tool whose schema has no grammar makes its requests misses of the methods that need one."""


def tables(rows: Sequence[Row]) -> Iterator[Table]:
    """Yield a table for the terminal per category and number of tools, with a column per method."""
    for title, group in _groups(rows).items():
        shown = [metric for metric in COLUMNS if any(row.metric == metric for row in group)]
        table = Table(title=title)
        methods = _by_method(group)
        for heading in ("", *methods):
            table.add_column(heading, justify="right" if heading else "left")
        for metric in shown:
            table.add_row(COLUMNS[metric], *(_cell(cells.get(metric)) for cells in methods.values()))
        if any(map(_p, methods.values())):
            table.add_row("p", *map(_p, methods.values()))
        yield table


def page(rows: Sequence[Row], command: str, pictures: str = "") -> str:
    """Return the page as Markdown: a summary, the pictures, where toolkens lose, and all figures.

    Parameters
    ----------
    rows
        Rows of function-calling runs.
    command
        The command line that writes the page.
    pictures
        Markdown of the pictures.
    """
    commands = list(dict.fromkeys(row.command for row in rows if row.command))
    parts = [
        "# Results, function calling",
        _INTRODUCTION,
        _summary(rows),
        pictures.strip(),
        _losses(rows),
        "## How it was measured",
        "```sh\n" + "\n".join([*commands, command]) + "\n```",
        EXPLANATION,
        *_sections(rows),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _summary(rows: Sequence[Row]) -> str:
    """Return one table of all sets: the categories of a set pooled, a column per method."""
    columns = list(_by_method(rows))
    lines = [
        f"| set | tools | figure | requests | {' | '.join(columns)} |",
        "|---" * (len(columns) + 4) + "|",
    ]
    tests: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        # Without distractors, categories differ in the number of tools.
        tests.setdefault((row.benchmark, "own" if has_own_tools(row) else str(row.tools)), []).append(row)
    for (benchmark, tools), group in tests.items():
        for metric, label in (SUMMARY | _SUMMARY_COSTS).items():
            scored = _rows_by_method([row for row in group if row.metric == metric])
            cells = {name: pooled(mine) for name, mine in scored.items()}
            if cells:
                n = max(cell.n for cell in cells.values())
                shown = " | ".join(_pooled_cell(cells.get(name), n) for name in columns)
                lines.append(f"| {benchmark} | {tools} | {label} | {n} | {shown} |")
    return "\n".join(lines)


def _pooled_cell(row: Row | None, n: int) -> str:
    if row is None or row.n == n or _cell(row).endswith(f" of {row.n}"):
        return _cell(row)
    return f"{_cell(row)}, n = {row.n}"


def _losses(rows: Sequence[Row]) -> str:
    """Return where another method is better than toolkens from descriptions."""
    if not any(row.method == "toolken" for row in rows):
        return ""
    found = []
    for title, group in _groups(rows).items():
        methods = _by_method(group)
        for metric, label in SUMMARY.items():
            mine = methods.get("toolken", {}).get(metric)
            for name, cells in methods.items():
                other = cells.get(metric)
                if mine is None or other is None or other.p_value is None or other.value <= mine.value:
                    continue
                if other.p_value < SIGNIFICANT and not name.startswith("toolken"):
                    found.append(
                        f"- {title}, {label}: {name} {_share(other)}, toolken {_share(mine)} (p = {other.p_value:.2g})"
                    )
    nowhere = f"In no category is a prompt better than `toolken` with p < {SIGNIFICANT:g}."
    return "## Where toolkens lose\n\n" + ("\n".join(found) or nowhere)


def _sections(rows: Sequence[Row]) -> Iterator[str]:
    for title, group in _groups(rows).items():
        yield f"## {title}"
        shown = [metric for metric in COLUMNS if any(row.metric == metric for row in group)]
        lines = [f"| method | {' | '.join(COLUMNS[metric] for metric in shown)} | p |", "|---" * (len(shown) + 2) + "|"]
        for name, cells in _by_method(group).items():
            lines.append(f"| {name} | {' | '.join(_cell(cells.get(metric)) for metric in shown)} | {_p(cells)} |")
        yield "\n".join(lines)


def _groups(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Return the rows of each test by its title."""
    groups: dict[tuple[str, str, int, bool], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.benchmark, row.split, row.tools, has_own_tools(row)), []).append(row)
    return {
        f"{benchmark}, {split}, {'at most ' if own and tools > 1 else ''}{tools} tool{'s' if tools > 1 else ''}"
        f"{' of the request' if own else ''} ({max(row.n for row in group)} requests)": group
        for (benchmark, split, tools, own), group in groups.items()
    }


def _rows_by_method(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Return the rows of each method in the order of `METHODS`; toolken-k has its number of examples in its name."""
    found: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: (METHODS.index(row.method), row.examples_per_tool or 0)):
        name = f"toolken-{row.examples_per_tool}" if row.method == "toolken-k" else row.method
        found.setdefault(name, []).append(row)
    return found


def _by_method(rows: Sequence[Row]) -> dict[str, dict[str, Row]]:
    return {name: {row.metric: row for row in mine} for name, mine in _rows_by_method(rows).items()}


def _cell(row: Row | None) -> str:
    if row is None:
        return "n/a"
    if row.metric in _PLAIN:
        return f"{row.value:.3g}" if row.value < 100 else f"{row.value:.0f}"
    return f"{_share(row)} ({row.low:.3f}–{row.high:.3f})" if row.value or row.metric in _ERRORS else _share(row)


def _share(row: Row) -> str:
    return f"{row.value:.3f}" if row.value or row.metric in _ERRORS else f"0 of {row.n}"


def _p(cells: dict[str, Row]) -> str:
    row = cells.get("exact") or cells.get("declined")
    return "" if row is None or row.p_value is None else f"{row.p_value:.2g}"
