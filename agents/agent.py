"""`ToolkenAgent`: a Runnable that runs the tools in line and goes on writing."""

import asyncio
import threading
import uuid
from collections.abc import AsyncIterator, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForChainRun, CallbackManagerForChainRun
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage, convert_to_messages
from langchain_core.messages.tool import ToolCall, tool_call
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import ContextThreadPoolExecutor
from langchain_core.tools import BaseTool

from toolken.agents.bound_tools import BoundTools
from toolken.agents.conversation import to_prompt
from toolken.agents.decoding.batching import Lockstep, at_once, claimed, in_a_thread, in_lockstep, taking_part
from toolken.agents.decoding.decoder import DecodingOptions
from toolken.agents.decoding.events import CallFinished, CallStarted, Event, Finished, TextPiece
from toolken.agents.decoding.lazy_model import LazyModel
from toolken.agents.decoding.stepping import Stepping
from toolken.agents.tool_runner import ToolRunner
from toolken.training.head.toolken_head import ToolkenHead
from toolken.training.lm import FrozenLM
from toolken.training.tool_spec import tool_specs

#: Calls an agent makes for one question before it is stopped.
MAX_CALLS = 8
#: Tools that may fail before the answer has to be finished in words: with each one less it is likelier that none fits.
MAX_FAILED = 1


@dataclass(frozen=True)
class ToolResult:
    """What a tool returned, or the error it raised, as text."""

    name: str
    text: str
    failed: bool = False


AgentEvent = Event | ToolResult


@dataclass(frozen=True)
class Step:
    """One call of an answer: the tool, its probability and runners-up, its arguments, and what it returned."""

    tool: str
    probability: float
    runners_up: tuple[tuple[str, float], ...]
    arguments: dict[str, Any]
    result: str
    failed: bool


@dataclass(frozen=True)
class Answer:
    """An agent's answer: its text, the calls behind it, the messages of the turn.

    With every threshold of the head above the first of `thresholds` and up to the second it would have been the same.
    """

    text: str
    steps: tuple[Step, ...]
    messages: tuple[BaseMessage, ...]
    thresholds: tuple[float, float] = (0.0, 1.0)


class ToolkenAgent(Runnable[Any, Answer]):
    """Answers questions by writing text and running tools where their toolkens win.

    Input is a question, or a list of messages. `invoke` returns an `Answer`; `events` yields what happens as it
    happens. `ainvoke` and `aevents` do the same without holding up an event loop.

    Parameters
    ----------
    lm, head
        The LM and the head that was fitted with it; without a head all tools are known by their descriptions alone.
    tools
        The tools to run, by name those of the head. A tool the head does not know is added by its description.
    max_calls
        Bound on the calls for one question.
    options
        How text and arguments are decoded; its tools are set by the agent.
    tool_timeout
        Seconds that a tool may take; None for no limit.
    tool_retries
        How often a tool that raises or takes too long is run again.
    grounded
        Arguments that are copied from the conversation, besides those whose schemas say so: names such as "city" or
        "weather.city", or True for every string and number.

    Raises
    ------
    ToolSpecError
        If there is no tool, two share a name, or `grounded` names no argument.
    FingerprintError
        If the head was fitted with another LM.
    """

    def __init__(
        self,
        lm: FrozenLM,
        head: ToolkenHead | None,
        tools: Iterable[BaseTool],
        *,
        max_calls: int = MAX_CALLS,
        options: DecodingOptions | None = None,
        tool_timeout: float | None = None,
        tool_retries: int = 0,
        grounded: bool | Sequence[str] = (),
    ) -> None:
        tools = list(tools)
        tool_specs(tools)
        self.tools = {tool.name: tool for tool in tools}
        self.decoder = LazyModel(lm, head, by_name=True).decoder(BoundTools.of(tools, grounded=grounded))
        self.max_calls = max_calls
        self.options = options or DecodingOptions()
        self._runner = ToolRunner(self.tools, timeout=tool_timeout, retries=tool_retries)

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Answer:
        """Answer a question (or go on with a list of messages)."""

        def answer(question: Any, run_manager: CallbackManagerForChainRun, config: RunnableConfig) -> Answer:
            with claimed() as lockstep:
                events = self._events(question, config, Stepping(lockstep), lockstep)
                return next(event for event in events if isinstance(event, Answer))

        return self._call_with_config(answer, input, config)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Answer:
        """Answer a question (or go on with a list of messages) without holding up the event loop."""

        async def answer(question: Any, run_manager: AsyncCallbackManagerForChainRun, config: RunnableConfig) -> Answer:
            async for event in self.aevents(question, config):
                if isinstance(event, Answer):
                    return event
            raise AssertionError("an agent's events end with its answer")

        return await self._acall_with_config(answer, input, config)

    def batch(
        self,
        inputs: list[Any],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Answer]:
        """Answer several questions; each run of the LM extends all the answers that are being written."""
        configs = at_once(config, len(inputs))
        with in_lockstep(self.decoder.texts.lm, configs):
            return super().batch(inputs, configs, return_exceptions=return_exceptions, **kwargs)

    def events(
        self, question: str | Sequence[Any], config: RunnableConfig | None = None
    ) -> Iterator[AgentEvent | Answer]:
        """Yield text, calls and results as they come, and the `Answer` last."""
        return self._events(question, config, Stepping(), None)

    async def aevents(
        self, question: str | Sequence[Any], config: RunnableConfig | None = None
    ) -> AsyncIterator[AgentEvent | Answer]:
        """Yield text, calls and results as they come, and the `Answer` last, without holding up the event loop."""
        cancelled = threading.Event()
        steps = self._steps(question, Stepping(cancelled=cancelled), None)
        results: list[ToolMessage] | None = None
        try:
            while True:
                event = await in_a_thread(_next, steps, results)
                results = None
                if event is None:
                    return
                if isinstance(event, _Calls):
                    results = list(await asyncio.gather(*(self._arun(call, config) for call in event.calls)))
                else:
                    yield event
        finally:
            cancelled.set()  # whoever stops listening stops the writing too

    def _events(
        self,
        question: str | Sequence[Any],
        config: RunnableConfig | None,
        stepping: Stepping,
        lockstep: Lockstep | None,
    ) -> Iterator[AgentEvent | Answer]:
        steps = self._steps(question, stepping, lockstep)
        results: list[ToolMessage] | None = None
        while (event := _next(steps, results)) is not None:
            results = None
            if isinstance(event, _Calls):
                results = self._run_all(event.calls, config)
            else:
                yield event

    def _steps(
        self, question: str | Sequence[Any], stepping: Stepping, lockstep: Lockstep | None
    ) -> "Generator[AgentEvent | Answer | _Calls, list[ToolMessage] | None, None]":
        """Yield what happens; calls that are to be run are answered with their messages."""
        given = [HumanMessage(question)] if isinstance(question, str) else convert_to_messages(question)
        messages: list[BaseMessage] = list(given)
        steps: list[Step] = []
        low, high = 0.0, 1.0
        while True:
            # After the last permitted call the answer has to be finished in words.
            prompt = to_prompt(messages, self.decoder.toolset.prompt)
            names = tuple(name for name in self.tools if name not in prompt.failed)
            spent = len(steps) >= self.max_calls or len(prompt.failed) > MAX_FAILED
            options = replace(self.options, tools=() if spent else names)
            text = prompt.answer
            made: list[tuple[CallStarted, CallFinished]] = []
            with taking_part(lockstep):
                for event in self.decoder.decode(prompt, options, stepping.feed):
                    yield event
                    if isinstance(event, TextPiece):
                        text += event.text
                    elif isinstance(event, CallStarted):
                        started = event
                    elif isinstance(event, CallFinished):
                        made.append((started, event))
                    elif isinstance(event, Finished):
                        low, high = max(low, event.thresholds[0]), min(high, event.thresholds[1])
            if not made:
                messages.append(AIMessage(text.strip()))
                yield Answer(text.strip(), tuple(steps), tuple(messages[len(given) :]), (low, high))
                return
            made = made[: self.max_calls - len(steps)]
            calls = [
                tool_call(name=call.name, args=call.arguments, id=f"call_{uuid.uuid4().hex[:24]}") for _, call in made
            ]
            asked = _Calls([_Call(one, call.error) for one, (_, call) in zip(calls, made, strict=True)])
            answers = (yield asked) or []
            messages += [AIMessage(text.strip(), tool_calls=calls), *answers]
            for (started, call), answer in zip(made, answers, strict=True):
                result = ToolResult(call.name, str(answer.text), failed=answer.status == "error")
                yield result
                steps.append(
                    Step(
                        started.name,
                        started.probability,
                        started.runners_up,
                        call.arguments,
                        result.text,
                        result.failed,
                    )
                )

    def _run_all(self, calls: "Sequence[_Call]", config: RunnableConfig | None) -> list[ToolMessage]:
        if len(calls) == 1:
            return [self._run(calls[0], config)]
        with ContextThreadPoolExecutor(max_workers=len(calls)) as threads:
            return list(threads.map(lambda call: self._run(call, config), calls))

    def _run(self, call: "_Call", config: RunnableConfig | None) -> ToolMessage:
        if call.error is not None:
            return self._runner.refused(call.call, call.error)
        return self._runner.run(call.call, config)

    async def _arun(self, call: "_Call", config: RunnableConfig | None) -> ToolMessage:
        if call.error is not None:
            return self._runner.refused(call.call, call.error)
        return await self._runner.arun(call.call, config)


@dataclass(frozen=True)
class _Call:
    """A call that is to be run, or why it cannot be."""

    call: ToolCall
    error: str | None


@dataclass(frozen=True)
class _Calls:
    """The calls of one turn, to be run."""

    calls: list[_Call]


def _next(
    steps: Generator[AgentEvent | Answer | _Calls, list[ToolMessage] | None, None], results: list[ToolMessage] | None
) -> AgentEvent | Answer | _Calls | None:
    """Return what happens next, or None at the end: a `StopIteration` cannot pass through a future."""
    try:
        return steps.send(results)
    except StopIteration:
        return None
