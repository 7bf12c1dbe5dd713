"""The page has one table of all sets, says where toolkens lose, and tells missing figures from zeros."""

import re
from pathlib import Path
from typing import Any

import pytest

from toolken.benchmarks.function_calling.plots import draw_calls
from toolken.benchmarks.function_calling.report import page, tables
from toolken.benchmarks.selection.rows import Row, read_rows, write_rows
from toolken.errors import DataFormatError

ROW = Row(
    **{"benchmark": "mine", "split": "simple", "method": "toolken", "tools": 2, "examples_per_tool": 0, "seed": None},
    **{"metric": "exact", "value": 0.5, "low": 0.4, "high": 0.6, "n": 40, "seconds": 1.0, "mode": "function-calling"},
    **{"settings": {"tools": "own"}, "command": "toolken bench function-calling --set mine"},
)


def row(**changes: Any) -> Row:
    return ROW.model_copy(update=changes)


def costs(**changes: Any) -> list[Row]:
    values = {"median seconds": 0.5, "tokens read": 120.0, "set-up seconds": 0.0, "cache megabytes": 2.5}
    return [row(metric=name, value=one, low=one, high=one, **changes) for name, one in values.items()]


ROWS = [
    *(row(), row(split="multiple", value=1.0, low=1.0, high=1.0, n=10, tools=4), row(split="none", metric="declined")),
    *(row(method="native", value=0.0, low=0.0, high=0.0, p_value=0.001), *costs(), *costs(method="native")),
    row(method="toolken-k", examples_per_tool=3, value=0.7, high=0.8),
    row(split="none", metric="declined", method="native", value=0.9, low=0.8, high=1.0, p_value=0.01),
]


def table_of(text: str, heading: str) -> dict[str, list[str]]:
    """Return the cells of the lines of the first table after a heading."""
    table = text.split(heading, 1)[1].split("\n\n|", 1)[1].split("\n\n")[0]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    return {" ".join(line[:3]): line[3:] for line in lines}


def test_the_summary_pools_the_categories_of_a_set() -> None:
    text = page(ROWS, "toolken bench report")
    cells = table_of(text, "# Results, function calling")
    assert cells["set tools figure"] == ["requests", "toolken", "toolken-3", "native"]
    assert cells["mine own exact calls"] == [
        "50",
        "0.600 (0.520–0.680)",
        "0.700 (0.400–0.800), n = 40",
        "0 of 40",
    ]
    assert cells["mine own no call where none is right"] == ["40", "0.500 (0.400–0.600)", "n/a", "0.900 (0.800–1.000)"]
    assert cells["mine own tokens read"] == ["40", "120", "n/a", "120"]


def test_the_page_says_where_toolkens_lose() -> None:
    lost = "- mine, none, at most 2 tools of the request (40 requests), no call where none is right: native 0.900"
    text = page(ROWS, "toolken bench report")
    assert f"{lost}, toolken 0.500 (p = 0.01)" in text
    assert text.count("\n- ") == 1
    never = page([row(), row(method="native", value=0.6, p_value=0.3)], "toolken bench report")
    assert "In no category is a prompt better" in never
    assert "Where toolkens lose" not in page([row(method="native")], "toolken bench report")


def test_all_figures_are_on_the_page_with_the_commands() -> None:
    text = page([*ROWS, row(settings={}, tools=10)], "toolken bench report x.json")
    assert "```sh\ntoolken bench function-calling --set mine\ntoolken bench report x.json\n```" in text
    assert "## mine, simple, at most 2 tools of the request (40 requests)" in text
    assert "## mine, simple, 10 tools (40 requests)" in text
    assert "| native | 0 of 40 |" in text
    assert "| toolken-3 | 0.700 (0.400–0.800) | n/a |" in text


def test_the_picture_stands_after_the_summary() -> None:
    text = page(ROWS, "x", pictures="![a](a.png)\n")
    assert text.index("| mine | own | exact calls |") < text.index("![a](a.png)") < text.index("## Where toolkens lose")


def test_the_terminal_has_a_table_per_test() -> None:
    found = list(tables(ROWS))
    assert [table.title for table in found] == [
        "mine, simple, at most 2 tools of the request (40 requests)",
        "mine, multiple, at most 4 tools of the request (10 requests)",
        "mine, none, at most 2 tools of the request (40 requests)",
    ]
    assert [column.header for column in found[0].columns] == ["", "toolken", "toolken-3", "native"]


def test_own_tools_and_as_many_filled_up_are_different_rows(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.json", [row()])
    write_rows(tmp_path / "b.json", [row(settings={}, value=0.4)])
    assert len(read_rows([tmp_path / "a.json", tmp_path / "b.json"])) == 2
    write_rows(tmp_path / "c.json", [row(value=0.4)])
    with pytest.raises(DataFormatError, match="different figures"):
        read_rows([tmp_path / "a.json", tmp_path / "c.json"])


def texts(svg: Path) -> list[str]:
    # matplotlib writes texts as paths, and what they say into comments.
    return re.findall("<!-- (.*) -->", svg.read_text(encoding="utf-8"))


def test_the_picture_tells_missing_figures_from_zeros(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    _, svg = draw_calls(ROWS, tmp_path / "x.png")
    found = texts(svg)
    assert found.count("0 of 40") == 1
    # toolken-k lacks two categories and native one.
    assert found.count("n/a") == 3
    assert {"toolken", "toolken-k", "native"} <= set(found)


def lines_drawn(rows: list[Row], monkeypatch: pytest.MonkeyPatch, folder: Path) -> dict[str, str]:
    """Return the line style of each method in the first panel."""
    from matplotlib.axes import Axes

    styles: dict[str, str] = {}
    original = Axes.errorbar

    def errorbar(self: Any, *args: Any, **options: Any) -> Any:
        styles.setdefault(options["label"], options["linestyle"])
        return original(self, *args, **options)

    monkeypatch.setattr(Axes, "errorbar", errorbar)
    draw_calls(rows, folder / "x.png")
    return styles


def by_tools(n: int = 40, **changes: Any) -> list[Row]:
    sizes = (2, 10, 100)
    return [
        one
        for size in sizes
        for one in (
            row(tools=size, settings={}, n=n, **changes),
            *costs(tools=size, settings={}, n=n, **changes),
        )
    ]


@pytest.mark.parametrize(("n", "style"), [(40, "-"), (20, "-"), (10, "none")])
def test_points_of_few_requests_are_not_joined(
    n: int, style: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    assert lines_drawn(by_tools(n), monkeypatch, tmp_path) == {"toolken": style}


def test_a_method_without_a_figure_at_a_number_of_tools_says_so(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    rows = [*by_tools(), *(one for one in by_tools(method="native") if one.tools < 100)]
    _, svg = draw_calls(rows, tmp_path / "x.png")
    assert texts(svg).count("native: n/a") == 1
    assert "tokens of the prompt" in texts(svg)
    assert "KV cache, MB" in texts(svg)


def test_every_number_of_tools_is_of_the_same_categories(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    rows = [*by_tools(), *(one for one in by_tools(split="multiple") if one.tools > 2)]
    _, svg = draw_calls(rows, tmp_path / "x.png")
    assert "tools (mine: simple)" in texts(svg)


def test_several_sets_are_one_picture_of_whole_sets(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    rows = [*ROWS, *by_tools(), row(benchmark="other", metric="says")]
    files = draw_calls(rows, tmp_path / "x.png")
    assert [file.name for file in files] == ["x.png", "x.svg"]
    found = texts(files[1])
    assert "mine: exact calls" in found
    assert "mine: no call where none is right" in found
    assert "other: sensible text" in found
    assert "tools (mine: simple)" in found


def test_without_scores_there_is_nothing_to_draw(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    with pytest.raises(DataFormatError, match="no figures to draw"):
        draw_calls([row(metric="tools")], tmp_path / "x.png")
