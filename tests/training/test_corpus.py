"""Corpora are read with file and line in every error, and checked for values that the conversation does not have."""

import json
from pathlib import Path
from typing import Any

import pytest

from toolken.errors import DataFormatError
from toolken.training.corpus import CorpusRecord, read_corpus
from toolken.training.corpus_check import corpus_faults

HEAD = {"domain": "hotel", "split": "train"}
BOOK = {
    "tool": {
        "name": "book_room",
        "description": "Books a room.",
        "parameters": {
            "type": "object",
            "properties": {
                "hotel": {"type": "string"},
                "nights": {"type": "integer", "minimum": 1, "maximum": 30},
                "date": {"type": "string", "format": "date"},
                "room": {"type": "string", "enum": ["single", "double"]},
                "code": {"type": "string", "pattern": "^[A-Z]{2}$"},
                "quiet": {"type": "boolean"},
                "guests": {"type": "array", "items": {"type": "object", "properties": {"name": {"type": "string"}}}},
            },
            "required": ["hotel"],
        },
    }
}
IDLE = {"tool": {"name": "idle", "description": "Does nothing.", "parameters": {"type": "object", "properties": {}}}}


def write(folder: Path, *lines: Any) -> Path:
    """Write a corpus of two tools and the lines, which begin at line 4."""
    file = folder / "hotel.jsonl"
    text = (line if isinstance(line, str) else json.dumps(line) for line in (HEAD, BOOK, IDLE, *lines))
    file.write_text("\n".join(text))
    return file


def booking(request: str = "the Adlon please", **args: Any) -> dict[str, Any]:
    return {"request": request, "calls": [{"tool": "book_room", "args": {"hotel": "Adlon"} | args}]}


def talk(*roles: str, **fields: Any) -> dict[str, Any]:
    """Return a conversation; the role "call" is an assistant's message with a call of `idle`."""
    calls = {"calls": [{"tool": "idle"}]}
    messages = [
        {"role": "assistant", "content": ""} | calls if role == "call" else {"role": role, "content": f"{place}"}
        for place, role in enumerate(roles)
    ]
    return {"messages": messages} | fields


def test_a_corpus_has_tools_and_records(tmp_path: Path) -> None:
    invalid = {"kind": "invalid", "tool": "book_room", "argument": "nights", "value": 400}
    corpus = read_corpus(
        write(
            tmp_path, booking(), "", {"request": "Adlon for 400 nights", "calls": []} | invalid, talk("user", calls=[])
        )
    )
    assert (corpus.domain, corpus.split, [spec.name for spec in corpus.tools]) == (
        "hotel",
        "train",
        ["book_room", "idle"],
    )
    first, second, third = corpus.records
    assert [message.content for message in first.messages] == ["the Adlon please"]
    assert (first.calls[0].args, first.line) == ({"hotel": "Adlon"}, 4)
    assert (second.argument, second.value, second.line) == ("nights", 400, 6)
    assert third.messages[0].role == "user"


def test_a_conversation_that_ends_with_the_user_is_one_request() -> None:
    record = CorpusRecord.model_validate(talk("user", "call", "tool", "assistant", "user", calls=[{"tool": "idle"}]))
    (request,) = record.requests()
    assert (len(request.messages), request.calls, request.answer) == (5, record.calls, ())


def test_each_answered_message_of_a_conversation_is_a_request() -> None:
    record = CorpusRecord.model_validate(
        talk("system", "user", "call", "tool", "call", "tool", "assistant", "user", "user", "assistant")
    )
    first, second = record.requests()
    assert [len(request.messages) for request in (first, second)] == [2, 9]
    assert [len(request.calls) for request in (first, second)] == [2, 0]
    assert [message.role for message in first.answer] == ["assistant", "tool", "assistant", "tool", "assistant"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "it is not JSON"),
        ("[]", "it is not a JSON object"),
        (HEAD, 'there is a second "domain"'),
        (IDLE, "the tool 'idle' occurs twice"),
        ({"tool": {"name": "get weather"}}, "the tool's name 'get weather' is not"),
        ({"tool": {"name": "a", "parameters": {"type": "dict"}}}, "the parameters of 'a' are no JSON schema"),
        ({"tool": {"name": "a", "parameters": {"pattern": "("}}}, "the parameters of 'a' are no JSON schema"),
        ({"tool": {"name": "a", "parameters": {"required": ["b"]}}}, "requires 'b', which is not an argument"),
        ({"tool": {"name": "a", "tags": []}}, "tags: Extra inputs"),
        ({"calls": []}, 'it has not exactly one of "domain"'),
        (booking() | {"messages": []}, 'it has not exactly one of "domain"'),
        (booking() | {"mood": "good"}, "mood: Extra inputs"),
        (booking() | {"kind": "negated"}, "the kind 'negated' says that no call is right, and there are calls"),
        ({"request": "x", "calls": [], "kind": "missing", "missing": ["hotel"]}, '"missing" needs "tool"'),
        ({"request": "x", "calls": [], "kind": "negated", "tool": "bok_room"}, "its tool 'bok_room' is not among"),
        ({"request": "x", "calls": [{"tool": "bok_room"}]}, "did you mean 'book_room'"),
        ({"request": "x", "calls": [{"tool": "book_room"}]}, "without the required argument 'hotel'"),
        (booking(nights=31), "31 is greater than the maximum of 30"),
        (booking(nights="3"), "'3' is not of type 'integer'"),
        (booking(dogs=1), "with the argument 'dogs', which the tool does not have"),
        (talk("user", "robot"), "messages.1.role: Input should be"),
        (talk("assistant"), "no message is the user's"),
        (talk("user", "tool", "assistant"), "there is a tool message without a call"),
        (talk("user", "call", "assistant"), "1 calls have no tool message"),
        (talk("user", "call", "tool", "tool", "assistant"), "there is a tool message without a call"),
        (talk("user", "assistant", calls=[{"tool": "idle"}]), "and the last one is not"),
        ({"messages": [{"role": "user", "content": "x", "says": ["y"]}]}, "only an assistant's may"),
        (
            {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "calls": [{"tool": "book_room"}]}]},
            "without the required argument 'hotel'",
        ),
    ],
)
def test_each_fault_of_the_form_has_file_and_line(tmp_path: Path, line: Any, reason: str) -> None:
    file = write(tmp_path, booking(), line)
    with pytest.raises(DataFormatError) as error:
        read_corpus(file)
    assert str(error.value).startswith(f"{file}, line 5: ")
    assert reason in str(error.value)
    assert str(error.value) in corpus_faults(file)


def test_several_faults_are_shown_at_once(tmp_path: Path) -> None:
    file = write(tmp_path, *[booking(nights=31 + place) for place in range(8)])
    with pytest.raises(DataFormatError, match=r"line 4: .*\n.*line 5: (.|\n)*line 8: .*\(3 more faults\)$"):
        read_corpus(file)


def test_a_file_without_a_domain_or_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps(IDLE))
    with pytest.raises(DataFormatError, match=r"a\.jsonl, line 1: no line is"):
        read_corpus(tmp_path / "a.jsonl")
    (tmp_path / "a.jsonl").write_text('{"domain": "a", "split": "validation"}')
    with pytest.raises(DataFormatError, match=r"split 'validation': give a name"):
        read_corpus(tmp_path / "a.jsonl")
    (tmp_path / "a.jsonl").write_bytes(b"\xff")
    with pytest.raises(DataFormatError, match="is not text in UTF-8"):
        read_corpus(tmp_path / "a.jsonl")
    with pytest.raises(DataFormatError, match="cannot be read"):
        read_corpus(tmp_path / "b.jsonl")


@pytest.mark.parametrize(
    "line",
    [
        booking("the ADLON  please"),
        booking("Adlon, three nights", nights=3),
        booking("Adlon, 3 nights", nights=3),
        booking("a night at the Adlon", nights=1),
        booking("Adlon, 3 pm", nights=15),
        booking("Adlon from 12 May 2026, yes two beds", date="2026-05-12", room="double", quiet=True, code="AB"),
        booking("Adlon for Ann and Bo", guests=[{"name": "Ann"}, {"name": "Bo"}]),
        {"request": "a room", "calls": [], "kind": "missing", "tool": "book_room", "missing": ["hotel"]},
        {
            "messages": [
                *({"role": "user", "content": "the Adlon"}, {"role": "assistant", "content": "How many nights?"}),
                {"role": "user", "content": "7"},
            ],
            "calls": [{"tool": "book_room", "args": {"hotel": "Adlon", "nights": 7}}],
        },
    ],
)
def test_values_from_the_conversation_and_worded_values_pass(tmp_path: Path, line: dict[str, Any]) -> None:
    assert corpus_faults(write(tmp_path, line)) == []


ABOUT = {"request": "for 400 nights", "calls": [], "tool": "book_room"}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (booking("a hotel"), "'hotel' of 'book_room': 'Adlon' does not occur in the conversation"),
        (booking(nights=3), "'nights' of 'book_room': 3 does not occur"),
        (booking("a room at the Adlon", nights=3), "'nights' of 'book_room': 3 does not occur"),
        (booking("Adlon, 3 am", nights=15), "'nights' of 'book_room': 15 does not occur"),
        (booking("Adlon for 13 nights", nights=12), "'nights' of 'book_room': 12 does not occur"),
        (booking(date="12 May"), "'date' of 'book_room': '12 May' has not the format 'date'"),
        (booking(guests=[{"name": "Ann"}]), "'guests' of 'book_room': 'Ann' does not occur"),
        ({"request": "hello", "calls": []}, "it has no calls and the kind None: give one of missing"),
        ({"request": "hello", "calls": [], "kind": "thank"}, "it has no calls and the kind 'thank'"),
        ({"request": "don't", "calls": [], "kind": "negated"}, "the kind 'negated' is about a tool"),
        (ABOUT | {"kind": "missing"}, '"missing" is empty'),
        (ABOUT | {"kind": "missing", "missing": ["nights"]}, "'book_room' does not require 'nights'"),
        (ABOUT | {"kind": "invalid", "argument": "night", "value": "400"}, "'book_room' has no argument 'night'"),
        (ABOUT | {"kind": "invalid", "argument": "nights", "value": "500"}, "the value '500' does not occur"),
    ],
)
def test_each_fault_of_the_content_has_file_and_line(tmp_path: Path, line: dict[str, Any], reason: str) -> None:
    file = write(tmp_path, line)
    (fault,) = corpus_faults(file)
    assert fault.startswith(f"{file}, line 4: ")
    assert reason in fault


def test_requests_that_are_alike_are_faults(tmp_path: Path) -> None:
    file = write(tmp_path, booking(), booking("The  Adlon please"), booking("the Adlon, please"))
    assert corpus_faults(file) == [f"{file}, line 5: it has the text of line 4: write another one"]


def test_a_value_of_a_later_message_does_not_count(tmp_path: Path) -> None:
    call = {"role": "assistant", "calls": booking()["calls"]}
    talks = [
        {"role": "user", "content": "a room"},
        *(call, {"role": "tool", "content": "ok"}, {"role": "assistant", "content": "The Adlon is booked."}),
    ]
    (fault,) = corpus_faults(write(tmp_path, {"messages": talks}))
    assert "'Adlon' does not occur" in fault
