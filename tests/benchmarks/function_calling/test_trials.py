"""A plan of trials says what cannot be measured; trials are scored, resumed and shown."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from toolken.benchmarks.end_to_end.run import run_trials
from toolken.benchmarks.end_to_end.trials import Trial, done
from toolken.benchmarks.function_calling import trials as module
from toolken.benchmarks.function_calling.call_set import CallSet
from toolken.benchmarks.function_calling.call_traces import attempt_of, expected_text, outcome_of, shown
from toolken.benchmarks.function_calling.record import CallOutcome, CallRecord, ExpectedCall, MadeCall, unusable_call
from toolken.benchmarks.function_calling.reserved_examples import ReservedExamples
from toolken.benchmarks.function_calling.trials import CallOptions, Plan, plan
from toolken.errors import DataFormatError
from toolken.training.lm import FrozenLM
from toolken.training.tool_spec import ToolSpec

Scripted = Callable[..., FrozenLM]

CITY = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 8}}, "required": ["city"]}
TOOLS = tuple(ToolSpec(name=name, description=f"{name} of a city.", parameters=CITY) for name in ("weather", "mayor"))
MORE = tuple(ToolSpec(name=f"tool{at}", description=f"Does {at}.", parameters=CITY) for at in range(20))


def record(at: int, category: str = "simple", tool: str = "weather", **fields: Any) -> CallRecord:
    fields = {"tools": TOOLS, "expected": (ExpectedCall(tool, {"city": (f"city{at}",)}),), "domain": "d"} | fields
    return CallRecord(f"{category}{at}", category, (HumanMessage(f"{tool} of city{at}?"),), **fields)


def call_set(*records: CallRecord, pool: Sequence[ToolSpec] = (*TOOLS, *MORE), **fields: Any) -> CallSet:
    by_category: dict[str, list[CallRecord]] = {}
    for one in records:
        by_category.setdefault(one.category, []).append(one)
    found = {category: tuple(some) for category, some in by_category.items()}
    return CallSet("mine", found, tuple(pool), splits={"d": "test"}, **fields)


def planned(lm: FrozenLM, given: CallSet, **options: Any) -> Plan:
    return plan(lm, given, CallOptions(**({"methods": ("toolken", "native")} | options)))


def names(plan: Plan) -> list[tuple[str, str, int]]:
    return [(one.method, one.test.split, one.test.tools) for one in plan.trials]


SIMPLE = call_set(*(record(at) for at in range(3)), record(0, "none", expected=()))


def test_each_method_has_a_trial_per_category(scripted: Scripted) -> None:
    found = planned(scripted("marked"), SIMPLE)
    assert names(found) == [(m, c, 2) for c in ("simple", "none") for m in ("toolken", "native")]
    assert [len(one.test.questions) for one in found.trials] == [3, 3, 1, 1]
    assert found.notes == []
    assert [len(one.test.questions) for one in planned(scripted("marked"), SIMPLE, limit=2).trials] == [2, 2, 1, 1]
    assert names(planned(scripted("marked"), SIMPLE, categories=("none",), methods=None))[0] == ("toolken", "none", 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"methods": ("magic",)},
            "There is no method 'magic' for tiny-llama-0: choose among toolken, toolken-k, native",
        ),
        ({"methods": ("few-shot",)}, "'few-shot' for tiny-llama-0, whose chat template takes tools: choose"),
        ({"categories": ("odd",)}, "mine has no test records of the category 'odd': choose among simple, none"),
        ({"methods": ("retriever",)}, "Nothing can be measured. retriever is not applicable to mine: the sentence"),
        ({"split": "dev"}, "Nothing can be measured"),
    ],
)
def test_what_cannot_be_planned_is_an_error(scripted: Scripted, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataFormatError, match=message):
        planned(scripted("marked"), SIMPLE, **options)


def test_a_native_method_of_an_lm_without_tool_template_is_an_error_that_names_the_few_shot_prompt(
    scripted: Scripted,
) -> None:
    with pytest.raises(DataFormatError, match=r"'native' .* whose chat template takes no tools: .* few-shot"):
        planned(scripted("plain"), SIMPLE)


def test_notes_say_what_is_left_out(scripted: Scripted) -> None:
    given = replace(SIMPLE, dropped={"x.jsonl": {"its answer is cut": 2}}, uncompiled={"odd": "no"})
    found = planned(scripted("functions"), given, methods=("native", "native-constrained", "retriever"), limit=1)
    assert found.notes == [
        "2 records of x.jsonl are left out: its answer is cut.",
        "1 tools have a schema that cannot be compiled to a grammar (odd): their records count as misses where a "
        "method needs the grammar.",
        "native-constrained is not applicable to mine: the chat template does not write calls as JSON.",
        "retriever is not applicable to mine: the sentence encoder is not installed "
        "(`pip install 'toolken[teacher]'`).",
    ]
    assert {one.method for one in found.trials} == {"native"}


def test_prompts_that_do_not_fit_the_context_are_noted_at_their_number_of_tools(scripted: Scripted) -> None:
    lm = scripted("marked", context=400)
    found = planned(lm, SIMPLE, tools=(2, 20), methods=("toolken", "native"))
    assert ("native", "simple", 2) in names(found)
    assert ("native", "simple", 20) not in names(found)
    assert ("toolken", "simple", 20) in names(found)
    (note,) = [note for note in found.notes if note.startswith("native is not applicable to simple with 20 tools: ")]
    assert "its prompts and answers take up to" in note
    assert "takes 400" in note


def test_records_get_distractors_up_to_each_number_of_tools(scripted: Scripted) -> None:
    given = call_set(
        *(record(at) for at in range(2)),
        record(3, tools=(*TOOLS, *MORE[:3])),
        record(0, "irrelevance", expected=()),
    )
    found = planned(scripted("marked"), given, tools=(1, 3, 10, 99), methods=("toolken",))
    assert names(found) == [("toolken", "simple", 3), ("toolken", "simple", 10)]
    # The record with five tools has no test with three.
    assert [len(one.test.questions) for one in found.trials] == [2, 3]
    for trial in found.trials:
        assert {len(question.reference.tools) for question in trial.test.questions} == {trial.test.tools}
    assert "There is no test of simple with 1 tools: its records have 2 tools or more." in found.notes
    assert "There is no test of simple with 99 tools: the set has too few tools." in found.notes
    assert any("irrelevance with 3 tools: a tool of another record may fit" in note for note in found.notes)


def test_distractors_have_grammars(scripted: Scripted) -> None:
    given = replace(call_set(record(0)), uncompiled={f"tool{at}": "no" for at in range(10)})
    found = planned(scripted("marked"), given, tools=(12, 13), methods=("toolken",))
    (trial,) = found.trials
    assert not {spec.name for spec in trial.test.questions[0].reference.tools} & set(given.uncompiled)


def test_records_with_their_own_tools_differ_from_as_many_with_distractors(scripted: Scripted) -> None:
    own, filled = planned(scripted("marked"), call_set(record(0)), tools=(0, 2), methods=("toolken",)).trials
    assert own.test.tools == filled.test.tools == 2
    assert own.candidates != filled.candidates


MANY = call_set(*(record(at, tool=("weather", "mayor")[at % 2]) for at in range(12)))


def test_examples_are_records_that_no_method_is_asked(scripted: Scripted) -> None:
    found = planned(scripted("marked"), MANY, methods=("toolken", "toolken-k"), examples=2)
    assert [(one.method, one.examples_per_tool) for one in found.trials] == [("toolken", 0), ("toolken-k", 2)]
    reserved = ReservedExamples.of(list(MANY), 2)
    assert len(reserved.used) == 4
    for trial in found.trials:
        assert len(trial.test.questions) == 8
        assert not {question.reference.id for question in trial.test.questions} & reserved.used
    examples = reserved.for_tools(replace(next(iter(MANY)), tools=TOOLS))
    assert sorted(one.calls[0].tool for one in examples) == ["mayor", "mayor", "weather", "weather"]
    more = planned(scripted("marked"), MANY, methods=("toolken-k",), examples=3).trials[0]
    assert more.identity["examples"] != found.trials[1].identity["examples"]


def test_no_record_is_reserved_where_tools_have_too_few(scripted: Scripted) -> None:
    assert ReservedExamples.of(list(MANY), 6).used == frozenset()
    with pytest.raises(DataFormatError, match="toolken-k is not applicable to mine: most of its tools have no"):
        planned(scripted("marked"), MANY, methods=("toolken-k",), examples=6)


def run(lm: FrozenLM, trials: Sequence[Trial], folder: Path) -> list[Any]:
    *_, outcomes = run_trials(lm, trials, traces=folder)
    return outcomes


CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "city0"}}\n</tool_call>'


def test_trials_are_scored_and_resumed_with_more_records(scripted: Scripted, tmp_path: Path) -> None:
    lm = scripted("marked", CALL)
    (first,) = run(lm, planned(lm, SIMPLE, methods=("native",), categories=("simple",), limit=1).trials, tmp_path)
    assert first.traces[0].scores["exact"] == 1.0
    assert first.traces[0].scores["tokens read"] > 0
    (trial,) = planned(lm, SIMPLE, methods=("native",), categories=("simple",)).trials
    assert done(lm, trial, tmp_path) == (1, 3)
    (second,) = run(lm, [trial], tmp_path)
    assert [trace.scores["exact"] for trace in second.traces] == [1.0, 0.0, 0.0]
    assert done(lm, trial, tmp_path) == (3, 3)


def test_attempts_with_other_tools_or_another_history_are_not_reused(scripted: Scripted, tmp_path: Path) -> None:
    lm = scripted("marked", CALL)
    run(lm, planned(lm, call_set(record(0)), methods=("native",)).trials, tmp_path)
    for changed in (record(0, tools=TOOLS[::-1]), record(0, tools=TOOLS[:1])):
        (trial,) = planned(lm, call_set(changed), methods=("native",)).trials
        assert done(lm, trial, tmp_path) == (0, 1)
    # Other right answers are scored again, not asked again.
    (trial,) = planned(lm, call_set(record(0, expected=(ExpectedCall("mayor", {}),))), methods=("native",)).trials
    assert done(lm, trial, tmp_path) == (1, 1)
    assert run(lm, [trial], tmp_path)[0].traces[0].scores["exact"] == 0.0


def test_a_tool_without_a_grammar_counts_as_a_miss_in_each_category(scripted: Scripted, tmp_path: Path) -> None:
    enum = {"type": "string", "enum": [1]}
    schema = {"type": "object", "properties": {"a": enum}, "required": ["a"]}
    tools = (*TOOLS, ToolSpec(name="never", description="Nothing.", parameters=schema))
    lm = scripted("marked", CALL)
    given = call_set(record(0, tools=tools), record(0, "none", expected=(), tools=tools))
    outcomes = run(lm, planned(lm, given, methods=("native-constrained",)).trials, tmp_path)
    assert [one.traces[0].scores.get("exact", one.traces[0].scores.get("declined")) for one in outcomes] == [0.0, 0.0]


def test_the_estimate_knows_descriptions_and_prompts(scripted: Scripted) -> None:
    lm = scripted("marked")
    ours, theirs = planned(lm, SIMPLE, categories=("simple",)).trials
    assert ours.fit_tokens > 0
    assert ours.prompt is not None
    assert theirs.fit_tokens == 0
    assert theirs.read_tokens == theirs.prompt_tokens - module.MAX_TOKENS > 0


@pytest.mark.parametrize(
    "outcome",
    [
        CallOutcome((MadeCall("a", {"x": [1]}), MadeCall("b", None)), "Hm.", 0.9, 0.8, 1.0, 2.0, 3, 4, 5),
        CallOutcome(text="No.", call_probability=0.1),
        unusable_call("no grammar"),
    ],
)
def test_an_outcome_survives_the_trace_file(outcome: CallOutcome) -> None:
    attempt = attempt_of(outcome)
    found = outcome_of(type(attempt).model_validate_json(attempt.model_dump_json(exclude_defaults=True)))
    assert (found.calls, found.text, found.call_probability) == (outcome.calls, outcome.text, outcome.call_probability)


def test_records_are_shown_with_history_and_what_is_right() -> None:
    messages = (
        SystemMessage("Be brief."),
        HumanMessage("Oslo?"),
        AIMessage("", tool_calls=[{"name": "weather", "args": {"city": "Oslo"}, "id": "1"}]),
        ToolMessage("snow", tool_call_id="1"),
    )
    lines = shown(replace(record(0), messages=messages)).splitlines()
    assert lines == ["system: Be brief.", "human: Oslo?", "ai: weather({'city': 'Oslo'})", "tool: snow"]
    assert shown(record(0)) == "weather of city0?"
    assert expected_text(record(0)) == "weather(city='city0')"
    none = record(0, expected=())
    assert expected_text(none) == "no call"
    assert expected_text(replace(none, missing={"weather": ("city",)})) == "no call; ask for city"
    assert expected_text(replace(none, says=("7",))) == "no call; say 7"
