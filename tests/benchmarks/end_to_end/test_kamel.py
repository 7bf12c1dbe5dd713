"""KAMEL end to end on small data in the published form: every method runs, resumes and is scored."""

import json
from pathlib import Path
from typing import Any

import pytest

from toolken import FrozenLM
from toolken.benchmarks.end_to_end.kamel import trials
from toolken.benchmarks.end_to_end.kamel_scores import objects_named
from toolken.benchmarks.end_to_end.run import Options, run
from toolken.errors import DataFormatError

SUBJECTS = ("Lima", "Oslo", "Rome", "Paris", "Bern", "Cairo")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write two relations and six subjects, with a test question per relation."""
    path = tmp_path / "kamel"
    (path / "facts").mkdir(parents=True)
    tools = {"P17": "country(place): gets the country of a place", "P36": "capital(country): gets the capital"}
    templates = {"P17": "In which country is [S]?", "P36": "What is the capital of [S]?"}

    def lines(file: str, records: list[dict[str, Any]]) -> None:
        (path / file).write_text("".join(json.dumps(record) + "\n" for record in records))

    (path / "tools.json").write_text(
        json.dumps(
            {
                "tool_dict": {f"<{name}>": at for at, name in enumerate(tools)},
                "tool_information": {
                    f"<{n}>": {"tool_name": f"<{n}>", "tool_description": d} for n, d in tools.items()
                },
            }
        )
    )
    (path / "facts" / "question-templates.csv").write_text("".join(f"{n}, {t}\n" for n, t in templates.items()))

    def label(name: str, subject: str) -> list[dict[str, Any]]:
        return [{"alternative": [], "rdf": f"{name} of {subject}", "chosen": f"{name} of {subject}"}]

    for part, subjects in (("test", SUBJECTS[:3]), ("dev", SUBJECTS[3:])):
        facts = [{"property": n, "sub_label": s, "obj_label": label(n, s)} for n in tools for s in subjects]
        lines(f"facts/{part}.jsonl", facts)
    asked = [("P17", "Lima"), ("P36", "Oslo")]
    (path / "test_first_2.json").write_text(
        json.dumps([{"question": templates[n].replace("[S]", s), "answer": label(n, s), "api": n} for n, s in asked])
    )
    train = []
    for name, template in templates.items():
        for place in ("Madrid", "Athens", "Quito", "Dakar"):
            text = f"Question: {template.replace('[S]', place)}\nAnswer: The answer is {name} of {place}"
            call = {"call_tool": f"<{name}>", "call_param": [place], "return": [f"{name} of {place}"]}
            start = text.index(f"{name} of")
            train.append({"text": text, "start_str_idx": [start], "tool_calling": [call], "result": call["return"]})
    lines("supervised_train.jsonl", train)
    return path


def test_every_method_runs_and_resumes(build_lm: Any, folder: Path, tmp_path: Path, tiny_background: Path) -> None:
    lm: FrozenLM = build_lm(context=2048)
    said: list[str] = []
    options = Options(examples=(2,))
    *_, outcomes = run(lm, {"kamel": folder}, options, traces=tmp_path / "traces", say=said.append)
    methods = {outcome.trial.method for outcome in outcomes}
    assert {"toolken", "toolkengpt", "tokenlearning-code", "zero-shot", "few-shot", "in-context", "react"} <= methods
    assert all(len(outcome.traces) == 2 for outcome in outcomes)
    for outcome in outcomes:
        for trace in outcome.traces:
            assert set(trace.scores) == {"call", "tool", "arguments", "execution", "answer, any", "answer"}
    assert "about" in said[0]
    said.clear()
    *_, again = run(lm, {"kamel": folder}, options, traces=tmp_path / "traces", say=said.append)
    assert [one.traces for one in again] == [one.traces for one in outcomes]
    assert not said


def test_attempts_of_other_training_data_are_not_taken_up(
    build_lm: Any, folder: Path, tmp_path: Path, tiny_background: Path
) -> None:
    lm = build_lm(context=2048)
    options = Options(methods=("toolken", "zero-shot"), examples=(2,), splits=("supervised",))
    *_, before = run(lm, {"kamel": folder}, options, traces=tmp_path / "traces")
    train = folder / "supervised_train.jsonl"
    train.write_text(train.read_text().replace("Madrid", "Vienna"))
    *_, after = run(lm, {"kamel": folder}, options, traces=tmp_path / "traces")
    taken_up = {old.trial.method: old.traces == new.traces for old, new in zip(before, after, strict=True)}
    assert taken_up == {"toolken": False, "zero-shot": True}


def test_attempts_on_other_facts_are_not_taken_up(
    build_lm: Any, folder: Path, tmp_path: Path, tiny_background: Path
) -> None:
    lm = build_lm(context=2048)
    options = Options(methods=("in-context", "zero-shot"))
    *_, before = run(lm, {"kamel": folder}, options, traces=tmp_path / "traces")
    facts = folder / "facts" / "test.jsonl"
    facts.write_text(facts.read_text().replace("P17 of Lima", "P17 of Lima town"))
    said: list[str] = []
    *_, after = run(lm, {"kamel": folder}, options, traces=tmp_path / "traces", say=said.append)
    assert len(after) == len(before) == 2
    assert "2 trials, 14 attempts" in said[0], "two of the test, two settings on six of dev, and none without tools"


def test_as_many_demonstrations_are_shown_as_are_recorded(build_lm: Any, folder: Path) -> None:
    (trial,) = trials(build_lm(context=2048), folder, Options(methods=("few-shot",)))
    texts = trial.identity["beginning"]
    recorded = [settings["demonstrations"] for settings in trial.candidates]
    assert recorded == [4, 8]
    assert [text.count("Question: ") for text in texts] == recorded


def test_equal_prompts_are_tried_once(build_lm: Any, folder: Path) -> None:
    train = folder / "supervised_train.jsonl"
    train.write_text("".join(line for line in train.read_text().splitlines(True) if "Quito" in line))
    (trial,) = trials(build_lm(context=2048), folder, Options(methods=("few-shot",)))
    assert [settings["demonstrations"] for settings in trial.candidates] == [4]


def test_without_training_data_descriptions_are_enough(
    build_lm: Any, folder: Path, tmp_path: Path, tiny_background: Path
) -> None:
    (folder / "supervised_train.jsonl").unlink()
    options = Options(methods=("toolken", "toolkengpt", "zero-shot"))
    *_, outcomes = run(build_lm(context=2048), {"kamel": folder}, options, traces=tmp_path / "traces")
    found = [(one.trial.method, one.trial.examples_per_tool) for one in outcomes]
    assert found == [
        ("toolken", 0),
        ("zero-shot", None),
    ]


def test_a_test_of_more_tools_than_there_are_is_one_of_all(build_lm: Any, folder: Path) -> None:
    (folder / "test_first_2.json").rename(folder / "test_first_10.json")
    (trial,) = trials(build_lm(context=2048), folder, Options(methods=("zero-shot",)))
    assert (trial.test.tools, len(trial.test.questions)) == (2, 2)


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("test_first_2.json", '"answer"', '"reply"', "record 1 is not a question of kamel"),
        ("facts/test.jsonl", '"property"', '"relation"', "test.jsonl, line 1 is not a fact"),
        ("facts/dev.jsonl", '"alternative"', '"others"', "dev.jsonl, line 1 is not a question of kamel"),
    ],
)
def test_records_in_another_form_are_refused_by_their_place(
    tiny_lm: FrozenLM, folder: Path, file: str, old: str, new: str, said: str
) -> None:
    (folder / file).write_text((folder / file).read_text().replace(old, new))
    with pytest.raises(DataFormatError, match=said):
        trials(tiny_lm, folder, Options(methods=("zero-shot",)))


def test_questions_for_tools_that_are_not_there_are_left_out(tiny_lm: FrozenLM, folder: Path) -> None:
    file = folder / "test_first_2.json"
    file.write_text(file.read_text().replace('"api": "P36"', '"api": "P99"'))
    (trial,) = trials(tiny_lm, folder, Options(methods=("zero-shot",)))
    assert [one.reference.tool for one in trial.test.questions] == ["P17"]


def test_an_unknown_method_is_refused_before_anything_starts(tiny_lm: FrozenLM, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataFormatError, match="no method called 'magic' on kamel"):
        next(run(tiny_lm, {"kamel": folder}, Options(methods=("magic",)), traces=tmp_path))


def test_a_set_without_an_end_to_end_mode_is_refused(tiny_lm: FrozenLM, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataFormatError, match="'stq' has no end-to-end mode"):
        next(run(tiny_lm, {"stq": folder}, Options(), traces=tmp_path))


@pytest.mark.parametrize(
    ("answer", "objects", "some", "every"),
    [
        ("The answer is France, Italy.", [["France"], ["Italy", "IT"]], True, True),
        ("The answer is France.", [["France"], ["Italy"]], True, False),
        ("The answer is France, Spain.", [["France"]], True, False),
        ("The answer is Franceville.", [["France"]], False, False),
        ("The answer is it.", [["Italy", "IT"]], True, True),
        ("", [["France"]], False, False),
    ],
)
def test_answers_are_compared_by_whole_names(answer: str, objects: list[list[str]], some: bool, every: bool) -> None:
    assert objects_named(answer, objects) == (some, every)
