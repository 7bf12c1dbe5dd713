"""An agent takes functions and all of LangChain's tools, and refuses what it cannot run when it is built."""

import functools
import re
import warnings
from dataclasses import replace
from typing import Annotated, Any

import pytest
from langchain.tools import ToolRuntime
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langchain_core.tools import BaseTool, InjectedToolArg, InjectedToolCallId, StructuredTool, Tool, tool
from langgraph.prebuilt import InjectedState, InjectedStore
from pydantic import BaseModel

from toolken import FrozenLM, ToolkenAgent, ToolkenHead
from toolken.agents.bound_tools import BoundTools
from toolken.agents.errors import OptionError
from toolken.agents.runnable_tools import runnable_tools
from toolken.errors import ToolSpecError


def function(city: str) -> str:
    """Tell the weather in a city."""
    return f"fine in {city}"


async def coroutine(city: str) -> str:
    """Tell the weather in a city."""
    return f"fine in {city}"


@tool
def with_config(city: str, config: RunnableConfig) -> str:
    """Tell the weather in a city."""
    return f"fine in {city} {sorted(config)[:0]}"


@tool
def with_call_id(city: str, call: Annotated[str, InjectedToolCallId]) -> str:
    """Tell the weather in a city."""
    return f"fine in {city} for {call[:5]}"


class Own(BaseTool):
    """A tool whose `_run` takes the config."""

    name: str = "own"
    description: str = "Tell the weather in a city."

    def _run(self, city: str, config: RunnableConfig) -> str:
        return f"fine in {city}"


class Waiting(BaseTool):
    """A tool that can only be awaited."""

    name: str = "waiting"
    description: str = "Tell the weather in a city."

    def _run(self, city: str) -> str:
        raise NotImplementedError

    async def _arun(self, city: str) -> str:
        return f"fine in {city}"


def _of_runnable() -> BaseTool:
    with warnings.catch_warnings(action="ignore"):  # the method is in beta
        return RunnableLambda(function).as_tool(name="weather", description="Tell the weather.")


TOOLS = {
    "function": function,
    "coroutine": coroutine,
    "tool": tool(function),
    "structured": StructuredTool.from_function(function),
    "structured coroutine": StructuredTool.from_function(coroutine=coroutine),
    "single": Tool(name="weather", func=function, description="Tell the weather."),
    "from_function": Tool.from_function(function, name="weather", description="Tell the weather."),
    "single coroutine": Tool(name="weather", func=None, coroutine=coroutine, description="Tell the weather."),
    "as_tool": _of_runnable(),
    "config": with_config,
    "call id": with_call_id,
    "own": Own(),
    "waiting": Waiting(),
}


@pytest.mark.parametrize("kind", TOOLS)
async def test_tools_of_every_kind_run(tiny_lm: FrozenLM, tiny_head: ToolkenHead, kind: str) -> None:
    tiny_head = replace(tiny_head, threshold=0.0)
    agent = ToolkenAgent(tiny_lm, tiny_head, [TOOLS[kind]], max_calls=1)
    for answer in (agent.invoke("How is it in Oslo?"), await agent.ainvoke("How is it in Oslo?")):
        (step,) = answer.steps
        assert not step.failed, step.result
        assert step.result.startswith("fine in")
        assert set(step.arguments) <= {"city", "__arg1"}


def test_a_single_input_tool_has_no_other_arguments() -> None:
    bound = BoundTools.of([TOOLS["single"]])
    assert bound.problem("weather", {"__arg1": "Oslo"}) is None
    assert bound.problem("weather", {}) is not None
    assert list(BoundTools.of([Own()]).specs[0].arguments) == ["city"]


@tool
def with_state(city: str, state: Annotated[dict[str, Any], InjectedState]) -> str:
    """Tell the weather."""
    return ""


@tool
def with_store(city: str, store: Annotated[Any, InjectedStore()]) -> str:
    """Tell the weather."""
    return ""


@tool
def with_runtime(city: str, runtime: ToolRuntime) -> str:
    """Tell the weather."""
    return ""


@tool
def with_user(city: str, user: Annotated[str, InjectedToolArg]) -> str:
    """Tell the weather."""
    return ""


def positional(city: str, /) -> str:
    """Tell the weather."""
    return ""


def several(*cities: str) -> str:
    """Tell the weather."""
    return ""


def undescribed(city: str) -> str:
    return ""


class Weather(BaseModel):
    """Tell the weather."""

    city: str


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (with_state, "'state', which LangGraph"),
        (with_store, "'store', which LangGraph"),
        (with_runtime, "'runtime', which LangGraph"),
        (with_user, "'user', which LangGraph"),
        (positional, "'city' of the tool 'positional' cannot be passed by name"),
        (StructuredTool.from_function(positional), "cannot be passed by name"),
        (several, "cannot be passed by name"),
        (undescribed, "docstring"),
        (lambda city: city, "has no name"),
        (functools.partial(function, "Oslo"), "has no name"),
        (Weather, "cannot be run"),
        ({"name": "weather", "description": "x", "parameters": {}}, "cannot be run"),
        (RunnableLambda(function), "as_tool"),
        ("weather", "is not a tool"),
        (None, "is not a tool"),
    ],
    ids=lambda value: re.sub(r" at 0x\w+", "", str(value))[:30],
)
def test_what_cannot_be_run_is_refused_when_the_agent_is_built(given: Any, message: str) -> None:
    with pytest.raises(ToolSpecError, match=message):
        runnable_tools([given])


@pytest.mark.parametrize(
    "given", [tool(function), function, "weather", None, 3, {"name": "weather"}], ids=lambda value: type(value).__name__
)
def test_one_tool_is_not_a_list_of_tools(given: Any) -> None:
    with pytest.raises(ToolSpecError, match="give a list"):
        runnable_tools(given)
    if given is not None:
        with pytest.raises(ToolSpecError, match="give a list"):
            BoundTools.of(given)


def test_an_agent_says_what_lm_and_head_may_be(tiny_lm: FrozenLM, tiny_head: ToolkenHead) -> None:
    wrong: list[tuple[Any, Any, str]] = [
        (tiny_head, tiny_lm, "swapped"),
        (tiny_lm.model, None, "FrozenLM"),
        (42, None, "`lm` is a int"),
        (tiny_lm, {}, "`head` is a dict"),
    ]
    for lm, head, message in wrong:
        with pytest.raises(OptionError, match=message):
            ToolkenAgent(lm, head, [function])
    for options in ({"max_calls": -1}, {"tool_timeout": 0}, {"tool_retries": -2}):
        with pytest.raises(OptionError, match=next(iter(options))):
            ToolkenAgent(tiny_lm, tiny_head, [function], **options)


def test_lm_and_head_may_be_folders(tiny_lm: FrozenLM, tiny_head: ToolkenHead, tmp_path: Any) -> None:
    tiny_lm.model.save_pretrained(tmp_path / "lm")
    tiny_lm.tokenizer.save_pretrained(tmp_path / "lm")
    tiny_head.save_pretrained(tmp_path / "head")
    agent = ToolkenAgent(str(tmp_path / "lm"), str(tmp_path / "head"), [function], max_calls=1)
    assert agent.decoder.texts.lm.fingerprint == tiny_lm.fingerprint
    assert agent.decoder.toolset.head.names == [*tiny_head.names, "function"]
    assert agent.invoke("How is it in Oslo?").text


def test_the_result_of_a_tool_that_returns_directly_ends_the_turn(tiny_lm: FrozenLM, tiny_head: ToolkenHead) -> None:
    tiny_head = replace(tiny_head, threshold=0.0)

    @tool(return_direct=True)
    def weather(city: str) -> str:
        """Tell the weather in a city."""
        return "fine"

    answer = ToolkenAgent(tiny_lm, tiny_head, [weather]).invoke("How is it in Oslo?")
    assert (answer.text, len(answer.steps), len(answer.messages)) == ("fine", 1, 2)
