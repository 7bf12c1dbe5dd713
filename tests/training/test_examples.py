"""Examples are read in both forms, and a broken one is named with its file and line."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolken import Call, Example, read_examples
from toolken.errors import ExampleError, ToolkenError
from toolken.training.examples import from_records, write_examples

PUBLISHED = {
    "text": "Question: What is 2 plus 3?\nAnswer: The answer is 5.",
    "start_str_idx": [49],
    "tool_calling": [{"call_tool": "<add>", "call_param": [2, 3], "return": ["5"]}],
}
OWN = {
    "question": "What is 2 plus 3?",
    "calls": [{"tool": "add", "args": {"numbers": [2, 3]}, "result": "5", "start": 14}],
    "answer": "The answer is 5.",
}


def written(folder: Path, *lines: Any) -> Path:
    """Write lines, JSON values or raw text, to a file."""
    path = folder / "some.jsonl"
    path.write_text("".join((x if isinstance(x, str) else json.dumps(x)) + "\n" for x in lines), encoding="utf-8")
    return path


def test_both_forms_mean_the_same(tmp_path: Path) -> None:
    published, own = read_examples(written(tmp_path, PUBLISHED, OWN))
    assert published.question == own.question == "What is 2 plus 3?"
    assert published.answer == own.answer == "The answer is 5."
    assert [(c.tool, c.result, c.start) for c in published.calls] == [(c.tool, c.result, c.start) for c in own.calls]
    assert published.calls[0].args == {"0": 2, "1": 3}


@pytest.mark.parametrize("start", [49, 50, 51])
def test_a_published_offset_may_stand_before_the_space(tmp_path: Path, start: int) -> None:
    text = "Question: What is 2 plus 3?\nAnswer: The answer is  5."
    (example,) = read_examples(written(tmp_path, {**PUBLISHED, "text": text, "start_str_idx": [start]}))
    assert example.answer is not None
    assert example.calls[0].start is not None
    assert example.answer[example.calls[0].start :] == "5."


def test_a_published_text_without_a_question_is_running_text(tmp_path: Path) -> None:
    record = {**PUBLISHED, "text": "2 and 3 make 5.", "start_str_idx": [13]}
    (example,) = read_examples(written(tmp_path, record))
    assert (example.question, example.answer, example.calls[0].start) == ("", "2 and 3 make 5.", 13)


def test_blank_lines_are_skipped(tmp_path: Path) -> None:
    assert len(read_examples(written(tmp_path, "", OWN, "   ", OWN, ""))) == 2


BROKEN = {
    "not JSON": "{'question': 1}",
    "cut short": '{"question": "What',
    "not an object": "[1, 2]",
    "a number": "5",
    "null": "null",
    "neither answer nor call": {"question": "What is 2 plus 3?"},
    "calls but no question": {"calls": [{"tool": "add", "result": "5"}]},
    "misspelt key": {**OWN, "anwser": "5"},
    "offset outside": {**OWN, "calls": [{"tool": "add", "result": "5", "start": 400}]},
    "offset below zero": {**OWN, "calls": [{"tool": "add", "result": "5", "start": -1}]},
    "offset elsewhere": {**OWN, "calls": [{"tool": "add", "result": "5", "start": 3}]},
    "no offset": {**OWN, "calls": [{"tool": "add", "result": "5"}]},
    "calls out of order": {**OWN, "calls": [*OWN["calls"], {"tool": "add", "result": "T", "start": 0}]},
    "tool without a name": {**OWN, "calls": [{"tool": "", "result": "5", "start": 14}]},
    "arguments that are no object": {**OWN, "calls": [{"tool": "add", "args": [2], "result": "5", "start": 14}]},
    "published offset outside": {**PUBLISHED, "start_str_idx": [4000]},
    "published offset below zero": {**PUBLISHED, "start_str_idx": [-3]},
    "published offset in the question": {**PUBLISHED, "start_str_idx": [0]},
    "more published offsets than calls": {**PUBLISHED, "start_str_idx": [49, 50]},
    "published offset that is text": {**PUBLISHED, "start_str_idx": ["49"]},
    "published calls that are null": {**PUBLISHED, "tool_calling": None},
    "published call that is text": {**PUBLISHED, "tool_calling": ["add"]},
    "published call without a tool": {**PUBLISHED, "tool_calling": [{"call_param": [], "return": ["5"]}]},
    "published tool that is a number": {
        **PUBLISHED,
        "tool_calling": [{"call_tool": 5, "call_param": [], "return": ["5"]}],
    },
    "published text that is a number": {**PUBLISHED, "text": 5},
    "published without a text": {"start_str_idx": [], "tool_calling": []},
}


@pytest.mark.parametrize("line", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_line_names_file_and_number(tmp_path: Path, line: Any) -> None:
    path = written(tmp_path, OWN, "", line, OWN)
    with pytest.raises(ExampleError) as caught:
        read_examples(path)
    assert str(path) in str(caught.value)
    assert "line 3" in str(caught.value)


def test_an_offset_outside_the_answer_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ExampleError, match="'add' starts at 400, outside the answer of 16 characters"):
        read_examples(written(tmp_path, BROKEN["offset outside"]))


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xff\xfe\x00"], ids=["empty", "blank", "not UTF-8"])
def test_a_file_without_examples_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "some.jsonl"
    path.write_bytes(content)
    with pytest.raises(ExampleError, match=r"some\.jsonl"):
        read_examples(path)


def test_a_missing_file_or_a_folder_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.jsonl", tmp_path):
        with pytest.raises(ExampleError, match="cannot be read"):
            read_examples(path)


words = st.text(st.characters(codec="utf-8"), max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | words, lambda inner: st.lists(inner, max_size=3)
)


@st.composite
def any_examples(draw: st.DrawFn) -> Example:
    """An example of any of the three kinds: worded by the format, with an answer, running text."""
    arguments = st.dictionaries(words, values, max_size=3)
    tools = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
    if draw(st.booleans()):
        calls = draw(st.lists(st.builds(Call, tool=tools, args=arguments, result=words), min_size=1, max_size=3))
        return Example(question=draw(words.filter(bool)), calls=tuple(calls))
    answer, placed = draw(words), []
    for _ in range(draw(st.integers(0, 3))):
        result = draw(words)
        placed.append(Call(tool=draw(tools), args=draw(arguments), result=result, start=len(answer)))
        answer += result + draw(words)
    return Example(question=draw(words), calls=tuple(placed), answer=answer)


@given(examples=st.lists(any_examples(), min_size=1, max_size=4))
def test_written_examples_are_read_back(tmp_path_factory: pytest.TempPathFactory, examples: list[Example]) -> None:
    path = tmp_path_factory.mktemp("examples") / "all.jsonl"
    write_examples(path, examples)
    assert read_examples(path) == examples


def test_records_of_the_shipped_generators_are_examples() -> None:
    from toolken.tools.calculator import examples

    read = list(from_records(examples(20, seed=1)))
    assert len(read) == 20
    assert all(example.question for example in read)


def test_a_record_that_is_no_example_is_refused_with_a_sentence() -> None:
    with pytest.raises((ToolkenError, ValueError), match="answer"):
        list(from_records([{"question": "What?", "calls": []}]))
