"""Pictures of function-calling rows: scores by category, and scores and costs by number of tools."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from toolken.benchmarks.function_calling.figures import SUMMARY, has_own_tools, main_scores, pooled
from toolken.benchmarks.function_calling.methods import METHODS
from toolken.benchmarks.selection.plots import JOINED_FROM, SHARES, Panel, draw_panels, mark_zero, spread
from toolken.benchmarks.selection.rows import Row

#: A colour and a marker per method, the same in all pictures; ours is drawn thicker.
_COLOURS = {name: f"C{number}" for number, name in enumerate(METHODS)}
_MARKERS = dict(zip(METHODS, "osvD^<P", strict=True))
#: Costs of the picture by number of tools, with their axis labels.
BY_TOOLS = {
    "median seconds": "seconds per request, median",
    "tokens read": "tokens of the prompt",
    "set-up seconds": "seconds once per set of tools",
    "cache megabytes": "KV cache, MB",
}


def draw_calls(rows: Sequence[Row], path: Path) -> list[Path]:
    """Draw the panels that the rows permit as PNG and SVG, and return the files.

    Of one set, the panels show its categories; of several, each set as a whole. Costs and scores by number of tools
    follow where there are several numbers.

    Parameters
    ----------
    path
        Name of the files; its suffix is replaced.

    Raises
    ------
    DataFormatError
        If matplotlib is not installed, there are no panels, or a file cannot be written.
    """
    sets = {name: [row for row in rows if row.benchmark == name] for name in dict.fromkeys(r.benchmark for r in rows)}
    by_tools = [panel for group in sets.values() for panel in _panels_by_tools(group)]
    shown = _by_set(rows) if len(sets) > 1 else main_scores(_of_one_size(rows))
    return draw_panels([*([_by_category(shown)] if shown else []), *by_tools], path)


def _of_one_size(rows: Sequence[Row]) -> list[Row]:
    """Return the rows of requests with their own tools, or else those with the only number of tools."""
    own = [row for row in rows if has_own_tools(row)]
    return own or ([] if len({row.tools for row in rows}) > 1 else list(rows))


def _by_set(rows: Sequence[Row]) -> list[Row]:
    """Return the scores of the summary with the categories of a set pooled; the split names the set and the score."""
    groups: dict[tuple[str, str, str, int | None], list[Row]] = {}
    for row in rows:
        if has_own_tools(row) and row.metric in SUMMARY:
            key = (f"{row.benchmark}: {SUMMARY[row.metric]}", row.method, row.metric, row.examples_per_tool)
            groups.setdefault(key, []).append(row)
    return [pooled(group).model_copy(update={"split": split}) for (split, *_), group in groups.items()]


def _panels_by_tools(rows: Sequence[Row]) -> list[Panel]:
    """Return the panels of a set by number of tools, if it was measured with several."""
    filled = [row for row in rows if not has_own_tools(row)]
    sizes = {row.tools for row in filled}
    if len(sizes) < 2:
        return []
    # Every point is of the same categories, where some have tests with every number of tools.
    splits = {row.split for row in filled}
    common = {one for one in splits if {row.tools for row in filled if row.split == one} == sizes}
    shown = [row for row in filled if row.split in (common or splits)]
    panels = [_by_tools(main_scores(shown), "exact calls, or no call where none is right", shares=True)]
    panels += [
        _by_tools([row for row in shown if row.metric == metric], label, shares=False)
        for metric, label in BY_TOOLS.items()
    ]
    return [panel for panel in panels if panel is not None]


def _by_category(rows: Sequence[Row]) -> Panel:
    categories = list(dict.fromkeys(row.split for row in rows))
    methods = [name for name in METHODS if any(row.method == name for row in rows)]

    def draw(axes: Any) -> None:
        height = 0.85 / len(methods)
        for number, method in enumerate(methods):
            found = {row.split: row for row in rows if row.method == method}
            for at, category in enumerate(categories):
                row = found.get(category)
                place = at + (number - (len(methods) - 1) / 2) * height
                if row is None:
                    # A method that does not apply is not a zero.
                    axes.annotate("n/a", (0.01, place), va="center", fontsize="x-small")
                    continue
                axes.barh(
                    place,
                    row.value,
                    height,
                    xerr=spread([row]),
                    capsize=2,
                    color=_COLOURS[method],
                    hatch="//" if row.examples_per_tool else "",
                    edgecolor="white",
                    label=method if category == next(iter(found)) else None,
                )
                mark_zero(axes, row, (0.01, place))
        numbers = {row.split: row.n for row in rows}
        axes.set_yticks(
            range(len(categories)), [f"{one.replace('_', ' ')}\n(n = {numbers[one]})" for one in categories]
        )
        axes.set(ylim=(len(categories) - 0.5, -0.5))
        axes.set(xlabel="exact calls; sensible text or no call where no call is right", xlim=SHARES)

    return draw


def _by_tools(rows: Sequence[Row], label: str, *, shares: bool) -> Panel | None:
    sizes = sorted({row.tools for row in rows})
    if not sizes:
        return None
    methods = [name for name in METHODS if any(row.method == name for row in rows)]
    splits = sorted({row.split for row in rows})

    def draw(axes: Any) -> None:
        for method in methods:
            mine = [row for row in rows if row.method == method]
            # Pooled over the categories, where the method was measured on all of them.
            points = [pooled(at) for size in sizes if (at := [row for row in mine if row.tools == size])]
            joined = all(row.n == points[0].n >= JOINED_FROM for row in points)
            axes.errorbar(
                [row.tools for row in points],
                [row.value for row in points],
                yerr=spread(points),
                marker=_MARKERS[method],
                color=_COLOURS[method],
                linestyle="-" if joined else "none",
                linewidth=3 if method == "toolken" else 1.5,
                capsize=2,
                label=method,
            )
            for row in points:
                mark_zero(axes, row, (row.tools, 0.01))
            for size in sizes:
                if shares and size not in [row.tools for row in points]:
                    place = 0.02 + 0.05 * methods.index(method)
                    axes.annotate(f"{method}: n/a", (size, place), ha="right", fontsize="x-small")
        axes.set_xscale("log")
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.set_xticks([], minor=True)
        axes.set(xlabel=f"tools ({rows[0].benchmark}: {', '.join(splits)})" if shares else "tools", ylabel=label)
        if shares:
            axes.set(ylim=SHARES)
        else:
            axes.set_yscale("symlog", linthresh=min((row.value for row in rows if row.value > 0), default=1.0))

    return draw
