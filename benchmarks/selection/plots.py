"""Pictures of rows: accuracy against the number of examples, and against the number of tools."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolken.benchmarks.selection.rows import Row
from toolken.errors import DataFormatError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


#: Draws on matplotlib axes.
Panel = Callable[[Any], None]
#: Limits of an axis of shares, with room for markers at 1.
SHARES = (0.0, 1.02)
#: Maximum of panels side by side.
COLUMNS = 2
#: From this number of questions on, points are joined by lines: fewer say little about a trend.
JOINED_FROM = 20
#: Font size in points, and size of a panel in inches: two panels side by side stay legible at half their size.
FONT_SIZE = 13
PANEL = (5.4, 4.8)
#: Maximum length of labels that stand side by side in a legend, in characters.
SHORT_LABEL = 24
#: Height of a line of a legend, in inches.
LEGEND_LINE = 0.25


def draw_rows(rows: Sequence[Row], path: Path) -> list[Path]:
    """Draw the accuracies with their intervals as PNG and SVG, and return the files.

    Parameters
    ----------
    path
        Name of the files; its suffix is replaced. Each of several benchmarks gets separate files; see `draw_sets`.

    Raises
    ------
    DataFormatError
        If matplotlib is not installed, the rows contain no accuracy, or a file cannot be written.
    """
    return draw_sets(rows, _panels, path)


def _panels(rows: Sequence[Row]) -> list[Panel]:
    """Return the panels of a benchmark."""
    means = [row for row in rows if row.seed is None and row.metric == "accuracy"]
    panels: dict[str, dict[str, list[tuple[str, Row]]]] = defaultdict(lambda: defaultdict(list))
    for row in means:
        count = "all" if row.examples_per_tool is None else str(row.examples_per_tool)
        kind = "supervised" if row.split == "zero-shot" else row.split
        panels[f"{kind}, {row.tools} tools"][row.method].append((count, row))
    sizes = sorted({row.tools for row in means})
    if len(sizes) > 1:
        for row in means:
            if row.examples_per_tool == 0:
                panels["zero-shot, by number of tools"][row.method].append((str(row.tools), row))
    return [partial(_panel, title, methods) for title, methods in sorted(panels.items())]


def draw_sets(rows: Sequence[Row], panels_of: Callable[[Sequence[Row]], list[Panel]], path: Path) -> list[Path]:
    """Draw the panels of each benchmark as PNG and SVG, and return the files.

    Parameters
    ----------
    panels_of
        Returns the panels of one benchmark's rows.
    path
        Name of the files; its suffix is replaced. With several benchmarks, each one that has panels gets separate
        files, whose names end with its name.

    Raises
    ------
    DataFormatError
        If matplotlib is not installed, there are no panels, or a file cannot be written.
    """
    groups = {name: [row for row in rows if row.benchmark == name] for name in dict.fromkeys(r.benchmark for r in rows)}
    drawn = {name: panels for name, group in groups.items() if (panels := panels_of(group))}
    if len(groups) < 2 or not drawn:
        return draw_panels([panel for panels in drawn.values() for panel in panels], path)
    names = zip(drawn.values(), _names(path, list(drawn)), strict=True)
    return [file for panels, name in names for file in draw_panels(panels, name)]


def picture_names(path: Path, benchmarks: Sequence[str]) -> list[Path]:
    """Return the picture names of several benchmarks; for at most one benchmark, the path itself."""
    return [path] if len(benchmarks) < 2 else _names(path, benchmarks)


def _names(path: Path, benchmarks: Sequence[str]) -> list[Path]:
    # With a suffix, since `with_suffix` would otherwise replace what follows a point in the stem.
    return [path.with_name(f"{path.stem}-{name}.png") for name in benchmarks]


def draw_panels(panels: Sequence[Panel], path: Path) -> list[Path]:
    """Draw panels of shares side by side as PNG and SVG, and return the two files.

    Parameters
    ----------
    panels
        Functions that draw on matplotlib axes and set their limits.
    path
        Name of the files; its suffix is replaced.

    Raises
    ------
    DataFormatError
        If matplotlib is not installed, there are no panels, or a file cannot be written.
    """
    Figure = figure_type()
    from matplotlib import rc_context

    if not panels:
        raise DataFormatError("The rows contain no figures to draw: run more methods or questions.")
    columns = min(len(panels), COLUMNS)
    lines = -(-len(panels) // columns)
    with rc_context({"font.size": FONT_SIZE}):
        figure = Figure(figsize=(PANEL[0] * columns, PANEL[1] * lines), layout="constrained")
        rows = [0] * lines
        for number, draw in enumerate(panels):
            axes = figure.add_subplot(lines, columns, number + 1)
            draw(axes)
            axes.grid(alpha=0.3)
            # Below the axes: on them, a legend of a dozen methods covers the curves; beside them, it halves their size.
            _, labels = axes.get_legend_handles_labels()
            beside = 2 if max(map(len, labels), default=0) <= SHORT_LABEL else 1
            axes.legend(
                fontsize="small",
                loc="upper center",
                bbox_to_anchor=(0.5, -0.22),
                ncols=beside,
                frameon=False,
            )
            rows[number // columns] = max(rows[number // columns], -(-len(labels) // beside))
        height = sum(PANEL[1] + LEGEND_LINE * max(0, count - 1) for count in rows)
        figure.set_size_inches(PANEL[0] * columns, height)
        return _saved(figure, picture_files(path))


def _saved(figure: "Figure", files: list[Path]) -> list[Path]:
    for file in files:
        try:
            figure.savefig(file)
        except OSError as error:
            raise DataFormatError(f"The picture cannot be written to {str(file)!r}: {error}.") from error
    return files


def picture_files(path: Path) -> list[Path]:
    """Return the files of a picture with the given path."""
    return [path.with_suffix(ending) for ending in (".png", ".svg")]


def figure_type() -> "type[Figure]":
    """Return matplotlib's `Figure`, imported on first use.

    Raises
    ------
    DataFormatError
        If matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise DataFormatError("Drawing needs matplotlib: run `pip install 'toolken[bench]'`.") from error
    return Figure


def _panel(title: str, methods: Mapping[str, Sequence[tuple[str, Row]]], axes: Any) -> None:
    ticks = sorted({tick for points in methods.values() for tick, _ in points}, key=_order)
    for method, points in methods.items():
        known = sorted(points, key=lambda point: _order(point[0]))
        found = [row for _, row in known]
        at = [ticks.index(tick) for tick, _ in known]
        axes.errorbar(
            at,
            [row.value for row in found],
            yerr=spread(found),
            capsize=2,
            label=method,
            linestyle="-" if min(row.n for row in found) >= JOINED_FROM else "none",
            **split_style(found[0].split),
        )
        for place, row in zip(at, found, strict=True):
            mark_zero(axes, row, (place, 0.01))
    axes.set_xticks(range(len(ticks)), ticks)
    xlabel = "tools" if "by number" in title else "training examples"
    axes.set(title=title, xlabel=xlabel, ylabel="accuracy", ylim=SHARES)


def split_style(split: str) -> dict[str, Any]:
    """Return the marker of a split: filled circles, or hollow squares for synthetic data."""
    return {"marker": "s", "markerfacecolor": "white"} if "synthetic" in split else {"marker": "o"}


def spread(rows: Sequence[Row]) -> list[list[float]]:
    """Return the intervals of rows as distances below and above their figures."""
    return [[max(0.0, row.value - row.low) for row in rows], [max(0.0, row.high - row.value) for row in rows]]


def mark_zero(axes: Any, row: Row, place: tuple[float, float]) -> None:
    """Write "0 of 40" where a share is zero, so that it is not taken for a missing figure."""
    if row.value == 0:
        axes.annotate(f"0 of {row.n}", place, fontsize="x-small", va="center")


def _order(tick: str) -> float:
    return float("inf") if tick == "all" else float(tick)
