"""Tables of the means over seeds, one per data set, split and number of tools, for the terminal and as Markdown."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.table import Table

from toolken.benchmarks.selection.rows import Row

#: The order of the metrics in a table.
METRICS = ("accuracy", "top5", "precision", "recall", "f1", "ece")


@dataclass(frozen=True)
class _Figures:
    """One table: a line per method and number of examples, a column per metric."""

    title: str
    metrics: list[str]
    lines: list[tuple[Row, list[Row | None]]]


def rich_tables(rows: Sequence[Row]) -> list[Table]:
    """Return the tables for the terminal."""
    found = []
    for one in _figures(rows):
        table = Table(title=one.title)
        table.add_column("method")
        for heading in ("examples", *one.metrics, "seconds to fit"):
            table.add_column(heading, justify="right")
        for first, cells in one.lines:
            table.add_row(first.method, _count(first), *map(_shown, cells), f"{first.seconds:.1f}")
        found.append(table)
    return found


def markdown(rows: Sequence[Row]) -> str:
    """Return the tables as Markdown."""
    parts = []
    for one in _figures(rows):
        lines = [f"### {one.title}", ""]
        lines.append("| method | examples | " + " | ".join(one.metrics) + " | seconds to fit |")
        lines.append("|---" * (len(one.metrics) + 3) + "|")
        for first, cells in one.lines:
            shown = " | ".join(map(_shown, cells))
            lines.append(f"| {first.method} | {_count(first)} | {shown} | {first.seconds:.1f} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _figures(rows: Sequence[Row]) -> Iterator[_Figures]:
    groups: dict[tuple[str, str, int], list[Row]] = defaultdict(list)
    for row in rows:
        if row.seed is None:
            # Zero-shot rows belong to the table of the supervised comparison.
            split = "supervised" if row.split == "zero-shot" else row.split
            groups[row.benchmark, split, row.tools].append(row)
    for (benchmark, split, tools), group in groups.items():
        metrics = [name for name in METRICS if any(row.metric == name for row in group)]
        cells = {(row.method, row.examples_per_tool, row.metric): row for row in group}
        counts = dict.fromkeys((row.method, row.examples_per_tool) for row in group)
        lines = []
        for method, k in sorted(counts, key=lambda pair: float("inf") if pair[1] is None else pair[1]):
            values = [cells.get((method, k, name)) for name in metrics]
            lines.append((next(cell for cell in values if cell is not None), values))
        questions = max((row.n for row in group if row.metric == "accuracy"), default=group[0].n)
        yield _Figures(f"{benchmark}, {split}, {tools} tools ({questions} decisions)", metrics, lines)


def _count(row: Row) -> str:
    return "all" if row.examples_per_tool is None else str(row.examples_per_tool)


def _shown(cell: Row | None) -> str:
    return "" if cell is None else f"{cell.value:.3f} ({cell.low:.3f}–{cell.high:.3f})"
