"""A failed call is made again with the name that the tool offers, if the agent has this retry step."""

from dataclasses import replace
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import wrap_tool_call
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import BaseTool, StructuredTool

from toolken import DecodingOptions, FrozenLM, PromptFormat, ToolkenAgent, ToolkenChatModel, ToolkenHead, ToolSpec
from toolken.agents.conversation import to_prompt
from toolken.agents.retry import offered_name
from toolken.tools.errors import ToolError

ASKED = "Who was the mother of Anne of Denmark, and how old is King's Cross?"
OFFER = 'Nothing is stored under "Anne"; did you mean "Anne of Kiev" or "Anne of Denmark"?'
WHOLE = "How is it in Anne of Denmark"


@pytest.mark.parametrize(
    ("name", "error", "better"),
    [
        ("Anne", OFFER, "Anne of Denmark"),
        ("anne of", OFFER, "Anne of Denmark"),
        ("Anne of Denmark, and", "Unknown: did you mean ‘Anne of Denmark’?", "Anne of Denmark"),
        ("Cross", "No station 'Cross'. Did you mean 'King's Cross'?", None),
        ("Cross", "No station `Cross`. Did you mean `King's Cross`?", "King's Cross"),
        ("Anne of Denmark", 'No "Anne of Denmark": did you mean "Anne of Kiev"?', None),  # the question has the name
        ("mother", OFFER, None),  # unrelated words
        ("Ann", 'Did you mean "Anne of Kiev"?', None),  # not in the question
        ("Anne", 'Did you mean "nne of Denmar"?', None),  # no whole words
        ("Anne of Denmark", 'There is a mistake at "of": correct it.', None),  # a fragment of the wrong value
        ("Anne", "There is nothing.", None),
        ("Anne", '"" "  "', None),
    ],
)
def test_an_offered_name_that_the_question_has_is_taken(name: str, error: str, better: str | None) -> None:
    found = offered_name({"name": name, "year": 1600}, error, ASKED)
    assert found == (None if better is None else {"name": better, "year": 1600})


def refused(number: int, **args: Any) -> list[Any]:
    """A call and its refusal."""
    call = {"name": "weather", "args": args, "id": str(number)}
    return [AIMessage("", tool_calls=[call]), ToolMessage(OFFER, tool_call_id=str(number), status="error")]


def test_the_conversation_plans_no_call() -> None:
    form = PromptFormat()
    prompt = to_prompt([HumanMessage(ASKED), *refused(1, city="Anne")], form)
    assert prompt.text == form.query(ASKED)
    assert prompt.failed == {"weather"}
    assert not hasattr(prompt, "corrected")


class Weather:
    """A tool that knows one name, and the names that it was asked for."""

    def __init__(self, spec: ToolSpec, always: bool = False) -> None:
        self.asked: list[str] = []
        self.always = always
        self.tool: BaseTool = StructuredTool.from_function(
            self.run, name=spec.name, description=spec.description, args_schema=spec.parameters
        )

    def run(self, city: str) -> str:
        """Refuse the first name, or all of them."""
        self.asked.append(city)
        if self.always or len(self.asked) == 1:
            raise ToolError(f'Nothing is known of "{city}": did you mean "{WHOLE}"?')
        return "found"


@pytest.fixture
def head(tiny_head: ToolkenHead) -> ToolkenHead:
    """A head that calls a tool wherever it may."""
    prompt = tiny_head.prompt.model_copy(update={"words_preamble": ""})
    return replace(tiny_head, prompt=prompt, threshold=0.0)


@pytest.mark.parametrize(("retry", "most"), [(None, 2), (offered_name, 1), (offered_name, 2)])
async def test_the_agent_makes_the_corrected_call_if_it_has_a_retry_step(
    tiny_lm: FrozenLM, head: ToolkenHead, specs: list[ToolSpec], retry: Any, most: int
) -> None:
    weather = Weather(next(one for one in specs if one.name == "weather"))
    options = DecodingOptions(max_tokens=60)
    agent = ToolkenAgent(tiny_lm, head, [weather.tool], max_calls=most, options=options, retry=retry)
    expected = [True, False] if retry and most == 2 else [True]
    for asynchronous in (False, True):
        weather.asked.clear()
        answer = await agent.ainvoke(WHOLE) if asynchronous else agent.invoke(WHOLE)
        assert weather.asked[0] != WHOLE
        assert weather.asked[1:] == [WHOLE][: len(expected) - 1]
        assert [step.failed for step in answer.steps] == expected
        assert [m.status for m in answer.messages if isinstance(m, ToolMessage)] == [
            "error" if failed else "success" for failed in expected
        ]


def test_a_tool_is_corrected_once_for_a_question(tiny_lm: FrozenLM, head: ToolkenHead, specs: list[ToolSpec]) -> None:
    weather = Weather(next(one for one in specs if one.name == "weather"), always=True)
    steps: list[str] = []

    def step(arguments: Any, error: str, question: str) -> dict[str, Any]:
        steps.append(question)
        return {"city": f"{WHOLE} {len(steps)}"}

    options = DecodingOptions(max_tokens=60)
    answer = ToolkenAgent(tiny_lm, head, [weather.tool], options=options, retry=step).invoke(WHOLE)
    assert steps == [WHOLE]
    assert [one.failed for one in answer.steps] == [True, True]


@wrap_tool_call
def _retry_offered_name(request: Any, handler: Any) -> Any:
    call, question = request.tool_call, request.state["messages"][0].text
    try:
        return handler(request)
    except ToolError as error:
        better = offered_name(call["args"], str(error), question)
        if better is None:
            raise
        return handler(request.override(tool_call={**call, "args": better}))


def test_a_middleware_of_create_agent_can_make_the_corrected_call(
    tiny_lm: FrozenLM, head: ToolkenHead, specs: list[ToolSpec]
) -> None:
    weather = Weather(next(one for one in specs if one.name == "weather"))
    model = ToolkenChatModel(lm=tiny_lm, head=head, max_tokens=60, max_calls=1)
    agent = create_agent(model, [weather.tool], middleware=[_retry_offered_name])
    messages = agent.invoke({"messages": [HumanMessage(WHOLE)]})["messages"]
    assert weather.asked[1:] == [WHOLE]
    assert [m.text for m in messages if isinstance(m, ToolMessage)] == ["found"]
