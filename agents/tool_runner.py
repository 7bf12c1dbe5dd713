"""`ToolRunner`: runs tools with time limits and retries; whatever they do becomes a `ToolMessage`."""

import asyncio
import contextlib
import contextvars
import json
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

from langchain_core.messages import ToolMessage
from langchain_core.messages.tool import ToolCall
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, StructuredTool, Tool

from toolken.errors import ToolkenError

#: Characters of a result that a message carries; the LM sees fewer still.
MAX_CONTENT = 100_000


class ToolRunner:
    """Runs the tools of an agent.

    Parameters
    ----------
    tools
        The tools by name.
    timeout
        Seconds that a tool may take; None for no limit.
    retries
        How often a tool that raises or takes too long is run again. Errors that the project raises on purpose are
        not tried again: they say what is wrong with the call.
    """

    def __init__(self, tools: Mapping[str, BaseTool], *, timeout: float | None, retries: int) -> None:
        self.tools = tools
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
        """Run a call without holding up the event loop; else as `run`."""
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
        """Run something in a thread of its own, and leave it to itself when its time is up."""
        if self.timeout is None:
            return run()
        done: Future[Any] = Future()
        _start_thread(run, done.set_result, done.set_exception)
        return done.result(self.timeout)

    def _reason(self, error: BaseException) -> str:
        if isinstance(error, TimeoutError) and not str(error) and self.timeout is not None:
            return f"The tool did not finish within {self.timeout:g} seconds."
        return str(error) if isinstance(error, ToolkenError) else f"{type(error).__name__}: {error}"


def _invoke(tool: BaseTool, call: ToolCall, config: RunnableConfig | None) -> Any:
    if isinstance(tool, StructuredTool) and tool.func is None and tool.coroutine is not None:
        return asyncio.run(tool.ainvoke({**call}, config))  # such as the tools of an MCP server
    return tool.invoke({**call}, config)


def _is_asynchronous(tool: BaseTool) -> bool:
    """Tell whether a tool can be awaited by itself; the others would run in the event loop's few threads."""
    if isinstance(tool, (StructuredTool, Tool)):
        return tool.coroutine is not None
    return type(tool)._arun is not BaseTool._arun


async def _in_a_thread(run: Callable[[], Any]) -> Any:
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Any] = loop.create_future()

    def tell(report: Callable[[Any], None], value: Any) -> None:
        def report_unless_given_up() -> None:
            if not done.done():
                report(value)

        with contextlib.suppress(RuntimeError):  # the loop may be closed by the time that a slow tool is done
            loop.call_soon_threadsafe(report_unless_given_up)

    _start_thread(run, lambda value: tell(done.set_result, value), lambda error: tell(done.set_exception, error))
    return await done


def _start_thread(
    run: Callable[[], Any], succeeded: Callable[[Any], None], failed: Callable[[BaseException], None]
) -> None:
    """Run something in a thread.

    A thread cannot be ended from outside. It is a daemon, so that a tool that hangs does not keep the process from
    ending.
    """
    context = contextvars.copy_context()

    def work() -> None:
        try:
            value = context.run(run)
        except StopIteration as error:
            failed(RuntimeError(f"StopIteration: {error}"))  # the one exception that no future takes
        except BaseException as error:
            failed(error)
        else:
            succeeded(value)

    threading.Thread(target=work, name="toolken-tool", daemon=True).start()


def _message(call: ToolCall, returned: Any) -> ToolMessage:
    """Return what a tool returned as a message of bounded length."""
    if isinstance(returned, ToolMessage):
        text = str(returned.text)
        content = returned.content if len(text) <= MAX_CONTENT else _bounded(text)
        return returned.model_copy(update={"content": content, "tool_call_id": call["id"] or "", "name": call["name"]})
    text = returned if isinstance(returned, str) else json.dumps(returned, ensure_ascii=False, default=_as_text)
    return ToolMessage(_bounded(text), tool_call_id=call["id"] or "", name=call["name"])


def _as_text(value: Any) -> str:
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)


def _bounded(text: str) -> str:
    return text if len(text) <= MAX_CONTENT else text[: MAX_CONTENT - 1] + "…"
