"""Whatever a tool does, the agent gets a message and can continue."""

import asyncio
import datetime
import itertools
import threading
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.messages import ToolMessage
from langchain_core.messages.tool import ToolCall, tool_call
from langchain_core.tools import BaseTool, StructuredTool
from langgraph.types import Command
from pydantic import BaseModel

from toolken.agents.tool_runner import MAX_CONTENT, ToolRunner
from toolken.tools.errors import ToolError

CALL: ToolCall = tool_call(name="tool", args={"x": "1"}, id="call_1")


def made(run: Any, **options: Any) -> ToolRunner:
    """Return a runner of one tool that does something."""
    options = {"timeout": None, "retries": 0} | options
    return ToolRunner({"tool": StructuredTool.from_function(run, name="tool", description="A tool.")}, **options)


async def both(runner: ToolRunner, call: ToolCall = CALL) -> list[ToolMessage]:
    """Run a call in both ways."""
    return [await asyncio.to_thread(runner.run, call), await runner.arun(call)]


@pytest.mark.parametrize(
    ("returned", "text"),
    [
        ("42", "42"),
        (42, "42"),
        ({"a": [1, None]}, '{"a": [1, null]}'),
        (None, "null"),
        ("", ""),
        (b"\xff\x00", None),
        ("a\x00\x1b[31m\u202e", "a\x00\x1b[31m\u202e"),
        ("x" * 5_000_000, None),
        (["x" * 1000] * 5000, None),
        (object(), None),
        (float("nan"), "NaN"),
        (["4 degrees", "snow"], "4 degrees, snow"),
        (["4 degrees", 5], '["4 degrees", 5]'),
        ([{"type": "text", "text": "4 degrees"}, {"type": "text", "text": "snow"}], "4 degrees\nsnow"),
        ([{"type": "json", "json": {"a": 1}}], '{"a": 1}'),
        ({"type": "car", "wheels": 4}, '{"type": "car", "wheels": 4}'),
        (b"caf\xc3\xa9", "café"),
        (datetime.date(2020, 1, 2), "2020-01-02"),
        (Decimal("1.50"), "1.50"),
        ({3}, "[3]"),
        ((1, 2), "[1, 2]"),
        ([Document("A"), Document("B")], "A\nB"),
        (Path("a/b"), "a/b"),
        (True, "true"),
        (Command(update={"messages": [ToolMessage("42", tool_call_id="call_1")], "x": 1}), "42"),
        ([ToolMessage("no", tool_call_id="x"), ToolMessage("42", tool_call_id="call_1")], "42"),
    ],
    ids=lambda value: repr(value)[:20],
)
async def test_whatever_a_tool_returns_is_text_of_bounded_length(returned: Any, text: str | None) -> None:
    def run(x: str) -> Any:
        return returned

    for message in await both(made(run)):
        assert message.status == "success"
        assert message.tool_call_id == "call_1"
        assert message.name == "tool"
        assert len(message.text) <= MAX_CONTENT
        if text is not None:
            assert message.text == text


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("a bad value"), "ValueError: a bad value"),
        (ToolError("Division by zero: give another divisor."), "Division by zero: give another divisor."),
        (ExceptionGroup("several", [ValueError("a"), KeyError("b")]), "several"),
        (RuntimeError("x" * 10**6), "RuntimeError: x"),
        (StopIteration("done"), "done"),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_a_tool_that_raises_is_a_message_with_status_error(error: Exception, text: str) -> None:
    def run(x: str) -> str:
        raise error

    for message in await both(made(run, timeout=60)):
        assert message.status == "error"
        assert text in message.text
        assert len(message.text) <= MAX_CONTENT


async def test_arguments_the_tool_refuses_are_a_message_with_status_error() -> None:
    def run(x: int) -> str:
        return "fine"

    for message in await both(made(run), tool_call(name="tool", args={"x": "one"}, id="call_1")):
        assert message.status == "error"


async def test_a_hanging_tool_is_abandoned() -> None:
    released = threading.Event()

    def hang(x: str) -> str:
        released.wait(60)
        return "late"

    for message in await both(made(hang, timeout=0.1)):
        assert message.status == "error"
        assert "0.1 seconds" in message.text
    released.set()


async def test_a_coroutine_that_hangs_is_cancelled() -> None:
    cancelled: list[bool] = []

    async def hang(x: str) -> str:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise
        return "late"

    tool = StructuredTool.from_function(coroutine=hang, name="tool", description="A tool.")
    message = await ToolRunner({"tool": tool}, timeout=0.05, retries=0).arun(CALL)
    assert message.status == "error"
    assert cancelled == [True]


async def test_a_tool_that_only_has_a_coroutine_runs_in_both_ways() -> None:
    async def run(x: str) -> str:
        return f"got {x}"

    tool = StructuredTool.from_function(coroutine=run, name="tool", description="A tool.")
    for message in await both(ToolRunner({"tool": tool}, timeout=60, retries=0)):
        assert (message.status, message.text) == ("success", "got 1")


async def test_a_tool_that_fails_at_first_is_tried_again() -> None:
    tries: list[int] = []

    def flaky(x: str) -> str:
        tries.append(1)
        if len(tries) % 3:
            raise ConnectionError("not yet")
        return "now"

    assert [message.text for message in await both(made(flaky, retries=2))] == ["now", "now"]
    assert len(tries) == 6
    failed = await both(made(flaky, retries=1))
    assert failed[0].status == "error"


async def test_a_tool_error_is_not_retried() -> None:
    tries: list[int] = []

    def refuse(x: str) -> str:
        tries.append(1)
        raise ToolError("There is no such city: give another one.")

    await both(made(refuse, retries=5))
    assert len(tries) == 2


def test_an_interruption_is_not_swallowed() -> None:
    def interrupt(x: str) -> str:
        raise KeyboardInterrupt

    for timeout in (None, 60):
        with pytest.raises(KeyboardInterrupt):
            made(interrupt, timeout=timeout).run(CALL)


async def test_tools_do_not_hold_up_the_event_loop() -> None:
    loop_ran = threading.Event()

    def wait(x: str) -> str:
        return "ran" if loop_ran.wait(60) else "held up"

    running = asyncio.ensure_future(made(wait).arun(CALL))
    await asyncio.sleep(0)
    loop_ran.set()
    assert (await running).text == "ran"


class Native(BaseTool):
    """A tool with an asynchronous method."""

    name: str = "tool"
    description: str = "A tool."

    def _run(self, x: str) -> str:
        return "in a thread"

    async def _arun(self, x: str) -> str:
        return "awaited"


async def test_a_tool_with_an_asynchronous_method_is_awaited() -> None:
    first, second = await both(ToolRunner({"tool": Native()}, timeout=None, retries=0))
    assert (first.text, second.text) == ("in a thread", "awaited")


def test_a_message_of_another_calls_id_is_given_this_ones() -> None:
    def run(x: str) -> ToolMessage:
        return ToolMessage("42", tool_call_id="other", artifact={"a": 1})

    message = made(run).run(CALL)
    assert (message.tool_call_id, message.name, message.artifact) == ("call_1", "tool", {"a": 1})


def test_a_tool_that_hangs_does_not_keep_the_process_alive() -> None:
    released = threading.Event()
    made(lambda x: released.wait(60), timeout=0.05).run(CALL)
    left = [thread for thread in threading.enumerate() if thread.name == "toolken-tool" and thread.is_alive()]
    released.set()
    assert left
    assert all(thread.daemon for thread in left)


class Report(BaseModel):
    """What a tool returns."""

    degrees: int
    sky: str | None = None


async def test_a_pydantic_model_is_json() -> None:
    for message in await both(made(lambda x: Report(degrees=4))):
        assert message.text == '{"degrees": 4, "sky": null}'
    for message in await both(made(lambda x: [Report(degrees=4)])):
        assert message.text == '[{"degrees": 4, "sky": null}]'


async def test_artifacts_are_kept_beside_the_text() -> None:
    def run(x: str) -> Any:
        return [{"type": "text", "text": "4 degrees"}, {"type": "text", "text": "snow"}], {"raw": 1}

    tool = StructuredTool.from_function(run, name="tool", description="A.", response_format="content_and_artifact")
    for message in await both(ToolRunner({"tool": tool}, timeout=None, retries=0)):
        assert (message.text, message.artifact) == ("4 degrees\nsnow", {"raw": 1})


@pytest.mark.parametrize(
    ("returned", "text"),
    [
        (Command(goto="elsewhere"), "run it with LangGraph"),
        (Command(resume=1), "run it with LangGraph"),
        (Command(update={"x": 1}), "without a ToolMessage"),
        (Command(update={"messages": ["done"]}), "without a ToolMessage"),
        (Command(), "without a ToolMessage"),
        ([{"type": "image", "base64": "AA=="}], "reads text only"),
        ([{"type": "text", "text": "see"}, {"type": "audio", "base64": "AA=="}], "reads text only"),
        (ValueError("returned"), "ValueError: returned"),
    ],
    ids=str,
)
async def test_a_result_without_text_is_a_message_with_status_error(returned: Any, text: str) -> None:
    tries: list[int] = []

    def run(x: str) -> Any:
        tries.append(1)
        return returned

    for message in await both(made(run)):
        assert message.status == "error"
        assert text in message.text


async def test_a_tool_that_can_only_be_awaited_runs_beside_a_running_loop() -> None:
    async def run(x: str) -> str:
        await asyncio.sleep(0)
        return f"got {x}"

    tool = StructuredTool.from_function(coroutine=run, name="tool", description="A tool.")
    assert ToolRunner({"tool": tool}, timeout=None, retries=0).run(CALL).text == "got 1"


async def test_a_result_that_never_ends_is_read_to_a_bound() -> None:
    for message in await both(made(lambda x: itertools.repeat("a"))):
        assert len(message.text) < MAX_CONTENT
