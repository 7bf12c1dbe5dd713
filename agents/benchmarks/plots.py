"""Pictures of end-to-end rows: by number of tools, by examples a tool, by gate threshold, and where the losses are."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from toolken.training.benchmarks.plots import draw_panels
from toolken.training.benchmarks.rows import Row


def draw_end_to_end(rows: Sequence[Row], path: Path) -> list[Path]:
    """Draw what the rows hold of the four pictures, as PNG and as SVG; returns the files.

    Parameters
    ----------
    path
        Name of the files; its ending is replaced. Where there are several benchmarks, each of which something can be
        drawn has files of its own, whose names end with its name.

    Raises
    ------
    DataFormatError
        If matplotlib is not installed, nothing can be drawn, or a file cannot be written.
    """
    groups = {name: [row for row in rows if row.benchmark == name] for name in dict.fromkeys(r.benchmark for r in rows)}
    drawn = {name: panels for name, group in groups.items() if (panels := _panels(group))}
    if len(groups) < 2 or not drawn:
        return draw_panels([panel for panels in drawn.values() for panel in panels], path)
    names = zip(drawn.values(), _names(path, list(drawn)), strict=True)
    return [file for panels, name in names for file in draw_panels(panels, name)]


def picture_names(path: Path, benchmarks: Sequence[str]) -> list[Path]:
    """Return the names of the pictures of some benchmarks; one benchmark, or none, has the name itself."""
    return [path] if len(benchmarks) < 2 else _names(path, benchmarks)


def _names(path: Path, benchmarks: Sequence[str]) -> list[Path]:
    # With an ending, which is replaced: without one, what follows a point in the stem would be.
    return [path.with_name(f"{path.stem}-{name}.png") for name in benchmarks]


def _panels(rows: Sequence[Row]) -> list[Callable[[Any], None]]:
    """Return what can be drawn of a benchmark."""
    found = (_by_tools(rows), _by_examples(rows), _by_threshold(rows), _stages(rows))
    return [panel for panel in found if panel is not None]


def _answers(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row.metric == "answer" and not row.split.startswith("dev: ")]


def _lines(
    axes: Any, rows: Sequence[Row], label: Callable[[Row], str], at: Callable[[Row], float], ticks: Sequence[float]
) -> None:
    for name in dict.fromkeys(map(label, rows)):
        mine = sorted((row for row in rows if label(row) == name), key=at)
        places = [ticks.index(at(row)) for row in mine]
        spread = [[max(row.value - row.low, 0) for row in mine], [max(row.high - row.value, 0) for row in mine]]
        axes.errorbar(places, [row.value for row in mine], yerr=spread, marker="o", capsize=2, label=name)


def _by_tools(rows: Sequence[Row]) -> Callable[[Any], None] | None:
    found = _answers(rows)
    most = {(row.method, row.split, row.tools): row for row in sorted(found, key=lambda row: _count(row))}
    found = list(most.values())
    sizes = sorted({row.tools for row in found})
    if len(sizes) < 2:
        return None

    def draw(axes: Any) -> None:
        _lines(axes, found, lambda row: f"{row.method}, {row.split}", lambda row: row.tools, sizes)
        axes.set_xticks(range(len(sizes)), [str(size) for size in sizes])
        axes.set(title="by number of tools", xlabel="tools", ylabel="right answers")

    return draw


def _by_examples(rows: Sequence[Row]) -> Callable[[Any], None] | None:
    found = _answers(rows)
    curves = {
        (row.method, row.split, row.tools)
        for row in found
        if len({_count(o) for o in found if (o.method, o.split, o.tools) == (row.method, row.split, row.tools)}) > 1
    }
    found = [row for row in found if (row.method, row.split, row.tools) in curves]
    counts = sorted({_count(row) for row in found})
    if not found:
        return None

    def draw(axes: Any) -> None:
        _lines(axes, found, lambda row: f"{row.method}, {row.tools} tools", _count, counts)
        axes.set_xticks(range(len(counts)), ["all" if count == float("inf") else f"{count:g}" for count in counts])
        axes.set(title="by training examples", xlabel="examples a tool", ylabel="right answers")

    return draw


def _by_threshold(rows: Sequence[Row]) -> Callable[[Any], None] | None:
    found = [
        row for row in rows if row.split.startswith("dev: ") and row.metric == "answer" and "threshold" in row.settings
    ]
    ticks = sorted({float(row.settings["threshold"]) for row in found})
    if len(ticks) < 2:
        return None

    def draw(axes: Any) -> None:
        def label(row: Row) -> str:
            count = "" if row.examples_per_tool is None else f", {row.examples_per_tool} examples"
            return f"{row.method}, {row.split.removeprefix('dev: ')}, {row.tools} tools{count}"

        _lines(axes, found, label, lambda row: float(row.settings["threshold"]), ticks)
        axes.set_xticks(range(len(ticks)), [f"{tick:g}" for tick in ticks])
        axes.set(title="by gate threshold, dev questions", xlabel="threshold", ylabel="right answers")

    return draw


def _stages(rows: Sequence[Row]) -> Callable[[Any], None] | None:
    found = [row for row in rows if row.method == "toolken" and not row.split.startswith("dev: ")]
    stages = list(dict.fromkeys(row.metric for row in found))
    if len(stages) < 2:
        return None

    def draw(axes: Any) -> None:
        for key in dict.fromkeys((row.split, row.tools, row.examples_per_tool) for row in found):
            mine = {row.metric: row for row in found if (row.split, row.tools, row.examples_per_tool) == key}
            places = [stages.index(name) for name in mine]
            count = "" if key[2] is None else f", {key[2]} examples"
            axes.plot(
                places, [row.value for row in mine.values()], marker="o", label=f"{key[0]}, {key[1]} tools{count}"
            )
        axes.set_xticks(range(len(stages)), stages, rotation=20)
        axes.set(title="where toolken's losses are", ylabel="passed")

    return draw


def _count(row: Row) -> float:
    return float("inf") if row.examples_per_tool is None else float(row.examples_per_tool)
