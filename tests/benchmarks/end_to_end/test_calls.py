"""The isolated measurements of calls count outcomes, on small data in the published form."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from toolken import FrozenLM
from toolken.benchmarks.end_to_end import calls
from toolken.benchmarks.measurements.backends import agreement
from toolken.benchmarks.sets.kamel import read_kamel
from toolken.errors import DataFormatError, FingerprintError

SUBJECTS = ("Oslo", "Lima", "Rome", "Bern", "Kyoto")


def write_lines(path: Path, records: Iterable[Any]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def record(tool: str, question: str, subject: str) -> dict[str, Any]:
    """Return a training record in the published form."""
    text = f"Question: {question}\nAnswer: The answer is yes"
    return {
        "text": text,
        "start_str_idx": [text.index("yes")],
        "tool_calling": [{"call_tool": f"<{tool}>", "call_param": [subject], "return": ["yes"]}],
    }


@pytest.fixture
def kamel(tmp_path: Path, tiny_background: Path) -> Path:
    """Write KAMEL with two tools and a fact per city."""
    folder = tmp_path / "kamel"
    asked = {"P1": "Where is {}?", "P2": "Who lives in {}?"}
    answer = [{"rdf": "yes", "alternative": [], "chosen": "yes"}]
    folder.mkdir()
    information = {f"<{tool}>": {"tool_description": text.format("a city")} for tool, text in asked.items()}
    tools = {"tool_dict": {f"<{tool}>": at for at, tool in enumerate(asked)}, "tool_information": information}
    (folder / "tools.json").write_text(json.dumps(tools))
    records = [record(tool, text.format(city), city) for tool, text in asked.items() for city in SUBJECTS]
    write_lines(folder / "supervised_train.jsonl", [one for one in records if SUBJECTS[0] not in one["text"]])
    write_lines(folder / "supervised_dev.jsonl", [record("P1", "Where is the city of Quito?", "the city of Quito")])
    tests = [{"question": text.format(SUBJECTS[0]), "answer": answer, "api": tool} for tool, text in asked.items()]
    (folder / "test_first_2.json").write_text(json.dumps(tests))
    facts = [{"property": tool, "sub_label": SUBJECTS[0], "obj_label": answer} for tool in asked]
    write_lines(folder / "facts" / "test.jsonl", facts)
    return folder


def test_subjects_are_counted_as_right_where_they_are_the_same_to_the_letter(
    tiny_lm: FrozenLM, kamel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    called = calls._forced_call

    def listen(decoder: Any, question: str, tools: Any) -> Any:
        asked.append(question)
        return called(decoder, question, tools)

    monkeypatch.setattr(calls, "_forced_call", listen)
    figures = {one.what: one for one in calls.copied_subjects(tiny_lm, kamel)}
    assert asked == ["Where is Oslo?", "Who lives in Oslo?"] * 2
    assert figures["subject copied from the question: valid"].value == 1
    assert all(one.n == 2 and one.low <= one.value <= one.high for one in figures.values())
    asked.clear()
    list(calls.copied_subjects(tiny_lm, kamel, split="dev"))
    assert asked == ["Where is the city of Quito?"] * 2
    with pytest.raises(DataFormatError, match="no split 'train'"):
        list(calls.copied_subjects(tiny_lm, kamel, split="train"))


def test_the_subject_of_a_published_question_is_that_of_its_fact(kamel: Path) -> None:
    assert [(one.tool, one.subject) for one in calls._published(kamel)] == [("P1", "Oslo"), ("P2", "Oslo")]


@pytest.mark.parametrize("text", ["", "[", '[{"text": 1}]', "no json", "[1]"])
def test_a_file_without_questions_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "plain.jsonl"
    if text:
        path.write_text(text)
    with pytest.raises(DataFormatError, match=r"plain\.jsonl"):
        calls._questions(path)


def test_an_lm_agrees_with_itself_and_with_no_other(tiny_lm: FrozenLM, build_lm: Any, kamel: Path) -> None:
    found = {one.what: one for one in agreement(tiny_lm, tiny_lm, read_kamel(kamel))}
    assert found["the same tool on both"].value == 1
    assert found["cosine of the hidden states"].value == pytest.approx(1)
    with pytest.raises(FingerprintError, match="different models"):
        list(agreement(tiny_lm, build_lm(seed=1), read_kamel(kamel)))
