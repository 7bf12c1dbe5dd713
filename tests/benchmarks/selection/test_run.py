"""A comparison measures every method on the same positions, and its rows name data, method and metric."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from toolken import Call, Example, FrozenLM, ToolSpec
from toolken.benchmarks.methods.selection_methods import METHODS
from toolken.benchmarks.selection.comparisons import comparisons
from toolken.benchmarks.selection.method_plan import PRIOR, RETRIEVER
from toolken.benchmarks.selection.plots import draw_rows
from toolken.benchmarks.selection.report import LEGEND, page
from toolken.benchmarks.selection.rows import Row, bootstrap_interval, read_rows, write_rows
from toolken.benchmarks.selection.run import compare, run
from toolken.benchmarks.selection.sampling import draw
from toolken.benchmarks.selection.tables import markdown
from toolken.benchmarks.sets.dataset import Dataset, Evaluation
from toolken.benchmarks.sets.registry import read_dataset
from toolken.errors import DataFormatError, PromptTooLongError
from toolken.training.estimation.calibration import calibration_error
from toolken.training.features.feature_cache import FeatureCache

pytestmark = pytest.mark.usefixtures("tiny_background")
METRICS = {"accuracy", "top5", "ece"}


class Lengths:
    """An encoder that encodes only the length of a text."""

    name = "lengths"

    def encode(self, texts: Sequence[str]) -> torch.Tensor:
        """Return unit vectors."""
        return torch.nn.functional.normalize(torch.tensor([[1.0, len(text) / 10, len(text) % 3] for text in texts]))


@pytest.fixture
def questions() -> Dataset:
    """Return two tools with six training questions each."""
    specs = [
        ToolSpec(name="P1", description="Find the capital of a country."),
        ToolSpec(name="P2", description="Find the author of a book."),
    ]

    def asked(word: str, tool: str, count: int) -> list[Example]:
        return [Example(question=f"What is the {word} {i}?", calls=(Call(tool=tool),)) for i in range(count)]

    train = asked("capital of land", "P1", 6) + asked("author of book", "P2", 6)
    test = asked("capital of country", "P1", 4) + asked("author of novel", "P2", 4)
    return Dataset("kamel", specs, {"supervised": train}, {"2": Evaluation(specs, test)})


@pytest.fixture
def problems() -> Dataset:
    """Return answers with sums in running text."""
    specs = [ToolSpec(name="add", description="Add numbers."), ToolSpec(name="multiply", description="Multiply.")]

    def solved(i: int) -> Example:
        answer = f"First {i} + 2 = {i + 2}. Then {i} * 3 = {i * 3}."
        first, second = answer.index(f"= {i + 2}") + 2, answer.rindex(f"= {i * 3}") + 2
        calls = (
            Call(tool="add", result=f"{i + 2}", start=first),
            Call(tool="multiply", result=f"{i * 3}", start=second),
        )
        return Example(question=f"What of {i}?", answer=answer, calls=calls)

    examples = [solved(i) for i in range(10, 22)]
    return Dataset("gsm8k-xl", specs, {"supervised": examples[:8]}, {"dev": Evaluation(specs, examples[8:])})


def test_every_method_has_a_row_for_each_seed_and_their_mean(
    tiny_lm: FrozenLM, questions: Dataset, tmp_path: Path
) -> None:
    rows = list(run(tiny_lm, questions, seeds=2, encoder=Lengths(), cache=FeatureCache(tiny_lm, tmp_path)))
    assert {row.method for row in rows} == {*METHODS, "minilm"}
    assert {row.metric for row in rows if row.method == "toolken"} == METRICS
    drawn = [row for row in rows if row.method == "toolken" and row.metric == "accuracy" and row.examples_per_tool == 5]
    assert [row.seed for row in drawn] == [0, 1, None]
    assert drawn[2].value == pytest.approx((drawn[0].value + drawn[1].value) / 2)
    assert {row.split for row in rows if row.examples_per_tool == 0} == {"zero-shot"}
    assert {row.split for row in rows if row.examples_per_tool != 0} == {"supervised"}
    assert all(0 <= row.low <= row.value <= row.high <= 1 for row in rows)
    assert all(row.n == 8 and row.tools == 2 for row in rows)


def test_the_same_figures_come_again(tiny_lm: FrozenLM, questions: Dataset, tmp_path: Path) -> None:
    first, second = (
        [row.value for row in run(tiny_lm, questions, seeds=1, cache=FeatureCache(tiny_lm, tmp_path / str(i)))]
        for i in range(2)
    )
    assert first == pytest.approx(second, abs=1e-6)


def test_without_the_encoder_teacher_and_retriever_are_left_out(
    tiny_lm: FrozenLM, questions: Dataset, tmp_path: Path
) -> None:
    rows = list(run(tiny_lm, questions, seeds=1, examples_per_tool=[0, 1], cache=FeatureCache(tiny_lm, tmp_path)))
    assert not {"minilm", "toolken-teacher"} & {row.method for row in rows}


def test_where_words_are_written_it_is_measured_when_a_tool_fires(
    tiny_lm: FrozenLM, problems: Dataset, tmp_path: Path
) -> None:
    rows = list(
        run(
            tiny_lm,
            problems,
            methods=["toolken", "toolkengpt"],
            examples_per_tool=[None],
            cache=FeatureCache(tiny_lm, tmp_path),
        )
    )
    for method in ("toolken", "toolkengpt"):
        found = {row.metric: row.value for row in rows if row.method == method and row.seed is None}
        assert {"accuracy", "precision", "recall", "f1"} <= set(found)
        if found["precision"] + found["recall"]:
            harmonic = 2 * found["precision"] * found["recall"] / (found["precision"] + found["recall"])
            assert found["f1"] == pytest.approx(harmonic)
    # Sums after an equals sign are separable from other tokens, even in a random LM's states.
    assert next(row.value for row in rows if row.method == "toolken" and row.metric == "f1" and row.seed is None) > 0.8


def test_an_unknown_method_is_named_before_anything_runs(tiny_lm: FrozenLM, questions: Dataset) -> None:
    with pytest.raises(DataFormatError, match="no method called 'toolkn': choose among toolken, "):
        list(run(tiny_lm, questions, methods=["toolkn"]))


def test_an_interval_holds_the_value_and_narrows_with_more_questions() -> None:
    few, many = ((torch.rand(3, n, 1, generator=torch.Generator().manual_seed(1)) < 0.7).double() for n in (20, 2000))
    widths = []
    for counts in (few, many):
        low, high = bootstrap_interval(counts, lambda c: c[..., 0].mean(-1))
        assert low < float(counts.mean()) < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 5


def as_sure_as_right() -> tuple[torch.Tensor, torch.Tensor]:
    """Return calibrated confidences and hits, `(50,)` each, in five bins: every resample has a larger error."""
    confidence = torch.arange(1, 6).repeat_interleave(10) / 5
    return confidence, torch.cat([(torch.arange(10) < 2 * k).double() for k in range(1, 6)])


def test_an_interval_of_the_calibration_error_holds_the_value(
    tiny_lm: FrozenLM, questions: Dataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    confidence, hits = as_sure_as_right()
    probabilities = torch.cat([confidence[:, None], ((1 - confidence) / 9)[:, None].expand(-1, 9)], dim=1)
    measured = {"ece": (probabilities, (hits == 0).long())}
    monkeypatch.setattr("toolken.benchmarks.selection.run.measure", lambda *_: measured)
    options: dict[str, Any] = {"methods": ["toolken"], "examples_per_tool": [1], "seeds": 2}
    rows = list(run(tiny_lm, questions, cache=FeatureCache(tiny_lm, tmp_path), **options))
    assert [row.metric for row in rows] == ["ece"] * 3
    assert all(0 <= row.low <= row.value < row.high < 0.1 for row in rows)


def test_an_interval_around_the_value_is_as_wide_as_that_of_the_resamples() -> None:
    counts = torch.stack(as_sure_as_right(), dim=1)[None] - torch.tensor([0.1, 0.0])

    def error(rows: torch.Tensor) -> torch.Tensor:
        return calibration_error(*rows.unbind(-1))

    value = float(error(counts))
    low, high = bootstrap_interval(counts, error)
    moved_low, moved_high = bootstrap_interval(counts, error, around=value)
    assert moved_low < value < moved_high < high
    assert moved_high - moved_low == pytest.approx(high - low)
    one = counts[:, :1]
    assert bootstrap_interval(one, error, around=float(error(one))) == pytest.approx((float(error(one)),) * 2)


def test_test_questions_longer_than_the_context_are_an_error_before_anything_runs(
    build_lm: Any, questions: Dataset, tmp_path: Path
) -> None:
    (evaluation,) = questions.tests.values()
    long = [Example(question="What is the capital " * 20 + "?", calls=(Call(tool="P1"),))] * 3
    dataset = replace(questions, tests={"2": replace(evaluation, examples=[*evaluation.examples, *long])})
    lm = build_lm(context=64)
    message = r"^3 of 11 test questions of kamel, supervised, are longer than the 64 tokens tiny-llama-0 takes: name "
    with pytest.raises(PromptTooLongError, match=message):
        next(run(lm, dataset, methods=["toolken"], cache=FeatureCache(lm, tmp_path)))
    with pytest.raises(PromptTooLongError, match=message):
        next(compare(lm, next(comparisons(dataset)), benchmark="kamel", methods=["toolken"]))
    assert not list(tmp_path.rglob("*.safetensors"))


def test_training_examples_longer_than_the_context_are_left_out_with_a_warning(
    build_lm: Any, questions: Dataset, tmp_path: Path
) -> None:
    lm = build_lm(context=64)
    long = [Example(question=f"What is the capital {i} " * 20 + "?", calls=(Call(tool="P1"),)) for i in range(3)]
    train = questions.train["supervised"]
    options: dict[str, Any] = {"examples_per_tool": [None], "seeds": 1, "encoder": Lengths()}
    methods = ["toolken", "toolken-teacher"]
    dataset = replace(questions, train={"supervised": [*train, *long]})
    with pytest.warns(UserWarning, match="^3 of 15 training examples of kamel, supervised, are longer ") as caught:
        rows = list(run(lm, dataset, methods=methods, cache=FeatureCache(lm, tmp_path), **options))
    assert len(caught) == 1
    assert {row.n for row in rows} == {8}
    short = run(lm, questions, methods=methods, cache=FeatureCache(lm, tmp_path), **options)
    assert [row.value for row in rows] == pytest.approx([row.value for row in short], abs=1e-6)
    with pytest.raises(PromptTooLongError, match=r"^3 of 3 training examples .*: name an LM with a longer context"):
        list(run(lm, replace(questions, train={"supervised": long}), methods=["toolken"], **options))


@pytest.mark.parametrize(
    ("options", "train", "message"),
    [
        ({"examples_per_tool": [1]}, False, "since there are no training examples: .* or compare .* by --examples 0"),
        ({"methods": ["toolkengpt"]}, False, "since toolkengpt cannot run without training examples: add "),
        (
            {"methods": ["toolkengpt"], "examples_per_tool": [0]},
            True,
            "toolkengpt cannot run without training examples",
        ),
        (
            {"methods": ["minilm", "toolken-teacher"]},
            True,
            "minilm and toolken-teacher cannot run without the sentence",
        ),
        (
            {"methods": ["minilm"], "encoder": Lengths(), "examples_per_tool": [1]},
            True,
            "minilm is not compared with examples, only with --examples 0: add ",
        ),
        ({"methods": []}, True, "without a method and a number of examples: name at least one of each"),
        ({"examples_per_tool": []}, True, "without a method and a number of examples: name at least one of each"),
    ],
)
def test_a_run_without_a_row_is_an_error_that_says_why(
    tiny_lm: FrozenLM, questions: Dataset, options: dict[str, Any], train: bool, message: str
) -> None:
    dataset = questions if train else replace(questions, train={})
    with pytest.raises(DataFormatError, match=f"^Nothing can be compared on kamel.*{message}"):
        list(run(tiny_lm, dataset, **options))
    with pytest.raises(DataFormatError, match=f"^Nothing can be compared on own.*{message}"):
        list(compare(tiny_lm, next(comparisons(dataset)), **options))


def test_a_running_text_without_a_row_is_an_error_that_says_why(tiny_lm: FrozenLM, problems: Dataset) -> None:
    with pytest.raises(DataFormatError, match="since minilm is not compared in running text: "):
        list(run(tiny_lm, problems, methods=["minilm"], examples_per_tool=[0], encoder=Lengths()))
    uncalled = Evaluation(problems.specs, [Example(question="What is x?", answer="It is 3.")])
    with pytest.raises(DataFormatError, match="since no test question calls a tool: give a test with questions that"):
        list(run(tiny_lm, replace(problems, tests={"test": uncalled}), methods=["toolken"]))


def test_examples_that_words_alone_answer_are_not_drawn_for_a_tool(
    tiny_lm: FrozenLM, questions: Dataset, tmp_path: Path
) -> None:
    plain = Example(question="What is the opposite of cold?", answer="The answer is warm.")
    train = [plain, *questions.train["supervised"]]
    assert 0 not in draw(train, 5, 0, by_problem=False)
    comparison = replace(next(comparisons(questions)), train=train, test=[*questions.tests["2"].examples, plain])
    options: dict[str, Any] = {"methods": ["toolken", "minilm"], "examples_per_tool": [0, 1], "encoder": Lengths()}
    rows = list(compare(tiny_lm, comparison, seeds=1, cache=FeatureCache(tiny_lm, tmp_path), **options))
    assert {row.n for row in rows} == {8}


def test_rows_are_written_read_and_drawn(tiny_lm: FrozenLM, questions: Dataset, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    rows = list(run(tiny_lm, questions, methods=["toolken"], seeds=1, cache=FeatureCache(tiny_lm, tmp_path)))
    write_rows(tmp_path / "rows.json", rows)
    assert [Row.model_validate(raw) for raw in json.loads((tmp_path / "rows.json").read_text())] == rows
    for file in draw_rows(rows, tmp_path / "picture"):
        assert file.stat().st_size > 5000
    with pytest.raises(DataFormatError, match="no figures to draw"):
        draw_rows([], tmp_path / "picture")


@pytest.mark.parametrize(
    ("name", "folder", "splits"),
    [
        ("kamel", "kamel", {("supervised", 30), ("synthetic", 30), ("supervised", 234), ("synthetic", 234)}),
        ("stq", "simpletoolquestions", {("supervised", 999), ("left-out", 299)}),
        ("metatool", "metatool", {("supervised", 199), ("left-out", 99), ("left-out", 199)}),
        ("gsm8k-xl", "gsm8k-xl", {("dev", 4)}),
        ("funcqa", "funcqa", {("supervised", 13), ("dev", 13)}),
        ("virtualhome", "virtualhome", {("dev", 58)}),
    ],
)
def test_published_sets_have_their_comparisons(
    data_folder: Path, name: str, folder: str, splits: set[tuple[str, int]]
) -> None:
    if not (data_folder / folder).is_dir():
        pytest.skip(f"There is no {folder} in {data_folder}: set TOOLKEN_DATA to a folder that has it.")
    for one in (found := list(comparisons(read_dataset(name, data_folder / folder)))):
        names = {spec.name for spec in one.specs}
        assert set(one.candidates) <= names
        assert {call.tool for example in one.train for call in example.calls} <= names
        assert {call.tool for example in one.test for call in example.calls} <= set(one.candidates)
        asked = {example.question for example in one.test}
        assert one.prompt.everywhere or not asked & {example.question for example in one.train}
    assert {(one.split, len(one.candidates)) for one in found} == splits


def test_thirty_relations_are_told_apart_after_five_examples_each(
    embedded_lm: FrozenLM, data_folder: Path, tmp_path: Path
) -> None:
    if not (data_folder / "kamel" / "test_first_30.json").is_file():
        pytest.skip(f"There is no KAMEL data in {data_folder}: set TOOLKEN_DATA to a folder that has it.")
    dataset = read_dataset("kamel", data_folder / "kamel", test_file=data_folder / "kamel" / "test_first_30.json")
    cache = FeatureCache(embedded_lm, tmp_path)
    found = run(embedded_lm, dataset, methods=["toolken"], examples_per_tool=[5], seeds=1, cache=cache)
    value = next(row.value for row in found if row.metric == "accuracy" and row.split == "supervised")
    assert value >= 0.95


def test_every_method_is_explained() -> None:
    assert set(LEGEND) == {*METHODS, PRIOR, RETRIEVER}


def test_rows_become_markdown_tables(tmp_path: Path) -> None:
    common = {"benchmark": "kamel", "tools": 2, "low": 0.5, "high": 0.9, "n": 8, "seconds": 1.25}
    rows = [
        Row(
            split="zero-shot", method="toolken", examples_per_tool=0, seed=None, metric="accuracy", value=0.75, **common
        ),
        Row(
            split="supervised", method="toolken", examples_per_tool=None, seed=0, metric="accuracy", value=0.8, **common
        ),
        Row(split="supervised", method="toolken", examples_per_tool=None, seed=None, metric="ece", value=0.6, **common),
        Row(
            split="supervised",
            method="toolken",
            examples_per_tool=None,
            seed=None,
            metric="accuracy",
            value=0.8,
            **common,
        ),
    ]
    write_rows(tmp_path / "rows.json", rows)
    assert read_rows([tmp_path / "rows.json"]) == rows
    write_rows(tmp_path / "same.json", rows)
    assert read_rows([tmp_path / "rows.json", tmp_path / "same.json"]) == [*rows, *rows]
    write_rows(tmp_path / "other.json", [rows[0].model_copy(update={"value": rows[0].value - 0.1})])
    with pytest.raises(DataFormatError, match="different figures for accuracy of"):
        read_rows([tmp_path / "rows.json", tmp_path / "other.json"])
    lines = markdown(rows).splitlines()
    assert lines[0] == "### kamel, supervised, 2 tools (8 decisions)"
    assert "| toolken | 0 | 0.750 (0.500–0.900) |  | 1.2 |" in lines
    assert "| toolken | all | 0.800 (0.500–0.900) | 0.600 (0.500–0.900) | 1.2 |" in lines
    text = page(
        [row.model_copy(update={"command": "toolken bench kamel --data DATA"}) for row in rows], "toolken bench x"
    )
    assert "| toolken | the default of `fit` |" in text
    assert "toolken-teacher" not in text
    assert "toolken bench kamel --data DATA\ntoolken bench x\n" in text
    assert "## kamel, supervised, 2 tools (8 decisions)" in text
    assert "As published" in text
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(DataFormatError, match=r"other\.json"):
        read_rows([tmp_path / "other.json", tmp_path / "none.json"])
