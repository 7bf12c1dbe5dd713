"""Folders in BFCL's form are read with their right calls, and wrong ones are named with file and line."""

import json
from pathlib import Path
from typing import Any

import pytest

from toolken.benchmarks.function_calling.answered_files import NO_RECORD
from toolken.benchmarks.function_calling.bfcl import SEVERAL_TURNS, read_bfcl
from toolken.benchmarks.sets.data_files import UNKNOWN_TOOL
from toolken.errors import DataFormatError
from toolken.training.tool_spec import check_descriptions, tool_specs

PLAY = {
    "name": "spotify.play",
    "description": "Plays songs.",
    "parameters": {
        "type": "dict",
        "properties": {"artist": {"type": "string"}, "minutes": {"type": "float"}, "loud": {"type": "any"}},
        "required": ["artist"],
    },
}


def question(identifier: str = "1", *messages: tuple[str, str], **fields: Any) -> dict[str, Any]:
    turns = [{"role": role, "content": content} for role, content in messages or [("user", "Play Abba.")]]
    return {"id": identifier, "question": [turns], "function": [PLAY]} | fields


def answer(identifier: str = "1", *calls: dict[str, Any]) -> dict[str, Any]:
    return {"id": identifier, "ground_truth": list(calls) or [{"spotify.play": {"artist": ["Abba"]}}]}


def write(folder: Path, **files: list[dict[str, Any]]) -> Path:
    for name, lines in files.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_each_file_is_a_category_with_its_answers(tmp_path: Path) -> None:
    asked = question("1", ("system", "Be brief."), ("user", "Play Abba."), ("assistant", "How long?"), ("user", "5"))
    right = answer("1", {"spotify.play": {"artist": ["Abba", "ABBA"], "minutes": ["", 5], "loud": [""]}})
    write(tmp_path, anything=[asked], anything_answers=[right], my_irrelevance_2=[question("2")])
    found = read_bfcl(tmp_path)
    assert {category: len(records) for category, records in found.records.items()} == {
        "anything": 1,
        "my_irrelevance_2": 1,
    }
    (record,) = found.records["anything"]
    assert [message.type for message in record.messages] == ["system", "human", "ai", "human"]
    (call,) = record.expected
    assert call.tool == "spotify_play" == record.tools[0].name
    assert dict(call.accepted) == {"artist": ("Abba", "ABBA"), "minutes": (5,), "loud": ()}
    assert call.optional == {"minutes", "loud"}
    assert record.tools[0].parameters["properties"]["minutes"] == {"type": "number"}
    assert record.tools[0].parameters["type"] == "object"
    assert found.records["my_irrelevance_2"][0].expected == ()
    assert not found.uncompiled


def test_required_arguments_are_not_optional(tmp_path: Path) -> None:
    right = answer("1", {"spotify.play": {"artist": ["Abba", ""]}})
    (record,) = read_bfcl(write(tmp_path, a=[question()], a_answers=[right]))
    assert record.expected[0].optional == frozenset()


def test_names_that_become_equal_stay_apart(tmp_path: Path) -> None:
    tools = [PLAY, PLAY | {"name": "spotify_play", "description": "Another."}]
    right = answer("1", {"spotify.play": {"artist": ["A"]}}, {"spotify_play": {"artist": ["B"]}})
    (record,) = read_bfcl(write(tmp_path, a=[question(function=tools)], a_answers=[right]))
    assert [call.tool for call in record.expected] == ["spotify_play_2", "spotify_play"]
    assert [spec.name for spec in record.tools] == ["spotify_play_2", "spotify_play"]


def test_a_file_without_answers_is_refused_unless_no_call_is_right(tmp_path: Path) -> None:
    write(tmp_path, simple=[question()])
    with pytest.raises(DataFormatError, match=r"has no simple_answers\.jsonl: add the right calls, or put"):
        read_bfcl(tmp_path)


def test_answers_without_questions_are_refused(tmp_path: Path) -> None:
    write(tmp_path, a_irrelevance=[question()], simple_answers=[answer()])
    with pytest.raises(DataFormatError, match=r"has simple_answers\.jsonl without simple\.jsonl"):
        read_bfcl(tmp_path)


def test_answers_to_no_question_are_counted(tmp_path: Path) -> None:
    found = read_bfcl(write(tmp_path, a=[question()], a_answers=[answer(), answer("9")]))
    assert found.dropped == {"a_answers.jsonl": {NO_RECORD: 1}}


def test_repeated_descriptions_become_distinct(tmp_path: Path) -> None:
    tools = [PLAY, PLAY | {"name": "again"}, {"name": "bare", "parameters": {}}, {"name": "Bare"}]
    (record,) = read_bfcl(write(tmp_path, a=[question(function=tools)], a_answers=[answer()]))
    check_descriptions(tool_specs(spec for spec in record.tools if spec.description))
    assert [spec.description for spec in record.tools] == ["Plays songs.", "Plays songs. (again)", "", "bare (Bare)"]


def test_one_function_need_not_be_in_a_list(tmp_path: Path) -> None:
    (record,) = read_bfcl(write(tmp_path, a=[question(function=PLAY)], a_answers=[answer()]))
    assert [spec.name for spec in record.tools] == ["spotify_play"]


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataFormatError, match=r"has no \*\.jsonl: give the folder with the bfcl data"):
        read_bfcl(tmp_path)


@pytest.mark.parametrize(
    ("asked", "right", "reason"),
    [
        (question("2"), answer("1"), "the answers file has no answer"),
        (question(), answer("1", {"other": {}}), UNKNOWN_TOOL),
        (question() | {"question": [[{"role": "user", "content": "x"}]] * 2}, answer(), SEVERAL_TURNS),
    ],
)
def test_unusable_records_are_dropped_and_counted(
    tmp_path: Path, asked: dict[str, Any], right: dict[str, Any], reason: str
) -> None:
    write(tmp_path, a=[asked, question("3")], a_answers=[right, answer("3")])
    found = read_bfcl(tmp_path)
    assert [record.id for record in found] == ["3"]
    assert found.dropped["a.jsonl"] == {reason: 1}
    assert found.read["a.jsonl"] == 1


def test_a_set_without_usable_records_says_why(tmp_path: Path) -> None:
    write(tmp_path, a=[question()], a_answers=[answer("1", {"other": {}})])
    with pytest.raises(DataFormatError, match=f"has no usable record \\({UNKNOWN_TOOL}\\)"):
        read_bfcl(tmp_path)


@pytest.mark.parametrize(
    ("asked", "detail"),
    [
        ({"id": "1", "question": [[{"role": "user", "content": "x"}]]}, "it has no 'function'"),
        (question("1", ("user", "x"), ("assistant", "y")), "its last message is not the user's"),
        (question("1", ("robot", "x")), "a message has the role 'robot' instead of system, user, assistant"),
        (question(function=[PLAY, PLAY]), "two of its functions have the same name"),
        (question(function=[PLAY | {"parameters": "none"}]), "are no schema"),
    ],
)
def test_records_of_another_form_are_named_with_file_and_line(
    tmp_path: Path, asked: dict[str, Any], detail: str
) -> None:
    write(tmp_path, a=[question("0"), asked], a_answers=[answer("0"), answer("1")])
    with pytest.raises(DataFormatError, match=rf"a\.jsonl, line 2 is not a record of bfcl .*{detail}"):
        read_bfcl(tmp_path)


def test_an_id_occurs_once_in_a_file_and_may_occur_in_two(tmp_path: Path) -> None:
    write(tmp_path, a=[question()], a_answers=[answer()], b=[question()], b_answers=[answer()])
    assert [record.id for record in read_bfcl(tmp_path)] == ["1", "b/1"]
    write(tmp_path, a=[question(), question()])
    with pytest.raises(DataFormatError, match=r"a\.jsonl, line 2 .*id '1' occurs twice"):
        read_bfcl(tmp_path)


def test_a_schema_that_cannot_be_compiled_is_named_and_its_record_stays(tmp_path: Path) -> None:
    broken = {
        "type": "dict",
        "properties": {"a": {"type": "string", "minLength": 5, "maxLength": 2}},
        "required": ["a"],
    }
    tools = [PLAY, {"name": "broken", "description": "Broken.", "parameters": broken}]
    found = read_bfcl(write(tmp_path, a=[question(function=tools)], a_answers=[answer()]))
    assert len(found) == 1
    assert list(found.uncompiled) == ["broken"]
    assert "cannot be compiled" in found.uncompiled["broken"]
