"""Tables of function-calling rows for the terminal, and the page of results."""

from collections.abc import Iterator, Sequence

from rich.table import Table

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

EXPLANATION = """Brackets hold 95 % bootstrap intervals over the requests; p is from the exact McNemar test against
`toolken` on the same requests. All methods run in one process with the same LM, greedy, one request at a time.
*right tools*: each right tool is called, as often as it should be. *exact calls*: the calls are the right ones by the
rules of the Berkeley function-calling leaderboard (order of parallel calls free). *valid calls*: of the answers with
calls, those whose calls pass their schemas. *wrongly declined* and *declined*: no call where one is right, and where
none is. *asked back*: no call, and the text names what is missing or wrong. *seconds* per request without *set-up*,
which is done once per set of tools: reading the descriptions (toolken) or the schemas in the prompt (a server with a
prefix cache keeps them). *read*: tokens of the prompt. *KV MB*: the KV cache of one request.

`toolken` knows the tools by their descriptions alone, `toolken-k` by k examples each too. `native` is the LM's own chat
template with all schemas; calls are read leniently. `native-constrained` writes calls under the union of the schemas'
grammars. `retriever` puts the five tools into the prompt whose descriptions are nearest to the request
(all-MiniLM-L6-v2). LMs whose template takes no tools have a few-shot prompt instead of `native`: instructions and four
solved requests."""


def tables(rows: Sequence[Row]) -> Iterator[Table]:
    """Yield a table for the terminal per category and number of tools, with a column per method."""
    for (benchmark, split, tools), group in _groups(rows).items():
        shown = [metric for metric in COLUMNS if any(row.metric == metric for row in group)]
        table = Table(title=f"{benchmark}, {split}, {tools} tools, {max(row.n for row in group)} requests")
        methods = _by_method(group)
        for heading in ("", *methods):
            table.add_column(heading, justify="right" if heading else "left")
        for metric in shown:
            table.add_row(COLUMNS[metric], *(_cell(cells.get(metric)) for cells in methods.values()))
        if any(map(_p, methods.values())):
            table.add_row("p", *map(_p, methods.values()))
        yield table


def page(rows: Sequence[Row], command: str) -> str:
    """Return the tables as Markdown.

    Parameters
    ----------
    rows
        Rows of function-calling runs.
    command
        The command line that writes the page.
    """
    commands = list(dict.fromkeys(row.command for row in rows if row.command))
    parts = [
        "# Results, function calling",
        EXPLANATION,
        "```sh\n" + "\n".join([*commands, command]) + "\n```",
        *_sections(rows),
    ]
    return "\n\n".join(parts) + "\n"


def _sections(rows: Sequence[Row]) -> Iterator[str]:
    for (benchmark, split, tools), group in _groups(rows).items():
        yield f"## {benchmark}, {split}, {tools} tools ({max(row.n for row in group)} requests)"
        shown = [metric for metric in COLUMNS if any(row.metric == metric for row in group)]
        lines = [f"| method | {' | '.join(COLUMNS[metric] for metric in shown)} | p |", "|---" * (len(shown) + 2) + "|"]
        for name, cells in _by_method(group).items():
            lines.append(f"| {name} | {' | '.join(_cell(cells.get(metric)) for metric in shown)} | {_p(cells)} |")
        yield "\n".join(lines)


def _groups(rows: Sequence[Row]) -> dict[tuple[str, str, int], list[Row]]:
    groups: dict[tuple[str, str, int], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.benchmark, row.split, row.tools), []).append(row)
    return groups


def _by_method(group: Sequence[Row]) -> dict[str, dict[str, Row]]:
    found: dict[str, dict[str, Row]] = {}
    for name in METHODS:
        cells = {row.metric: row for row in group if row.method == name}
        if cells:
            count = next(iter(cells.values())).examples_per_tool
            found[name.replace("-k", f"-{count}") if name == "toolken-k" else name] = cells
    return found


def _cell(row: Row | None) -> str:
    if row is None:
        return ""
    if row.metric in _PLAIN:
        return f"{row.value:.3g}" if row.value < 100 else f"{row.value:.0f}"
    return f"{row.value:.3f} ({row.low:.3f}–{row.high:.3f})"


def _p(cells: dict[str, Row]) -> str:
    row = cells.get("exact") or cells.get("declined")
    return "" if row is None or row.p_value is None else f"{row.p_value:.2g}"
