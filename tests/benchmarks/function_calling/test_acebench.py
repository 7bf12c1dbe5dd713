"""ACEBench's turns become messages, and the form of its answers decides what is right."""

import json
from pathlib import Path
from typing import Any

import pytest

from toolken.benchmarks.function_calling.acebench import read_acebench
from toolken.benchmarks.function_calling.record import CallOutcome, CallRecord, MadeCall
from toolken.benchmarks.function_calling.scoring import score
from toolken.benchmarks.sets.data_files import UNKNOWN_TOOL
from toolken.errors import DataFormatError

SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "nights": {"type": "integer"},
        "guest": {"type": "object", "properties": {"age": {"type": "number"}}},
    },
    "required": ["city"],
}
BOOK = {"name": "book", "description": "Books.", "parameters": SCHEMA}
STAY = {"name": "Stay.find", "description": "Finds.", "arguments": SCHEMA, "results": {}, "tags": []}


def read(
    folder: Path, answer: Any, question: str = "user: Rome\n", time: str = "", name: str = "normal_x"
) -> CallRecord:
    """Return the record of a folder with one record."""
    record = {"id": "1", "question": question, "function": [BOOK, STAY], "time": time}
    (folder / f"{name}.jsonl").write_text(json.dumps(record))
    (folder / f"{name}_answers.jsonl").write_text(json.dumps({"id": "1", "ground_truth": answer}))
    (found,) = read_acebench(folder)
    return found


def test_turns_become_messages_and_written_calls_become_tool_calls(tmp_path: Path) -> None:
    question = (
        'user: Find me\na system: one.\nsystem: Where?\nuser: Rome\nsystem: [Stay.find(city="Rome", nights=2, '
        'guest={"age": null, "vip": true})]\nsystem: Found:\n- The Grand\nuser: book it\n'
    )
    record = read(tmp_path, {"book": {"city": "Rome"}}, question, "Today is Monday.\n")
    kinds = ["system", "human", "ai", "human", "ai", "tool", "ai", "human"]
    assert [message.type for message in record.messages] == kinds
    assert [message.text for message in record.messages] == [
        *("Today is Monday.", "Find me\na system: one.", "Where?", "Rome", ""),
        *("Found:\n- The Grand", "Found:\n- The Grand", "book it"),
    ]
    (call,) = record.messages[4].tool_calls  # type: ignore[attr-defined]
    assert (call["name"], call["args"]) == (
        "Stay_find",
        {"city": "Rome", "nights": 2, "guest": {"age": None, "vip": True}},
    )
    assert record.messages[5].tool_call_id == call["id"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("turn", ["[1] is best", "[unknown(city=1)]", "[book(1)]", "[book(city=Rome)]", "[book]", "[]"])
def test_other_turns_in_brackets_are_text(tmp_path: Path, turn: str) -> None:
    record = read(tmp_path, {"book": {"city": "Rome"}}, f"user: a\nsystem: {turn}\nuser: b")
    assert [message.text for message in record.messages] == ["a", turn, "b"]


@pytest.mark.parametrize(
    "answer",
    [
        {"book_1": {"city": "Rome"}, "book_2": {"city": "Oslo"}, "Stay.find": {"city": "Bonn"}},
        [{"book": {"city": "Rome"}}, {"book": {"city": "Oslo"}}, {"Stay.find": {"city": "Bonn"}}],
    ],
)
def test_several_calls_are_numbered_or_listed(tmp_path: Path, answer: Any) -> None:
    record = read(tmp_path, answer)
    assert [(call.tool, call.accepted["city"]) for call in record.expected] == [
        *(("book", ("Rome",)), ("book", ("Oslo",)), ("Stay_find", ("Bonn",)))
    ]
    assert record.category == "x"


def test_values_take_the_type_of_their_schema(tmp_path: Path) -> None:
    record = read(tmp_path, {"book": {"city": "Rome", "nights": "2", "guest": {"age": "7"}}})
    made = MadeCall("book", {"city": "Rome, Italy", "nights": 2, "guest": {"age": 7}})
    assert score(record, CallOutcome((made,)))["exact"]
    assert not score(record, CallOutcome((MadeCall("book", {"city": "Rome", "nights": 2}),)))["exact"]


def test_missing_and_wrong_values_have_to_be_named(tmp_path: Path) -> None:
    missing = read(tmp_path, {"Stay.find": ["city", "nights"]}, name="special_incomplete")
    assert (missing.category, missing.expected, missing.missing) == (
        "incomplete",
        (),
        {"Stay_find": ("city", "nights")},
    )
    (tmp_path / "special_incomplete.jsonl").unlink()
    (tmp_path / "special_incomplete_answers.jsonl").unlink()
    wrong = read(tmp_path, {"nights": [-5]}, name="special_error_param")
    assert (wrong.expected, wrong.missing, wrong.wrong) == ((), {}, {"nights": ("-5",)})


def test_a_sentence_says_that_no_call_is_right(tmp_path: Path) -> None:
    record = read(tmp_path, "No function fits.")
    assert (record.expected, record.missing, record.wrong) == ((), {}, {})


@pytest.mark.parametrize("question", ["Rome", "system: Hi\nuser: Rome", "user: Rome\nsystem: Hi", ""])
def test_a_question_begins_and_ends_with_the_user(tmp_path: Path, question: str) -> None:
    with pytest.raises(DataFormatError, match=r"normal_x\.jsonl, line 1 .*begin and end with a turn of the user"):
        read(tmp_path, {"book": {"city": "Rome"}}, question)


def test_an_unknown_tool_is_counted(tmp_path: Path) -> None:
    with pytest.raises(DataFormatError, match=UNKNOWN_TOOL):
        read(tmp_path, {"fly": {"city": "Rome"}})


def test_an_answer_of_another_form_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataFormatError, match=r"line 1 .*its answer for 'book' is neither"):
        read(tmp_path, {"book": 3})
