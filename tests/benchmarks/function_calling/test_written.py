"""Sets in the project's own form become records: requests, conversations, and requests without a right call."""

import json
from pathlib import Path
from typing import Any

import pytest

from toolken.benchmarks.function_calling.record import CallRecord
from toolken.benchmarks.function_calling.written import read_written
from toolken.errors import DataFormatError

TOOLS = [
    {"name": "book", "description": "Books.", "parameters": {"properties": {"city": {"type": "string"}}}},
    {
        "name": "unlock",
        "description": "Unlocks.",
        "parameters": {
            "properties": {"door": {"type": "string"}, "pin": {"type": "string"}},
            "required": ["door", "pin"],
        },
    },
]


def write(file: Path, *lines: dict[str, Any], domain: str = "travel", split: str | None = None) -> Path:
    head = {"domain": domain} | ({"split": split} if split else {})
    tools = [{"tool": tool} for tool in TOOLS]
    file.write_text("".join(json.dumps(line) + "\n" for line in (head, *tools, *lines)))
    return file


def records(folder: Path, *lines: dict[str, Any]) -> list[CallRecord]:
    return list(read_written(write(folder / "a.jsonl", *lines)))


def book(city: str) -> dict[str, Any]:
    return {"tool": "book", "args": {"city": city}}


def test_requests_with_calls(tmp_path: Path) -> None:
    one, two = records(
        tmp_path,
        {"request": "Rome please", "calls": [book("Rome")]},
        {"request": "Rome and Oslo", "calls": [book("Rome"), book("Oslo")]},
    )
    assert (one.id, one.category, one.domain) == ("travel-4", "call", "travel")
    assert [message.text for message in one.messages] == ["Rome please"]
    assert [dict(call.accepted) for call in two.expected] == [{"city": ("Rome",)}, {"city": ("Oslo",)}]
    assert two.category == "parallel"
    assert [spec.name for spec in two.tools] == ["book", "unlock"]


def test_kinds_are_categories_and_say_what_has_to_be_named(tmp_path: Path) -> None:
    missing, invalid, negated = records(
        tmp_path,
        {"request": "open up", "calls": [], "kind": "missing", "tool": "unlock", "missing": ["door", "pin"]},
        {"request": "a", "calls": [], "kind": "invalid", "tool": "unlock", "argument": "pin", "value": 12},
        {"request": "don't", "calls": [], "kind": "negated", "tool": "unlock"},
    )
    assert [record.category for record in (missing, invalid, negated)] == ["missing", "invalid", "negated"]
    assert not any(record.expected for record in (missing, invalid, negated))
    assert missing.missing == {"unlock": ("door", "pin")}
    assert invalid.wrong == {"pin": ("12",)}
    assert negated.missing == negated.wrong == {}


def test_a_conversation_that_ends_with_the_user_is_one_record(tmp_path: Path) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Rome and Bonn"},
        {"role": "assistant", "content": "", "calls": [book("Rome"), book("Bonn")]},
        {"role": "tool", "content": "1"},
        {"role": "tool", "content": "2"},
        {"role": "assistant", "content": "Done."},
        {"role": "user", "content": "and Oslo"},
    ]
    (record,) = records(tmp_path, {"messages": messages, "calls": [book("Oslo")]})
    assert record.category == "conversation"
    assert [message.type for message in record.messages] == ["system", "human", "ai", "tool", "tool", "ai", "human"]
    ids = [call["id"] for call in record.messages[2].tool_calls]  # type: ignore[attr-defined]
    assert ids == [record.messages[place].tool_call_id for place in (3, 4)]  # type: ignore[attr-defined]
    assert len(set(ids)) == 2
    assert record.expected[0].accepted["city"] == ("Oslo",)


def test_each_answered_message_of_a_conversation_is_a_record(tmp_path: Path) -> None:
    messages = [
        {"role": "user", "content": "open the shed"},
        {"role": "assistant", "content": "Your PIN?", "asks": ["pin"]},
        {"role": "user", "content": "1234"},
        {"role": "assistant", "calls": [{"tool": "unlock", "args": {"door": "shed", "pin": "1234"}}]},
        {"role": "tool", "content": "open"},
        {"role": "assistant", "content": "The shed is open.", "says": ["shed"]},
        {"role": "user", "content": "thanks"},
        {"role": "assistant", "content": "Bye."},
    ]
    first, second, third, answer = found = records(tmp_path, {"messages": messages})
    assert [len(record.messages) for record in found] == [1, 3, 7, 5]
    assert (first.expected, first.missing) == ((), {"unlock": ("pin",)})
    assert [call.tool for call in second.expected] == ["unlock"]
    assert (second.says, second.missing) == ((), {})
    assert (third.expected, third.says, third.missing) == ((), (), {})
    assert len({record.id for record in found}) == 4
    assert [record.category for record in found] == ["conversation", "conversation", "conversation", "answer"]
    # The right calls and their results are in the history, and a text is expected.
    assert (answer.expected, answer.says) == ((), ("shed",))
    assert [message.type for message in answer.messages] == ["human", "ai", "human", "ai", "tool"]
    assert answer.request == "1234"


def test_calls_one_after_another_are_in_the_history_of_the_final_text(tmp_path: Path) -> None:
    messages = [
        {"role": "user", "content": "Rome, then Oslo"},
        {"role": "assistant", "calls": [book("Rome")]},
        {"role": "tool", "content": "R-1"},
        {"role": "assistant", "calls": [book("Oslo")]},
        {"role": "tool", "content": "O-2"},
        {"role": "assistant", "content": "Booked: R-1 and O-2.", "says": ["R-1", "O-2"]},
    ]
    calls, answer = records(tmp_path, {"messages": messages})
    assert [call.accepted["city"] for call in calls.expected] == [("Rome",), ("Oslo",)]
    assert [message.text for message in answer.messages] == ["Rome, then Oslo", "", "R-1", "", "O-2"]


def test_a_text_without_calls_is_expected_of_the_request_itself(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "two and two?"}, {"role": "assistant", "content": "4", "says": ["4"]}]
    (record,) = records(tmp_path, {"messages": messages})
    assert (record.category, record.expected, record.says) == ("conversation", (), ("4",))


def test_a_folder_has_one_file_per_domain(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", {"request": "a", "calls": [book("a")]}, split="dev")
    write(tmp_path / "b.jsonl", {"request": "b", "calls": [book("b")]}, domain="other")
    found = read_written(tmp_path, "mine")
    assert (found.name, found.read, found.splits) == ("mine", {"a.jsonl": 1, "b.jsonl": 1}, {"travel": "dev"})
    write(tmp_path / "c.jsonl", {"request": "c", "calls": [book("c")]})
    with pytest.raises(DataFormatError, match=r"c\.jsonl' has the domain 'travel' of another file"):
        read_written(tmp_path)


def test_the_form_that_the_documentation_shows_is_read(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "reference" / "benchmarks.md").read_text(encoding="utf-8")
    (tmp_path / "travel.jsonl").write_text(page.split("```json\n")[1].split("```")[0], encoding="utf-8")
    found = list(read_written(tmp_path))
    assert [record.category for record in found] == ["call", "missing", "conversation", "answer"]
