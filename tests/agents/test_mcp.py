"""Tools of a real MCP server become toolkens by their descriptions."""

import asyncio
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.tools import BaseTool
from langchain_mcp_adapters.client import MultiServerMCPClient

from toolken import DecodingOptions, FrozenLM, ToolkenAgent, ToolkenChatModel, ToolkenHead
from toolken.agents.bound_tools import BoundTools
from toolken.errors import ToolSpecError

SERVER = Path(__file__).parent / "mcp_server.py"


@pytest.fixture
def client() -> MultiServerMCPClient:
    """A client that starts the server for each use."""
    connection: Any = {"command": sys.executable, "args": [str(SERVER)], "transport": "stdio"}
    return MultiServerMCPClient({"library": connection})


@pytest.fixture
async def tools(client: MultiServerMCPClient) -> list[BaseTool]:
    """The server's tools, as LangChain's."""
    return await client.get_tools()


@pytest.fixture
async def listed(client: MultiServerMCPClient) -> list[dict[str, Any]]:
    """The server's tools, as the server itself lists them."""
    async with client.session("library") as session:
        return [tool.model_dump(exclude_none=True) for tool in (await session.list_tools()).tools]


async def test_both_forms_of_a_servers_tools_are_read_alike(
    tools: list[BaseTool], listed: list[dict[str, Any]]
) -> None:
    adapted, raw = BoundTools.of(tools), BoundTools.of(listed)
    assert adapted.names == raw.names == ["due_date", "room_temperature", "break_down"]
    for one, other in zip(adapted.specs, raw.specs, strict=True):
        assert one.description == other.description
        assert set(one.arguments) == set(other.arguments)


async def test_a_chat_model_calls_a_servers_tool_and_the_call_runs(
    tiny_lm: FrozenLM, tiny_head: ToolkenHead, tools: list[BaseTool]
) -> None:
    model = ToolkenChatModel(lm=tiny_lm, head=tiny_head, max_tokens=60)
    bound = model.bind_tools(tools, tool_choice="due_date", grounded=["title"])
    message = await bound.ainvoke("When is Moby-Dick due?")
    (call,) = message.tool_calls
    assert call["args"]["title"] in "When is Moby-Dick due?"
    result = await tools[0].ainvoke(call)
    assert result.text == f"{call['args']['title']} is due on Friday"
    after = await model.bind_tools(tools).ainvoke([HumanMessage("When is Moby-Dick due?"), message, result])
    assert result.text in after.text


async def test_an_agent_runs_a_servers_tools_in_both_ways(
    tiny_lm: FrozenLM, tiny_head: ToolkenHead, tools: list[BaseTool]
) -> None:
    tiny_head = replace(tiny_head, threshold=0.0)
    options = DecodingOptions(max_tokens=250)
    for names, failed in ((("due_date",), False), (("break_down",), True)):
        chosen = [tool for tool in tools if tool.name in names]
        agent = ToolkenAgent(tiny_lm, tiny_head, chosen, max_calls=1, options=options, tool_timeout=60)
        for answer in (await agent.ainvoke("Moby-Dick?"), await asyncio.to_thread(agent.invoke, "Moby-Dick?")):
            (step,) = answer.steps
            assert step.failed is failed
            assert ("due on Friday" if not failed else "the alarm works") in step.result


async def test_an_agent_copies_the_arguments_of_a_servers_tools_that_are_named(
    tiny_lm: FrozenLM, tiny_head: ToolkenHead, tools: list[BaseTool]
) -> None:
    tiny_head = replace(tiny_head, threshold=0.0)
    agent = ToolkenAgent(tiny_lm, tiny_head, [tools[0]], max_calls=1, grounded=["title"])
    (step,) = (await agent.ainvoke("When is Moby-Dick due?")).steps
    assert step.arguments["title"] in "When is Moby-Dick due?"
    with pytest.raises(ToolSpecError, match="'author'"):
        ToolkenAgent(tiny_lm, tiny_head, [tools[0]], grounded=["author"])


async def test_a_servers_tools_are_told_apart_by_their_descriptions(
    embedded_lm: FrozenLM, tools: list[BaseTool]
) -> None:
    bound = ToolkenChatModel(lm=embedded_lm, max_tokens=40).bind_tools(tools, tool_choice="any")
    for question, name in (
        ("When do I have to bring back the novel Emma?", "due_date"),
        ("How warm is it in the reading room?", "room_temperature"),
    ):
        (call,) = (await bound.ainvoke(question)).tool_calls
        assert call["name"] == name
