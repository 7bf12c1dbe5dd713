"""A refused call is made again with the name that the tool offers, if the question has it."""

from dataclasses import replace
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import StructuredTool

from toolken import FrozenLM, PromptFormat, ToolkenAgent, ToolkenChatModel, ToolkenHead, ToolSpec
from toolken.agents.conversation import to_prompt
from toolken.agents.decoding.decoder import DecodingOptions
from toolken.agents.retry import corrected
from toolken.tools.errors import ToolError

ASKED = "Who was the mother of Anne of Denmark, and how old is King's Cross?"
OFFER = 'Nothing is stored under "Anne"; did you mean "Anne of Kiev" or "Anne of Denmark"?'


@pytest.mark.parametrize(
    ("name", "complaint", "better"),
    [
        ("Anne", OFFER, "Anne of Denmark"),
        ("anne of", OFFER, "Anne of Denmark"),
        ("Anne of Denmark, and", "Unknown: did you mean ‘Anne of Denmark’?", "Anne of Denmark"),
        ("Cross", "No station 'Cross'. Did you mean 'King's Cross'?", None),
        ("Cross", "No station `Cross`. Did you mean `King's Cross`?", "King's Cross"),
        ("Anne of Denmark", 'No "Anne of Denmark": did you mean "Anne of Kiev"?', None),  # it has been asked for
        ("mother", OFFER, None),  # other words were meant
        ("Ann", 'Did you mean "Anne of Kiev"?', None),  # the question has no such name
        ("Anne", 'Did you mean "nne of Denmar"?', None),  # no whole words
        ("Anne of Denmark", 'There is a mistake at "of": mend it.', None),  # a piece of what is wrong
        ("Anne", "There is nothing.", None),
        ("Anne", '"" "  "', None),
    ],
)
def test_the_name_that_is_offered_and_asked_for_is_taken(name: str, complaint: str, better: str | None) -> None:
    found = corrected({"name": name, "year": 1600}, complaint, ASKED)
    assert found == (None if better is None else {"name": better, "year": 1600})


def refused(number: int, **args: Any) -> list[Any]:
    """A call and its refusal."""
    call = {"name": "weather", "args": args, "id": str(number)}
    return [AIMessage("", tool_calls=[call]), ToolMessage(OFFER, tool_call_id=str(number), status="error")]


def test_a_tool_is_corrected_once_for_a_question() -> None:
    form = PromptFormat()
    first = to_prompt([HumanMessage(ASKED), *refused(1, city="Anne")], form)
    assert first.corrected == (("weather", {"city": "Anne of Denmark"}),)
    assert not first.failed
    assert first.text == form.query(ASKED)
    second = to_prompt([HumanMessage(ASKED), *refused(1, city="Anne"), *refused(2, city="Anne of Denmark")], form)
    assert (second.corrected, second.failed) == ((), {"weather"})
    third = to_prompt([HumanMessage(ASKED), *refused(1, city="Anne"), AIMessage("No."), HumanMessage("And?")], form)
    assert (third.corrected, third.failed) == ((), frozenset())


def test_the_chat_model_makes_the_corrected_call(
    tiny_lm: FrozenLM, tiny_head: ToolkenHead, specs: list[ToolSpec]
) -> None:
    tools = [{"type": "function", "function": spec.model_dump()} for spec in specs]
    history = [HumanMessage(ASKED), *refused(1, city="Anne")]
    model = ToolkenChatModel(lm=tiny_lm, head=tiny_head, max_tokens=10)
    message = model.bind_tools(tools).invoke(history)
    (call,) = message.tool_calls
    assert (call["name"], call["args"]) == ("weather", {"city": "Anne of Denmark"})
    bound: Any = model.bind_tools([one for one in tools if one["function"]["name"] != "weather"])
    assert all(one["name"] != "weather" for one in bound.invoke(history).tool_calls)


def test_the_agent_makes_the_corrected_call_within_its_number_of_calls(
    tiny_lm: FrozenLM, tiny_head: ToolkenHead, specs: list[ToolSpec]
) -> None:
    tiny_head = replace(tiny_head, prompt=tiny_head.prompt.model_copy(update={"words_preamble": ""}))
    tiny_head = replace(tiny_head, threshold=0.0)
    whole, asked = "How is it in Anne of Denmark", list[str]()

    def run(city: str) -> str:
        asked.append(city)
        if len(asked) == 1:
            raise ToolError(f'Nothing is known of "{city}": did you mean "{whole}"?')
        return "found"

    spec = next(one for one in specs if one.name == "weather")
    tools = [
        StructuredTool.from_function(run, name=spec.name, description=spec.description, args_schema=spec.parameters)
    ]
    for most in (1, 2):
        asked.clear()
        agent = ToolkenAgent(tiny_lm, tiny_head, tools, max_calls=most, options=DecodingOptions(max_tokens=60))
        answer = agent.invoke(whole)
        assert asked[0] != whole
        assert asked[1:] == [whole][: most - 1]
        assert [step.failed for step in answer.steps] == [True, False][:most]
