"""KAMEL is read as published, and the figure of the README is reached."""

import json
from pathlib import Path
from typing import Any

import pytest

from toolken.errors import DataFormatError
from toolken.training import FrozenLM
from toolken.training.benchmarks import kamel
from toolken.training.benchmarks.rows import Row


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tiny data set of two relations in the published form."""
    tools = {
        "tool_dict": {"<P1>": 0, "<P2>": 1},
        "tool_information": {
            "<P1>": {"tool_description": "Find the capital of a country."},
            "<P2>": {"tool_description": "Find the author of a book."},
        },
    }
    (tmp_path / "tools.json").write_text(json.dumps(tools))
    test = [{"question": "Where is the capital of France?", "api": "P1"}, {"question": "Who wrote Emma?", "api": "P2"}]
    (tmp_path / "test_first_2.json").write_text(json.dumps(test))
    lines = []
    for i in range(6):
        for name, what in (("P1", "capital of land"), ("P2", "author of book")):
            text = f"Question: What is the {what} {i}?\nAnswer: The answer is {name}x{i}"
            call = {"call_tool": f"<{name}>", "call_param": [f"{i}"], "return": [f"{name}x{i}"]}
            record = {"text": text, "start_str_idx": [text.rindex(f"{name}x")], "tool_calling": [call]}
            lines.append(json.dumps(record))
    (tmp_path / "supervised_train.jsonl").write_text("\n".join(lines))
    return tmp_path


def run_on(lm: FrozenLM, folder: Path, **options: Any) -> list[Row]:
    """Run the benchmark on the tiny data."""
    return list(kamel.run(lm, folder, tools=[2], examples_per_tool=[0, 3], seeds=2, **options))


def test_every_seed_and_the_mean_have_a_row(tiny_lm: FrozenLM, folder: Path, tiny_background: Path) -> None:
    rows = run_on(tiny_lm, folder)
    assert [(row.examples_per_tool, row.seed) for row in rows] == [(0, 0), (0, None), (3, 0), (3, 1), (3, None)]
    assert all(row.low <= row.value <= row.high and row.n == 2 for row in rows)
    assert rows[4].value == pytest.approx((rows[2].value + rows[3].value) / 2)


def test_the_same_figures_come_again(tiny_lm: FrozenLM, folder: Path, tiny_background: Path) -> None:
    first, second = ([row.value for row in run_on(tiny_lm, folder)] for _ in range(2))
    assert first == second


def test_questions_of_the_test_are_not_trained_on(folder: Path) -> None:
    asked = "What is the capital of land 2?"
    train = kamel.read_train(folder, [asked])
    assert len(train["P1"]) == 5
    assert asked not in {example.question for example in train["P1"]}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tools.json", None),
        ("tools.json", "{"),
        ("tools.json", "[]"),
        ("test_first_2.json", None),
        ("test_first_2.json", "[]"),
        ("test_first_2.json", '[{"question": "Q", "api": "P9"}]'),
        ("test_first_2.json", '{"question": "Q"}'),
    ],
)
def test_a_file_that_is_missing_or_broken_is_named_before_the_lm_runs(
    tiny_lm: FrozenLM, folder: Path, tiny_background: Path, name: str, content: str | None
) -> None:
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text(content)
    with pytest.raises(DataFormatError, match=name):
        run_on(tiny_lm, folder)
    assert not tiny_background.exists()


def test_thirty_relations_are_told_apart_after_five_examples_each(embedded_lm: FrozenLM, data_folder: Path) -> None:
    folder = data_folder / "kamel"
    if not (folder / "test_first_30.json").is_file():
        pytest.skip(f"There is no KAMEL data in {folder}: set TOOLKEN_DATA to a folder that has it.")
    rows = list(kamel.run(embedded_lm, folder, tools=[30], examples_per_tool=[5], seeds=1))
    (row,) = (row for row in rows if row.seed == 0)
    assert row.value >= 0.95
