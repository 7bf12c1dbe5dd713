"""A prompted LM writes freely or under the union of the schemas, and stops at its end tokens and limits."""

from collections.abc import Callable

import pytest
from langchain_core.messages import HumanMessage

from toolken.benchmarks.function_calling.generation import PromptedLM
from toolken.benchmarks.function_calling.prompts import prompt_of
from toolken.benchmarks.function_calling.record import CallOutcome, MadeCall
from toolken.errors import PromptTooLongError
from toolken.training.lm import FrozenLM
from toolken.training.tool_spec import ToolSpec

Scripted = Callable[..., FrozenLM]

CITY = {"type": "object", "properties": {"city": {"enum": ["Oslo", "Rome"]}}, "required": ["city"]}
REFERENCE = {
    "type": "object",
    "properties": {"minutes": {"$ref": "#/$defs/minutes"}},
    "required": ["minutes"],
    "$defs": {"minutes": {"type": "integer", "minimum": 1, "maximum": 9}},
}
WEATHER = ToolSpec(name="weather", description="Weather of a city.", parameters=CITY)
#: Both tools have a definition of the same name.
TIMER = ToolSpec(name="timer", description="Start a timer.", parameters=REFERENCE)
IMPOSSIBLE = ToolSpec(
    name="never",
    description="Nothing fits.",
    parameters={"type": "object", "properties": {"a": {"type": "string", "enum": [1]}}, "required": ["a"]},
)
OSLO = MadeCall("weather", {"city": "Oslo"})


def answer(lm: FrozenLM, *, constrained: bool, max_tokens: int = 120, tools: tuple[ToolSpec, ...] = ()) -> CallOutcome:
    asked = PromptedLM(lm, prompt_of(lm), constrained=constrained, max_tokens=max_tokens)
    return asked.answer([HumanMessage("Oslo?")], tools or (WEATHER, TIMER))


WRITTEN = {
    "marked": '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call>',
    "bare": '{"name": "weather", "parameters": {"city": "Oslo"}}',
    "list": '[TOOL_CALLS] [{"name": "weather", "arguments": {"city": "Oslo"}}]',
    "plain": '<tool_call>{"name": "weather", "arguments": {"city": "Oslo"}}</tool_call>',
}


@pytest.mark.parametrize("constrained", [False, True])
@pytest.mark.parametrize("form", WRITTEN)
def test_a_call_that_fits_is_written_as_the_lm_wants_it(scripted: Scripted, form: str, constrained: bool) -> None:
    lm = scripted(form, WRITTEN[form])
    found = answer(lm, constrained=constrained)
    assert (found.calls, found.text) == ((OSLO,), "")
    assert found.written_tokens == pytest.approx(len(lm.tokenizer(WRITTEN[form])["input_ids"]), abs=8)
    assert found.read_tokens > 10
    assert found.cache_bytes > 0


@pytest.mark.parametrize("form", WRITTEN)
def test_the_grammar_replaces_names_and_values_that_do_not_fit(scripted: Scripted, form: str) -> None:
    script = WRITTEN[form].replace("weather", "wrong").replace("Oslo", "nowhere")
    free = answer(scripted(form, script), constrained=False)
    assert free.calls == (MadeCall("wrong", {"city": "nowhere"}),)
    call = answer(scripted(form, script), constrained=True, max_tokens=200).calls[0]
    assert call.tool in ("weather", "timer")
    assert call.arguments in [{"city": "Oslo"}, {"city": "Rome"}, *({"minutes": at} for at in range(1, 10))]


@pytest.mark.parametrize("form", WRITTEN)
def test_text_before_a_call_remains_free(scripted: Scripted, form: str) -> None:
    found = answer(scripted(form, f"Let me see: {WRITTEN[form]}"), constrained=True)
    assert found.calls == (OSLO,)
    if form in ("marked", "plain"):
        assert found.text == "Let me see:"


@pytest.mark.parametrize("form", WRITTEN)
@pytest.mark.parametrize("constrained", [False, True])
def test_whether_to_call_remains_the_choice_of_the_lm(scripted: Scripted, form: str, constrained: bool) -> None:
    found = answer(scripted(form, "It is a {nice} day."), constrained=constrained)
    assert (found.calls, found.text) == ((), "It is a {nice} day.")


@pytest.mark.parametrize("form", ["marked", "plain"])
def test_several_calls_are_written_one_after_another(scripted: Scripted, form: str) -> None:
    rome = WRITTEN[form].replace("Oslo", "Rome")
    found = answer(scripted(form, f"{WRITTEN[form]}\n{rome}"), constrained=True, max_tokens=200)
    assert found.calls == (OSLO, MadeCall("weather", {"city": "Rome"}))


def test_several_calls_stand_in_one_list(scripted: Scripted) -> None:
    script = WRITTEN["list"].replace("}}]", '}}, {"name": "timer", "arguments": {"minutes": 7}}]')
    found = answer(scripted("list", script), constrained=True, max_tokens=200)
    assert found.calls == (OSLO, MadeCall("timer", {"minutes": 7}))


def test_an_answer_ends_at_the_limit_of_tokens(scripted: Scripted) -> None:
    found = answer(scripted("marked", "word " * 100), constrained=False, max_tokens=12)
    assert found.written_tokens == 12
    assert found.text.startswith("word")


@pytest.mark.parametrize("constrained", [False, True])
def test_an_answer_ends_at_the_end_of_the_context(scripted: Scripted, constrained: bool) -> None:
    script = f"{'word ' * 20}{WRITTEN['marked']}{'word ' * 500}"
    lm = scripted("marked", script, context=128)
    found = answer(lm, constrained=constrained, max_tokens=10_000)
    assert found.read_tokens + found.written_tokens in range(128, 150)


def test_a_prompt_longer_than_the_context_is_an_error(scripted: Scripted) -> None:
    with pytest.raises(PromptTooLongError):
        answer(scripted("plain", "", context=64), constrained=False)


def test_a_tool_without_a_grammar_is_a_miss_only_where_a_grammar_is_needed(scripted: Scripted) -> None:
    found = answer(scripted("marked", "Hello."), constrained=True, tools=(WEATHER, IMPOSSIBLE))
    assert found.calls == (MadeCall("", None),)
    assert "'never' cannot be compiled" in found.text
    assert answer(scripted("marked", "Hello."), constrained=False, tools=(WEATHER, IMPOSSIBLE)).calls == ()


def test_a_template_without_json_cannot_be_constrained(scripted: Scripted) -> None:
    found = answer(scripted("functions", "Hello."), constrained=True)
    assert found.calls == (MadeCall("", None),)
    assert "does not write calls as JSON" in found.text


def test_the_prompt_of_the_tools_is_the_set_up(scripted: Scripted) -> None:
    found = answer(scripted("marked", "Hello."), constrained=True)
    assert found.setup_seconds > 0
    assert found.seconds > 0
