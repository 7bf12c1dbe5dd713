"""Pictures of end-to-end rows: by method, tools, examples and gate threshold, and the losses per stage."""

from collections.abc import Callable, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

from toolken.benchmarks.selection.plots import (
    JOINED_FROM,
    SHARES,
    Panel,
    draw_sets,
    mark_zero,
    split_style,
    spread,
)
from toolken.benchmarks.selection.rows import Row

#: Line styles of a benchmark's splits; colours denote methods.
LINES = ("-", "--", ":")
#: Total width of the bars, and of the points, at one tick.
BARS, POINTS = 0.8, 0.2


def draw_end_to_end(rows: Sequence[Row], path: Path) -> list[Path]:
    """Draw the panels that the rows permit, of five, as PNG and SVG, and return the files.

    Parameters
    ----------
    path
        Name of the files; its suffix is replaced. Each of several benchmarks gets separate files; see `draw_sets`.

    Raises
    ------
    DataFormatError
        If matplotlib is not installed, there are no panels, or a file cannot be written.
    """
    return draw_sets(rows, _panels, path)


def _panels(rows: Sequence[Row]) -> list[Panel]:
    """Return the panels of a benchmark."""
    tests = [row for row in rows if not row.split.startswith("dev: ")]
    last = list(dict.fromkeys(row.metric for row in tests))[-1:]
    answers = [row for row in tests if row.metric in last]
    dev = [row for row in rows if row.split.startswith("dev: ") and row.metric in last and "threshold" in row.settings]
    names = dict.fromkeys(row.method for row in rows)
    colours = dict(zip(names, cycle(f"C{number}" for number in range(10)), strict=False))
    found = (
        _by_method(answers),
        _by_tools(answers, colours),
        _by_examples(answers, colours),
        _by_threshold(dev, colours),
        _stages([row for row in tests if row.method == "toolken"]),
    )
    return [panel for panel in found if panel is not None]


def _by_method(rows: Sequence[Row]) -> Panel | None:
    most = {_curve(row): row for row in sorted(_with_most_tools(rows), key=_count)}
    found = [most[curve] for curve in dict.fromkeys(map(_curve, rows)) if curve in most]
    reached = {row.method: sum(o.value for o in found if o.method == row.method) for row in found}
    methods = sorted(reached, key=lambda name: -reached[name])
    if len(methods) < 2:
        return None

    def draw(axes: Any) -> None:
        splits = list(dict.fromkeys(row.split for row in found))
        height = BARS / len(splits)
        for number, split in enumerate(splits):
            mine = [row for row in found if row.split == split]
            places = [methods.index(row.method) + (number - (len(splits) - 1) / 2) * height for row in mine]
            axes.barh(
                places,
                [row.value for row in mine],
                height,
                xerr=spread(mine),
                capsize=2,
                color=f"C{number}",
                hatch="//" if "synthetic" in split else "",
                edgecolor="white",
                label=f"{split}, {mine[0].tools} tools",
            )
            for place, row in zip(places, mine, strict=True):
                mark_zero(axes, row, (0.01, place))
            for place, method in enumerate(methods):
                if method not in {row.method for row in mine}:
                    # A method that was not measured is not a zero.
                    shift = (number - (len(splits) - 1) / 2) * height
                    axes.annotate("n/a", (0.01, place + shift), va="center", fontsize="x-small", color=f"C{number}")
        axes.set_yticks(range(len(methods)), methods)
        axes.set(title="all methods", xlabel=_axis_label(found), xlim=SHARES, ylim=(len(methods) - 0.5, -0.5))

    return draw


def _by_tools(rows: Sequence[Row], colours: dict[str, str]) -> Panel | None:
    most = {(row.method, row.split, row.tools): row for row in sorted(rows, key=_count)}
    sizes = sorted({row.tools for row in rows})
    found = [one for one in most.values() if sum(_curve(one) == _curve(other) for other in most.values()) > 1]
    if len(sizes) < 2 or not found:
        return None

    def draw(axes: Any) -> None:
        _lines(axes, found, lambda row: row.tools, sizes, colours)
        axes.set_xticks(range(len(sizes)), [str(size) for size in sizes])
        axes.set(title="by number of tools", xlabel="tools")

    return draw


def _by_examples(rows: Sequence[Row], colours: dict[str, str]) -> Panel | None:
    largest = _with_most_tools(rows)
    found = [one for one in largest if len({_count(other) for other in largest if _curve(one) == _curve(other)}) > 1]
    counts = sorted({_count(row) for row in found})
    if not found:
        return None

    def draw(axes: Any) -> None:
        _lines(axes, found, _count, counts, colours)
        axes.set_xticks(range(len(counts)), ["all" if count == float("inf") else f"{count:g}" for count in counts])
        axes.set(title=f"by training examples, {found[0].tools} tools", xlabel="examples per tool")

    return draw


def _by_threshold(rows: Sequence[Row], colours: dict[str, str]) -> Panel | None:
    largest = _with_most_tools(rows)
    found = [row for row in largest if _count(row) == max(_count(o) for o in largest if _curve(o) == _curve(row))]
    ticks = sorted({float(row.settings["threshold"]) for row in found})
    if len(ticks) < 2:
        return None

    def draw(axes: Any) -> None:
        _lines(axes, found, lambda row: float(row.settings["threshold"]), ticks, colours)
        axes.set_xticks(range(len(ticks)), [f"{tick:g}" for tick in ticks])
        axes.set(title=f"by gate threshold, dev questions, {found[0].tools} tools", xlabel="threshold")

    return draw


def _stages(rows: Sequence[Row]) -> Panel | None:
    stages = list(dict.fromkeys(row.metric for row in rows))
    if len(stages) < 2:
        return None

    def draw(axes: Any) -> None:
        largest = _with_most_tools(rows)
        heads = list(dict.fromkeys((row.split, row.tools, row.examples_per_tool) for row in largest))
        width = BARS / len(heads)
        for number, head in enumerate(heads):
            mine = [row for row in largest if (row.split, row.tools, row.examples_per_tool) == head]
            places = [stages.index(row.metric) + (number - (len(heads) - 1) / 2) * width for row in mine]
            count = "" if head[2] is None else f", {head[2]} examples per tool"
            values = [row.value for row in mine]
            label = f"{head[0]}, {head[1]} tools{count}"
            hatch = "//" if "synthetic" in head[0] else ""
            axes.bar(places, values, width, yerr=spread(mine), capsize=2, hatch=hatch, edgecolor="white", label=label)
            for place, row in zip(places, mine, strict=True):
                mark_zero(axes, row, (place, 0.02))
        axes.set_xticks(range(len(stages)), stages, rotation=20)
        axes.set(title="losses of toolken by stage", ylabel="share passed", ylim=SHARES)

    return draw


def _lines(
    axes: Any, rows: Sequence[Row], at: Callable[[Row], float], ticks: Sequence[float], colours: dict[str, str]
) -> None:
    """Draw a line per method and split, slightly offset, since many share the same values."""
    curves, splits = list(dict.fromkeys(map(_curve, rows))), list(dict.fromkeys(row.split for row in rows))
    for number, (method, split) in enumerate(curves):
        mine = sorted((row for row in rows if _curve(row) == (method, split)), key=at)
        joined = min(row.n for row in mine) >= JOINED_FROM
        offset = POINTS * (number - (len(curves) - 1) / 2) / len(curves)
        axes.errorbar(
            [ticks.index(at(row)) + offset for row in mine],
            [row.value for row in mine],
            yerr=spread(mine),
            capsize=2,
            color=colours[method],
            linestyle=LINES[splits.index(split) % len(LINES)] if joined else "none",
            label=f"{method}, {split.removeprefix('dev: ')}",
            **split_style(split),
        )
        for row in mine:
            mark_zero(axes, row, (ticks.index(at(row)) + offset, 0.01))
    axes.set(ylabel=_axis_label(rows), ylim=SHARES)


def _with_most_tools(rows: Sequence[Row]) -> list[Row]:
    """Return the rows of each split's test with the most tools."""
    most = {row.split: row.tools for row in sorted(rows, key=lambda row: row.tools)}
    return [row for row in rows if row.tools == most[row.split]]


def _axis_label(rows: Sequence[Row]) -> str:
    return "right answers" if rows[0].metric == "answer" else rows[0].metric


def _curve(row: Row) -> tuple[str, str]:
    return row.method, row.split


def _count(row: Row) -> float:
    return float("inf") if row.examples_per_tool is None else float(row.examples_per_tool)
