"""What a turn does where the conversation lacks a value that a call requires."""

from dataclasses import replace
from typing import Annotated, Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool

from toolken import FrozenLM, Grounded, ToolkenAgent, ToolkenChatModel, ToolkenHead
from toolken.agents.errors import OptionError

WEATHER = {
    "name": "forecast",
    "description": "Forecast the weather of a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1, "maximum": 14}},
        "required": ["city", "days"],
    },
}


@pytest.fixture
def model(tiny_lm: FrozenLM, tiny_head: ToolkenHead) -> ToolkenChatModel:
    """A chat model over a random LM that calls a tool wherever it may."""
    return ToolkenChatModel(lm=tiny_lm, head=replace(tiny_head, threshold=0.0), max_tokens=400)


def test_a_missing_value_is_asked_for_and_the_answer_completes_the_call(model: ToolkenChatModel) -> None:
    bound = model.bind_tools([WEATHER])
    history: list[Any] = [HumanMessage("forecast the weather")]
    asked = bound.invoke(history)
    assert asked.text == "Which city and how many days?"
    assert (asked.tool_calls, asked.response_metadata["finish_reason"]) == ([], "stop")
    history += [asked, HumanMessage("Oslo")]
    again = bound.invoke(history)
    assert again.text == "How many days?"
    history += [again, HumanMessage("for three days")]
    (call,) = bound.invoke(history).tool_calls
    assert call["args"] == {"city": "Oslo", "days": 3}


def test_a_forbidden_value_is_said_and_the_correction_completes_the_call(model: ToolkenChatModel) -> None:
    bound = model.bind_tools([WEATHER])
    history: list[Any] = [HumanMessage("forecast for Oslo, 40 days")]
    said = bound.invoke(history)
    assert said.text == "days must be between 1 and 14, not 40."
    history += [AIMessage(said.text), HumanMessage("then 12")]
    (call,) = bound.invoke(history).tool_calls
    assert call["args"] == {"city": "Oslo", "days": 12}


def test_a_streamed_question_is_the_whole_text(model: ToolkenChatModel) -> None:
    whole: Any = None
    for chunk in model.bind_tools([WEATHER]).stream("forecast the weather"):
        whole = chunk if whole is None else whole + chunk
    assert whole.text == "Which city and how many days?"


def test_a_missing_value_can_be_refused_or_written(model: ToolkenChatModel) -> None:
    bound = model.bind_tools([WEATHER], missing="refuse")
    (refused,) = bound.invoke("forecast the weather").invalid_tool_calls
    assert "nothing in the conversation says 'city'" in str(refused["error"])
    (call,) = model.bind_tools([WEATHER], missing="write").invoke("forecast the weather").tool_calls
    assert 1 <= call["args"]["days"] <= 14


def test_a_required_call_is_written_unless_an_option_says_otherwise(model: ToolkenChatModel) -> None:
    assert model.bind_tools([WEATHER], tool_choice="any").invoke("forecast the weather").tool_calls
    asked = model.bind_tools([WEATHER], tool_choice="any", missing="ask").invoke("forecast the weather")
    assert asked.text == "Which city and how many days?"


def test_an_unknown_choice_is_an_error(model: ToolkenChatModel) -> None:
    with pytest.raises(OptionError, match="missing"):
        model.bind_tools([WEATHER], missing="guess")


def test_an_agent_asks_too(tiny_lm: FrozenLM, tiny_head: ToolkenHead) -> None:
    @tool
    def capital(country: str) -> str:
        """Tell the capital of a country."""
        return f"the capital of {country}"

    head = replace(tiny_head, threshold=0.0)
    answer = ToolkenAgent(tiny_lm, head, [capital]).invoke("what is the capital?")
    assert (answer.text, answer.steps) == ("Which country?", ())
    refused = ToolkenAgent(tiny_lm, head, [capital], missing="refuse").invoke("what is the capital?")
    assert "'country'" in refused.steps[0].result
    assert refused.steps[0].failed


def test_few_shot_values_do_not_leak_into_a_call(model: ToolkenChatModel) -> None:
    shown = {"tool": "forecast", "question": "Lima for 9 days", "args": {"city": "Lima", "days": 9}}
    bound = model.bind_tools([WEATHER], few_shot=[shown])
    assert bound.invoke("forecast the weather").text == "Which city and how many days?"
    (call,) = bound.invoke("forecast for Oslo, 2 days").tool_calls
    assert call["args"] == {"city": "Oslo", "days": 2}


def test_structured_output_is_written(model: ToolkenChatModel) -> None:
    schema = {"title": "joke", "description": "A joke.", **WEATHER["parameters"]}  # type: ignore[dict-item]
    model = model.model_copy(update={"max_tokens": 400})
    assert set(model.with_structured_output(schema).invoke("Tell me one.")) == {"city", "days"}


def test_an_argument_may_be_left_to_the_lm(model: ToolkenChatModel) -> None:
    def note(text: Annotated[str, Grounded(False)]) -> str:
        """Take a note."""
        return text

    (call,) = model.bind_tools([note], max_tokens=200).invoke("ok").tool_calls
    assert isinstance(call["args"]["text"], str)
