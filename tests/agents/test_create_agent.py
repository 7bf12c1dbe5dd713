"""LangChain's own agent loop works with the chat model as it does with any other."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import (
    HumanInTheLoopMiddleware,
    ModelRequest,
    ModelResponse,
    ToolCallLimitMiddleware,
    wrap_model_call,
    wrap_tool_call,
)
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from pydantic import BaseModel

from toolken import FrozenLM, Grounded, ToolkenChatModel, ToolkenHead
from toolken.agents.errors import InputError, OptionError

QUESTION = "What is 12 plus 30 in Paris?"

# A LangGraph graph of one call after another stops with an error at this many steps.
LIMIT: Any = {"recursion_limit": 25}


@tool
def clock() -> str:
    """Tell the time."""
    return "noon"


@tool
def thermometer(room: Annotated[str, Grounded(False)]) -> str:
    """Measure how warm a room is."""
    return "21 degrees"


class Report(BaseModel):
    """Give the final answer."""

    degrees: int


@pytest.fixture
def model(tiny_lm: FrozenLM, tiny_head: ToolkenHead) -> ToolkenChatModel:
    """A chat model over a random LM that calls a tool wherever it may."""
    tiny_head = replace(tiny_head, threshold=0.0)
    return ToolkenChatModel(lm=tiny_lm, head=tiny_head, max_tokens=200)


def asked(question: str = QUESTION) -> Any:
    """Return an agent's input."""
    return {"messages": [HumanMessage(question)]}


@wrap_tool_call
def _errors_as_messages(request: Any, handler: Any) -> Any:
    try:
        return handler(request)
    except ValueError as error:
        return ToolMessage(str(error), tool_call_id=request.tool_call["id"], status="error")


def test_the_loop_ends_with_a_text_answer(model: ToolkenChatModel) -> None:
    messages = create_agent(model, [clock]).invoke(asked(), LIMIT)["messages"]
    assert [type(message) for message in messages] == [HumanMessage, AIMessage, ToolMessage, AIMessage]
    assert messages[-1].text == "The answer is noon."


def test_a_call_with_the_same_arguments_is_not_repeated(model: ToolkenChatModel) -> None:
    messages = create_agent(model, [clock, thermometer]).invoke(asked(), LIMIT)["messages"]
    calls = [(c["name"], str(c["args"])) for m in messages if isinstance(m, AIMessage) for c in m.tool_calls]
    assert len(calls) == len(set(calls))
    assert messages[-1].tool_calls == []


async def test_the_loop_runs_asynchronously_and_in_batches(model: ToolkenChatModel) -> None:
    agent = create_agent(model, [clock])
    state = await agent.ainvoke(asked(), LIMIT)
    assert state["messages"][-1].text == "The answer is noon."
    states = await agent.abatch([asked(), asked("Who?")], LIMIT)
    assert [state["messages"][-1].text for state in states] == ["The answer is noon."] * 2


def test_a_tool_that_fails_is_answered_and_the_loop_goes_on(model: ToolkenChatModel) -> None:
    @tool
    def broken() -> str:
        """Tell the time."""
        raise ValueError("out of order")

    agent = create_agent(model, [broken], middleware=[_errors_as_messages])
    messages = agent.invoke(asked(), LIMIT)["messages"]
    assert messages[2].status == "error"
    assert "out of order" not in messages[-1].text
    assert messages[-1].tool_calls == []


def test_the_answer_can_be_an_object(model: ToolkenChatModel) -> None:
    for tools in ([], [clock], [clock, thermometer]):
        state = create_agent(model, tools, response_format=Report).invoke(asked(), LIMIT)
        assert isinstance(state["structured_response"], Report)


def test_a_turn_has_no_more_calls_than_it_may(model: ToolkenChatModel) -> None:
    for bound in (0, 1, 3):
        few = model.model_copy(update={"max_calls": bound})
        messages = create_agent(few, [thermometer]).invoke(asked(), LIMIT)["messages"]
        assert len([message for message in messages if isinstance(message, ToolMessage)]) == bound
        assert messages[-1].tool_calls == []


def test_middleware_can_force_a_tool_and_change_settings(model: ToolkenChatModel) -> None:
    @wrap_model_call
    def forced(request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]) -> Any:
        answered = any(isinstance(message, ToolMessage) for message in request.messages)
        choice = "none" if answered else "clock"
        return handler(request.override(tool_choice=choice, model_settings={"max_tokens": 40}))

    messages = create_agent(model, [clock, thermometer], middleware=[forced]).invoke(asked(), LIMIT)["messages"]
    assert [call["name"] for call in messages[1].tool_calls] == ["clock"]
    assert messages[-1].tool_calls == []


def test_a_tool_that_is_forced_every_time_does_not_keep_the_loop_going(model: ToolkenChatModel) -> None:
    @wrap_model_call
    def always(request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]) -> Any:
        return handler(request.override(tool_choice="any"))

    messages = create_agent(model, [clock], middleware=[always]).invoke(asked(), LIMIT)["messages"]
    assert len([message for message in messages if isinstance(message, ToolMessage)]) == 1


def test_langchains_own_middleware_works(model: ToolkenChatModel) -> None:
    limited = ToolCallLimitMiddleware(run_limit=1, exit_behavior="continue")
    messages = create_agent(model, [clock, thermometer], middleware=[limited]).invoke(asked(), LIMIT)["messages"]
    ran = [m for m in messages if isinstance(m, ToolMessage) and m.status == "success"]
    assert len(ran) == 1


def test_calls_are_streamed_token_by_token(model: ToolkenChatModel) -> None:
    agent = create_agent(model.model_copy(update={"max_calls": 2}), [thermometer])
    pieces = [message for message, _ in agent.stream(asked(), LIMIT, stream_mode="messages")]
    arguments = [
        chunk["args"] for m in pieces if isinstance(m, AIMessageChunk) for chunk in m.tool_call_chunks if chunk["args"]
    ]
    assert len(arguments) > 2


def test_a_system_prompt_and_an_earlier_turn_are_read(model: ToolkenChatModel) -> None:
    agent = create_agent(model, [clock], system_prompt="Be brief.")
    first = agent.invoke(asked(), LIMIT)["messages"]
    second = agent.invoke({"messages": [*first, HumanMessage("And now?")]}, LIMIT)["messages"]
    assert second[-1].text == "The answer is noon."
    assert len(second) == len(first) + 4


def test_arguments_that_cannot_be_used_do_not_break_the_loop(model: ToolkenChatModel) -> None:
    short = model.model_copy(update={"max_tokens": 1})
    messages = create_agent(short, [thermometer]).invoke(asked(), LIMIT)["messages"]
    assert isinstance(messages[-1], AIMessage)
    assert messages[-1].tool_calls == []


@pytest.mark.parametrize("tools", [[], [clock]], ids=len)
def test_a_providers_structured_output_is_refused_in_favour_of_a_tools(
    model: ToolkenChatModel, tools: list[Any]
) -> None:
    with pytest.raises(OptionError, match="ToolStrategy"):
        create_agent(model, tools, response_format=ProviderStrategy(Report)).invoke(asked(), LIMIT)
    state = create_agent(model, tools, response_format=ToolStrategy(Report)).invoke(asked(), LIMIT)
    assert isinstance(state["structured_response"], Report)


@pytest.mark.parametrize(
    ("returned", "text"),
    [
        (["4 degrees", "snow"], '["4 degrees", "snow"]'),  # LangGraph's own JSON
        ([{"type": "text", "text": "4 degrees"}, {"type": "text", "text": "snow"}], "4 degrees snow"),
        ([{"type": "json", "json": {"a": 1}}], '{"a": 1}'),
        ([{"type": "search_result", "title": "A", "content": [{"type": "text", "text": "b"}]}], "A b"),
    ],
)
def test_results_in_several_blocks_are_read_whole(model: ToolkenChatModel, returned: Any, text: str) -> None:
    @tool
    def look() -> Any:
        """Tell the time."""
        return returned

    messages = create_agent(model, [look]).invoke(asked(), LIMIT)["messages"]
    assert messages[-1].text == f"The answer is {text}."


def test_an_image_is_refused_rather_than_dropped(model: ToolkenChatModel) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    with pytest.raises(InputError, match="'image_url', and the LM reads text only"):
        create_agent(model, [clock]).invoke({"messages": [{"role": "user", "content": ["What?", image]}]}, LIMIT)


@pytest.mark.parametrize("kind", ["question", "chat"])
def test_a_declined_call_ends_with_an_answer_that_makes_sense(
    model: ToolkenChatModel, templated: Callable[[str], FrozenLM], tiny_background: Path, kind: str
) -> None:
    if kind == "chat":
        model = ToolkenChatModel(lm=templated("native"), max_tokens=200)
    middleware = HumanInTheLoopMiddleware(interrupt_on={"thermometer": True})
    agent: Any = create_agent(
        model, [thermometer], middleware=[first_call_forced, middleware], checkpointer=InMemorySaver()
    )
    thread: Any = {"configurable": {"thread_id": "1"}, **LIMIT}
    stopped = agent.invoke(asked("Measure how warm the hall is."), thread)
    assert stopped["__interrupt__"]
    assert stopped["messages"][-1].tool_calls
    declined = Command(resume={"decisions": [{"type": "reject", "message": "No, thank you."}]})
    messages = agent.invoke(declined, thread)["messages"]
    assert [one.status for one in messages if isinstance(one, ToolMessage)] == ["error"]
    last = messages[-1]
    assert isinstance(last, AIMessage)
    assert not last.tool_calls
    assert last.text.strip() not in ("", "The answer is")


@pytest.mark.parametrize("kind", ["question", "chat"])
def test_an_invalid_call_ends_with_an_answer_that_makes_sense(
    model: ToolkenChatModel, templated: Callable[[str], FrozenLM], tiny_background: Path, kind: str
) -> None:
    if kind == "chat":
        model = ToolkenChatModel(lm=templated("native"))
    short = model.model_copy(update={"max_tokens": 1})
    agent: Any = create_agent(short, [thermometer], middleware=[first_call_forced])
    last = agent.invoke(asked(), LIMIT)["messages"][-1]
    assert last.invalid_tool_calls
    assert last.text.startswith("The call of thermometer failed. The arguments are not complete JSON")


@wrap_model_call
def first_call_forced(request: ModelRequest, handler: Callable[[ModelRequest], ModelResponse]) -> ModelResponse:
    """Force a call in the first step, and none later."""
    called = any(isinstance(message, ToolMessage) for message in request.messages)
    return handler(request.override(tool_choice="none" if called else "thermometer"))
