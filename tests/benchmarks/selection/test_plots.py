"""Pictures of selection and end-to-end rows: zeros, missing figures, few questions and synthetic data."""

import re
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from toolken.benchmarks.end_to_end.plots import draw_end_to_end
from toolken.benchmarks.selection.plots import draw_rows
from toolken.benchmarks.selection.rows import Row

pytest.importorskip("matplotlib")

ROW = Row(
    **{"benchmark": "kamel", "split": "supervised", "method": "toolken", "tools": 30, "examples_per_tool": 1},
    **{"metric": "accuracy", "value": 0.5, "low": 0.4, "high": 0.6, "n": 40, "seconds": 1.0, "seed": None},
)


def row(**changes: Any) -> Row:
    return ROW.model_copy(update=changes)


def answer(**changes: Any) -> Row:
    return row(**({"mode": "end-to-end", "metric": "answer"} | changes))


def texts(svg: Path) -> list[str]:
    # matplotlib writes texts as paths, and what they say into comments.
    return re.findall("<!-- (.*) -->", svg.read_text(encoding="utf-8"))


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """The options of the lines and bars that are drawn, by their label."""
    from matplotlib.axes import Axes

    found: dict[str, dict[str, Any]] = {}

    def recording(original: Callable[..., Any]) -> Callable[..., Any]:
        def record(self: Any, *args: Any, **options: Any) -> Any:
            found.setdefault(options["label"], options)
            return original(self, *args, **options)

        return record

    monkeypatch.setattr(Axes, "errorbar", recording(Axes.errorbar))
    monkeypatch.setattr(Axes, "barh", recording(Axes.barh))
    return found


@pytest.mark.parametrize(("n", "style"), [(20, "-"), (19, "none")])
def test_few_questions_are_not_joined_by_lines(
    n: int, style: str, drawn: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    draw_rows([row(n=n), row(n=n, examples_per_tool=5)], tmp_path / "x.png")
    assert drawn["toolken"]["linestyle"] == style
    draw_end_to_end([answer(n=n), answer(n=n, tools=234)], tmp_path / "y.png")
    assert drawn["toolken, supervised"]["linestyle"] == style


def test_synthetic_data_looks_different(drawn: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    rows = [answer(split=split, tools=tools) for split in ("supervised", "synthetic") for tools in (30, 234)]
    draw_end_to_end([*rows, answer(method="other", tools=234)], tmp_path / "x.png")
    assert drawn["toolken, synthetic"]["markerfacecolor"] == "white"
    assert "markerfacecolor" not in drawn["toolken, supervised"]
    assert (drawn["synthetic, 234 tools"]["hatch"], drawn["supervised, 234 tools"]["hatch"]) == ("//", "")


def test_a_zero_says_of_how_many_and_a_missing_figure_is_not_a_zero(tmp_path: Path) -> None:
    zero = {"value": 0.0, "low": 0.0, "high": 0.0}
    _, svg = draw_rows([row(**zero), row(examples_per_tool=5)], tmp_path / "x.png")
    assert texts(svg).count("0 of 40") == 1
    rows = [answer(), answer(method="other", **zero), answer(split="synthetic")]
    _, svg = draw_end_to_end(rows, tmp_path / "y.png")
    assert texts(svg).count("0 of 40") == 1
    assert texts(svg).count("n/a") == 1  # the other method on synthetic data


def test_the_pictures_of_the_pages_have_their_figures() -> None:
    docs = Path(__file__).parents[3] / "docs"
    script = runpy.run_path(str(docs / "scripts" / "pictures.py"))
    for page in script["END_TO_END"]:
        text = (docs / "reference" / f"{page}.md").read_text(encoding="utf-8")
        rows = script["rows_of"](text)
        assert {one.benchmark for one in rows} == {"kamel", "funcqa", "gsm8k-xl", "virtualhome"}
        tables = text.split("## As published")[0]
        assert len(rows) == len(re.findall(r"\| (?=\d\.\d{3} \()", tables))
        one = next(row for row in rows if row.method == "toolken" and row.metric == "answer")
        assert f"{one.value:.3f} ({one.low:.3f}–{one.high:.3f})" in text
