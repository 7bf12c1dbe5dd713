"""`ToolRunner`: runs tools with time limits and retries, and returns a `ToolMessage` whatever they do."""

import asyncio
import contextlib
import contextvars
import functools
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from typing import Any

from langchain_core.messages import ToolMessage, convert_to_messages
from langchain_core.messages.tool import ToolCall
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, StructuredTool, Tool

from toolken.agents.text_content import is_command, message_text, value_text
from toolken.errors import ToolkenError
from toolken.tools.errors import ToolError

#: Characters of a result that a message carries; the LM reads fewer still.
MAX_CONTENT = 100_000


class ToolRunner:
    """Runs the tools of an agent.

    Results become text: content blocks as their text, data and pydantic models as JSON, bytes as UTF-8. Of a `Command`
    the tool message is taken, since an agent without LangGraph has no state to update.

    Parameters
    ----------
    tools
        The tools by name.
    timeout
        Seconds that a tool may take; None for no limit.
    retries
        How often a tool that raises or takes too long is run again. A `ToolkenError` is final: it says what is wrong
        with the call.
    """

    def __init__(self, tools: Mapping[str, BaseTool], *, timeout: float | None, retries: int) -> None:
        self.tools = {name: _with_text_results(tool) for name, tool in tools.items()}
        self.timeout = timeout
        self.retries = retries

    def run(self, call: ToolCall, config: RunnableConfig | None = None) -> ToolMessage:
        """Run a call. Whatever the tool raises, other than an interruption, becomes a message with status error."""
        tool, error = self.tools[call["name"]], None
        for _ in range(self.retries + 1):
            try:
                return _message(call, self._within_time(lambda: _invoke(tool, call, config)))
            except Exception as raised:
                error = raised
                if isinstance(raised, ToolkenError):
                    break
        assert error is not None
        return self.refused(call, self._reason(error))

    async def arun(self, call: ToolCall, config: RunnableConfig | None = None) -> ToolMessage:
        """Run a call as `run` does, without blocking the event loop."""
        tool, error = self.tools[call["name"]], None
        for _ in range(self.retries + 1):
            try:
                running = (
                    tool.ainvoke({**call}, config)
                    if _is_asynchronous(tool)
                    else _in_a_thread(lambda: tool.invoke({**call}, config))
                )
                return _message(call, await asyncio.wait_for(running, self.timeout))
            except Exception as raised:
                error = raised
                if isinstance(raised, ToolkenError):
                    break
        assert error is not None
        return self.refused(call, self._reason(error))

    @staticmethod
    def refused(call: ToolCall, reason: str) -> ToolMessage:
        """Return the message for a call that cannot be run, or that failed."""
        return ToolMessage(_bounded(reason), tool_call_id=call["id"] or "", name=call["name"], status="error")

    def _within_time(self, run: Callable[[], Any]) -> Any:
        """Run something; with a timeout in a new thread, which is abandoned when the time is over."""
        return run() if self.timeout is None else _run_in_thread(run, self.timeout)

    def _reason(self, error: BaseException) -> str:
        if isinstance(error, TimeoutError) and not str(error) and self.timeout is not None:
            return f"The tool did not finish within {self.timeout:g} seconds."
        return str(error) if isinstance(error, ToolkenError) else f"{type(error).__name__}: {error}"


def _invoke(tool: BaseTool, call: ToolCall, config: RunnableConfig | None) -> Any:
    if isinstance(tool, StructuredTool | Tool) and tool.func is None and tool.coroutine is not None:
        return _awaited(tool, call, config)  # such as the tools of an MCP server
    try:
        return tool.invoke({**call}, config)
    except NotImplementedError:
        if isinstance(tool, StructuredTool | Tool) or not _is_asynchronous(tool):
            raise
        return _awaited(tool, call, config)


def _awaited(tool: BaseTool, call: ToolCall, config: RunnableConfig | None) -> Any:
    """Run an asynchronous tool to its end; beside a running event loop, as in notebooks, in a thread."""

    def run() -> Any:
        return asyncio.run(tool.ainvoke({**call}, config))

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return run()
    return _run_in_thread(run, None)


def _is_asynchronous(tool: BaseTool) -> bool:
    """Tell whether a tool can be awaited; others would block a thread of the event loop."""
    if isinstance(tool, (StructuredTool, Tool)):
        return tool.coroutine is not None
    return type(tool)._arun is not BaseTool._arun


def _with_text_results(tool: BaseTool) -> BaseTool:
    """Return a copy of a tool whose function returns text; LangChain writes many results as `str` does.

    Tools with a method `_run` in place of a function stay as they are.
    """
    if not isinstance(tool, StructuredTool | Tool):
        return tool
    paired = tool.response_format == "content_and_artifact"
    function, coroutine = tool.func, tool.coroutine
    changes: dict[str, Any] = {}
    if function is not None:

        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            return _as_result(function(*args, **kwargs), paired)

        changes["func"] = run
    if coroutine is not None:

        @functools.wraps(coroutine)
        async def arun(*args: Any, **kwargs: Any) -> Any:
            return _as_result(await coroutine(*args, **kwargs), paired)

        changes["coroutine"] = arun
    return tool.model_copy(update=changes)


def _as_result(returned: Any, paired: bool) -> Any:
    """Return the text of what a tool's function returned, beside its artifact where it returns a pair.

    Messages and commands are read when the tool has run.
    """
    if isinstance(returned, Exception):
        raise returned
    if paired:
        if isinstance(returned, tuple) and len(returned) == 2:
            return value_text(returned[0]), returned[1]
        return returned  # LangChain says what is wrong
    if isinstance(returned, ToolMessage) or is_command(returned) or _is_several(returned):
        return returned
    return value_text(returned)


def _is_several(returned: Any) -> bool:
    """Tell whether a tool returned a list of messages and commands, as LangGraph's tool node takes them."""
    return (
        isinstance(returned, list)
        and bool(returned)
        and all(isinstance(one, ToolMessage) or is_command(one) for one in returned)
    )


async def _in_a_thread(run: Callable[[], Any]) -> Any:
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Any] = loop.create_future()

    def tell(report: Callable[[Any], None], value: Any) -> None:
        def report_unless_given_up() -> None:
            if not done.done():
                report(value)

        with contextlib.suppress(RuntimeError):  # the loop may be closed when a slow tool ends
            loop.call_soon_threadsafe(report_unless_given_up)

    _start_thread(run, lambda value: tell(done.set_result, value), lambda error: tell(done.set_exception, error))
    return await done


def _run_in_thread(run: Callable[[], Any], timeout: float | None) -> Any:
    done: Future[Any] = Future()
    _start_thread(run, done.set_result, done.set_exception)
    return done.result(timeout)


def _start_thread(
    run: Callable[[], Any], succeeded: Callable[[Any], None], failed: Callable[[BaseException], None]
) -> None:
    """Run something in a daemon thread, so that a tool that hangs does not keep the process alive."""
    context = contextvars.copy_context()

    def work() -> None:
        try:
            value = context.run(run)
        except StopIteration as error:
            failed(RuntimeError(f"StopIteration: {error}"))  # the one exception that a future cannot carry
        except BaseException as error:
            failed(error)
        else:
            succeeded(value)

    threading.Thread(target=work, name="toolken-tool", daemon=True).start()


def _message(call: ToolCall, returned: Any) -> ToolMessage:
    """Return what a tool returned as a message of bounded length."""
    if _is_several(returned):
        returned = _own_message(call, [one for part in returned for one in _messages_of(part)])
    elif is_command(returned):
        returned = _own_message(call, _messages_of(returned))
    if isinstance(returned, ToolMessage):
        text = _bounded(message_text(returned))
        changes = {"content": text, "tool_call_id": call["id"] or "", "name": call["name"]}
        return returned.model_copy(update=changes)
    return ToolMessage(_bounded(value_text(returned)), tool_call_id=call["id"] or "", name=call["name"])


def _messages_of(returned: Any) -> Iterable[ToolMessage]:
    """Return the tool messages of a message or a command."""
    if isinstance(returned, ToolMessage):
        return [returned]
    if returned.goto or returned.resume is not None or returned.graph is not None:
        raise ToolError(
            "The tool returned a Command that moves to another node of a graph: run it with LangGraph, such as "
            "`create_agent(ToolkenChatModel(...), tools)`."
        )
    update = returned.update
    found = update.get("messages") if isinstance(update, Mapping) else None
    several = found if isinstance(found, list | tuple) else [] if found is None else [found]
    return [message for message in convert_to_messages(several) if isinstance(message, ToolMessage)]


def _own_message(call: ToolCall, messages: list[ToolMessage] | Iterable[ToolMessage]) -> ToolMessage:
    """Return the message that answers a call."""
    found = list(messages)
    own = [message for message in found if message.tool_call_id == call["id"]] or (found if len(found) == 1 else [])
    if not own:
        raise ToolError(
            "The tool returned a Command without a ToolMessage for its call: add one to its update, "
            '`Command(update={"messages": [ToolMessage(..., tool_call_id=...)]})`.'
        )
    return own[0]


def _bounded(text: str) -> str:
    return text if len(text) <= MAX_CONTENT else text[: MAX_CONTENT - 1] + "…"
