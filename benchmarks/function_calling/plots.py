"""Pictures of function-calling rows: scores by category, and scores and costs by number of tools."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from toolken.benchmarks.function_calling.methods import METHODS
from toolken.benchmarks.selection.plots import SHARES, Panel, draw_sets
from toolken.benchmarks.selection.rows import Row

#: A colour and a marker per method, the same in all pictures; ours is drawn thicker.
_COLOURS = {name: f"C{number}" for number, name in enumerate(METHODS)}
_MARKERS = dict(zip(METHODS, "osvD^<P", strict=True))
#: The score of a category: exact calls, or where none is right, the requests without a call.
SCORES = ("exact", "declined")
#: Costs of the picture by number of tools, with their axis labels.
BY_TOOLS = {
    "median seconds": "seconds per request, median",
    "tokens read": "tokens of the prompt",
    "set-up seconds": "seconds once per set of tools",
}
#: From this number of questions on, points are joined by lines: fewer say little about a trend.
JOINED_FROM = 20


def draw_calls(rows: Sequence[Row], path: Path) -> list[Path]:
    """Draw the panels that the rows permit as PNG and SVG, and return the files.

    Parameters
    ----------
    path
        Name of the files; its suffix is replaced. Each of several sets gets separate files.

    Raises
    ------
    DataFormatError
        If matplotlib is not installed, there are no panels, or a file cannot be written.
    """
    return draw_sets(rows, _panels, path)


def _panels(rows: Sequence[Row]) -> list[Panel]:
    scores = [row for row in rows if row.metric in SCORES]
    sizes = sorted({row.tools for row in rows})
    repeated = [
        row for row in rows if len({o.tools for o in rows if (o.split, o.method) == (row.split, row.method)}) > 1
    ]
    if len(sizes) < 2 or not repeated:
        return [_by_category(scores)] if scores else []
    panels = [_by_tools(repeated, "exact", "exact calls", shares=True)]
    panels += [_by_tools(repeated, metric, label, shares=False) for metric, label in BY_TOOLS.items()]
    return [panel for panel in panels if panel is not None]


def _by_category(rows: Sequence[Row]) -> Panel:
    categories = list(dict.fromkeys(row.split for row in rows))
    methods = [name for name in METHODS if any(row.method == name for row in rows)]

    def draw(axes: Any) -> None:
        width = 0.8 / len(methods)
        for number, method in enumerate(methods):
            found = {row.split: row for row in rows if row.method == method}
            for at, category in enumerate(categories):
                row = found.get(category)
                place = at + (number - (len(methods) - 1) / 2) * width
                if row is None:
                    # A method that does not apply is not a zero.
                    axes.annotate("n/a", (place, 0.01), ha="center", fontsize="xx-small", rotation=90)
                    continue
                axes.bar(
                    place,
                    row.value,
                    width,
                    yerr=_spread([row]),
                    capsize=2,
                    color=_COLOURS[method],
                    hatch="//" if row.examples_per_tool else "",
                    edgecolor="white",
                    label=method if category == next(iter(found)) else None,
                )
                if row.value == 0:
                    axes.annotate(f"0 of {row.n}", (place, 0.01), ha="center", fontsize="xx-small", rotation=90)
        axes.set_xticks(range(len(categories)), categories, rotation=30, ha="right")
        axes.set(title="exact calls, or declined where no call is right", ylim=SHARES)

    return draw


def _by_tools(rows: Sequence[Row], metric: str, label: str, *, shares: bool) -> Panel | None:
    found = [row for row in rows if row.metric == metric]
    if not found:
        return None
    methods = [name for name in METHODS if any(row.method == name for row in found)]

    def draw(axes: Any) -> None:
        for method in methods:
            for split in dict.fromkeys(row.split for row in found):
                mine = sorted(
                    (row for row in found if (row.method, row.split) == (method, split)), key=lambda row: row.tools
                )
                if not mine:
                    continue
                joined = min(row.n for row in mine) >= JOINED_FROM
                axes.errorbar(
                    [row.tools for row in mine],
                    [row.value for row in mine],
                    yerr=_spread(mine),
                    marker=_MARKERS[method],
                    color=_COLOURS[method],
                    linestyle="-" if joined else "none",
                    linewidth=2.5 if method == "toolken" else 1.2,
                    capsize=2,
                    label=f"{method}, {split}",
                )
        axes.set_xscale("log")
        axes.set(xlabel="tools", ylabel=label, title=label)
        if shares:
            axes.set(ylim=SHARES)
        else:
            axes.set_yscale("log")

    return draw


def _spread(rows: Sequence[Row]) -> list[list[float]]:
    return [[max(0.0, row.value - row.low) for row in rows], [max(0.0, row.high - row.value) for row in rows]]


