"""`ToolkenAgent`: a Runnable that runs the tools it calls and continues its answer with their results."""

import asyncio
import json
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from langchain_core.callbacks import AsyncCallbackManagerForChainRun, CallbackManagerForChainRun
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.messages.tool import ToolCall, tool_call
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import ContextThreadPoolExecutor
from langchain_core.tools import BaseTool

from toolken.agents.agent_input import input_messages
from toolken.agents.bound_tools import BoundTools
from toolken.agents.chat_conversation import conversation_prompt
from toolken.agents.context_overflow import Overflow, fitting_prompt
from toolken.agents.conversation import Prompt
from toolken.agents.decoding.batching import (
    BatchedDecoding,
    batch_configs,
    batched_decoding,
    claimed_batch,
    in_a_thread,
    joined,
)
from toolken.agents.decoding.decoder import DecodingOptions
from toolken.agents.decoding.events import (
    ArgumentsPiece,
    CallFinished,
    CallStarted,
    Event,
    Finished,
    Question,
    TextPiece,
)
from toolken.agents.decoding.lazy_model import LazyModel, PriorChoice
from toolken.agents.decoding.min_probability import MinProbability, check_min_probability
from toolken.agents.decoding.stepping import Stepping
from toolken.agents.errors import OptionError
from toolken.agents.grammar.missing_values import Missing
from toolken.agents.retry import Retries, RetryStep
from toolken.agents.runnable_tools import runnable_tools
from toolken.agents.tool_runner import ToolRunner
from toolken.training.head.toolken_head import ToolkenHead
from toolken.training.lm import FrozenLM
from toolken.training.prompts.conversation_format import ConversationFormat, FormatName
from toolken.training.tool_spec import tool_specs

#: Result of a call that the user declined.
DECLINED = "Not done, as you said no."
#: Calls per question.
MAX_CALLS = 8
#: Tools that may fail before the answer has to be finished in text: each failure makes it likelier that none fits.
MAX_FAILED = 1


@dataclass(frozen=True)
class ToolResult:
    """A tool's result, or its error, as text."""

    name: str
    text: str
    failed: bool = False


AgentEvent = Event | ToolResult


@dataclass(frozen=True)
class Step:
    """One call of an answer: the tool, its probability, the next likely tools, the arguments and the result."""

    tool: str
    probability: float
    runners_up: tuple[tuple[str, float], ...]
    arguments: dict[str, Any]
    result: str
    failed: bool


@dataclass(frozen=True)
class Answer:
    """An agent's answer: its text, its calls, and the messages of the turn.

    `call_probabilities` holds P(call) at each decision that the threshold of the head determined, in order.
    `dropped_messages` is the number of messages that the LM did not read because its context is too short.
    """

    text: str
    steps: tuple[Step, ...]
    messages: tuple[BaseMessage, ...]
    call_probabilities: tuple[float, ...] = ()
    dropped_messages: int = 0


class ToolkenAgent(Runnable[Any, Answer]):
    """Answers questions by writing text and running the tools that it calls.

    `invoke` takes a question, a message, a list of messages, `{"messages": [...]}`, or `{"input": ...}` with an
    optional `"chat_history"`, and returns an `Answer`; `events` yields text, calls and results as they come. `ainvoke`
    and `aevents` do the same without blocking an event loop.

    Parameters
    ----------
    lm
        The LM, or where to load it from: a folder, a GGUF file, a hub id. None for the head's, or the embedded one.
    head
        The head fitted with the LM, or its folder; None for toolkens from the tools' descriptions.
    tools
        LangChain tools and functions, matched with the head's by name. Tools that the head lacks get toolkens from
        their descriptions. The turn ends with the results of tools that have `return_direct`.
    max_calls
        Bound on the calls per question.
    options
        How text and arguments are decoded; `options.tools` is ignored.
    tool_timeout
        Seconds a tool may take; None for no limit.
    tool_retries
        How often a tool that raises or takes too long is run again with the same arguments.
    retry
        Corrects the arguments of a failed call, which is then made again, once per tool and question; for instance
        `toolken.agents.retry.offered_name`. None: failed calls are not made again.
    grounded
        Arguments whose value is any span or number of the conversation, besides those whose schemas say so: names such
        as "city" or "weather.city", or True for every string and number. False: the LM writes all other values.
    prior
        Where there is no head: a pretrained prior of the LM or its folder. By default the one that comes with toolken
        for this LM, if there is one; False: none.
    format
        How conversations are written, as for `ToolkenChatModel`; a head has its own format.
    missing
        What happens where nothing in the conversation says a required argument, or the schema forbids the value: "ask"
        ends the turn with a question instead of a call, "refuse" makes the call fail and names the argument, "write"
        lets the LM write some value that the schema admits. By default what `options` says, which is "ask".
    min_probability
        P(tool) below which a tool is not called: one number, which replaces the threshold of a pretrained prior, or
        numbers by the tools' names, such as `{"cancel_order": 0.9}`, which hold besides the threshold.
    confirm
        Asked with the name and the arguments of each call before it is run, one call at a time. False: the call is not
        run, and its result says so.

    overflow
        What happens to a conversation longer than the LM's context: `"drop"` omits its oldest exchanges, which
        `Answer.dropped_messages` counts; `"error"` raises a `PromptTooLongError`, as a last question that is too long
        does in any case.

    Raises
    ------
    OptionError
        If `lm` or `head` is something else, or a bound is negative.
    ToolSpecError
        If there is no tool, one cannot be run, two share a name, or `grounded` names no argument.
    FingerprintError
        If the head was fitted with another LM.

    Notes
    -----
    Copies share LM, head and tools. Pickling works where `lm` is a name or path and the tools can be pickled.
    """

    def __init__(
        self,
        lm: FrozenLM | str | Path | None,
        head: ToolkenHead | str | Path | None,
        tools: Iterable[BaseTool | Callable[..., Any]],
        *,
        max_calls: int = MAX_CALLS,
        options: DecodingOptions | None = None,
        tool_timeout: float | None = None,
        tool_retries: int = 0,
        retry: RetryStep | None = None,
        grounded: bool | Sequence[str] = (),
        prior: PriorChoice | None = None,
        format: ConversationFormat | FormatName | None = None,
        missing: Missing | None = None,
        min_probability: MinProbability | None = None,
        confirm: Callable[[str, dict[str, Any]], bool] | None = None,
        overflow: Overflow = "drop",
    ) -> None:
        if overflow not in get_args(Overflow):
            raise OptionError(f"`overflow` is {overflow!r}: give 'drop' or 'error'.")
        _check_bounds(max_calls, tool_timeout, tool_retries)
        given = list(tools) if isinstance(tools, Iterator) else tools
        found = runnable_tools(given)
        tool_specs(found)
        self._given: dict[str, Any] = {
            "lm": lm,
            "head": head,
            "tools": given,
            "max_calls": max_calls,
            "options": options,
            "tool_timeout": tool_timeout,
            "tool_retries": tool_retries,
            "retry": retry,
            "grounded": grounded,
            "prior": prior,
            "format": format,
            "missing": missing,
            "min_probability": min_probability,
            "confirm": confirm,
            "overflow": overflow,
        }
        self.overflow = overflow
        self.tools = {tool.name: tool for tool in found}
        loaded = LazyModel(lm, head, by_name=True, form=format, prior=prior)
        self.decoder = loaded.decoder(BoundTools.of(found, grounded=grounded))
        self.max_calls = max_calls
        self.options = options or DecodingOptions()
        if missing is not None:
            self.options = replace(self.options, missing=missing)
        if min_probability is not None:
            check_min_probability(min_probability, tuple(self.tools))
            self.options = replace(self.options, min_probability=min_probability)
        self._retry = retry
        self._confirm = confirm
        self._runner = ToolRunner(self.tools, timeout=tool_timeout, retries=tool_retries)

    def __copy__(self) -> "ToolkenAgent":
        copied = type(self).__new__(type(self))
        copied.__dict__.update(self.__dict__)
        return copied

    def __deepcopy__(self, memo: dict[int, Any]) -> "ToolkenAgent":
        return self.__copy__()

    def __getstate__(self) -> dict[str, Any]:
        if isinstance(self._given["lm"], FrozenLM):
            raise OptionError(
                f"This agent cannot be pickled, since its LM {self._given['lm'].name!r} is in memory: give the LM's "
                "folder or name as `lm`."
            )
        return self._given | {"max_calls": self.max_calls, "options": self.options}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Answer:
        """Answer a question or continue a conversation.

        Raises
        ------
        InputError
            If `input` has another form, or content other than text.
        OptionError
            If options are given; they belong to the agent.
        """
        _refuse_options(kwargs)

        def answer(question: Any, run_manager: CallbackManagerForChainRun, config: RunnableConfig) -> Answer:
            with claimed_batch() as batch:
                events = self._events(question, config, Stepping(batch), batch)
                return next(event for event in events if isinstance(event, Answer))

        return self._call_with_config(answer, input, config)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Answer:
        """Answer as `invoke` does, without blocking the event loop."""
        _refuse_options(kwargs)

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
        """Answer several questions by batched decoding."""
        _refuse_options(kwargs)
        configs = batch_configs(config, len(inputs))
        with batched_decoding(self.decoder.texts.lm, configs):
            return super().batch(inputs, configs, return_exceptions=return_exceptions, **kwargs)

    def race(self, question: Any) -> list[tuple[str, float]]:
        """Return P(tool) of each tool for the first call that would answer a question, the most likely first.

        Raises
        ------
        InputError
            If the question has another form, or content other than text.
        """
        form = self.decoder.toolset.prompt
        prompt = conversation_prompt(input_messages(question), form)
        return self.decoder.race(prompt, replace(self.options, tools=tuple(self.tools)))

    def events(self, question: Any, config: RunnableConfig | None = None) -> Iterator[AgentEvent | Answer]:
        """Yield text, calls and results as they come, and the `Answer` last."""
        return self._events(question, config, Stepping(), None)

    async def aevents(self, question: Any, config: RunnableConfig | None = None) -> AsyncIterator[AgentEvent | Answer]:
        """Yield text, calls and results as they come, and the `Answer` last, without blocking the event loop."""
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
                    # One question at a time: what asks the user may not be asked twice at once.
                    confirmed = [
                        _Call(one.call, one.error, await in_a_thread(self._declined, one)) for one in event.calls
                    ]
                    results = list(await asyncio.gather(*(self._arun(call, config) for call in confirmed)))
                else:
                    yield event
        finally:
            cancelled.set()  # decoding stops when nobody consumes the events

    def _events(
        self, question: Any, config: RunnableConfig | None, stepping: Stepping, batch: BatchedDecoding | None
    ) -> Iterator[AgentEvent | Answer]:
        steps = self._steps(question, stepping, batch)
        results: list[ToolMessage] | None = None
        while (event := _next(steps, results)) is not None:
            results = None
            if isinstance(event, _Calls):
                results = self._run_all(event.calls, config)
            else:
                yield event

    def _steps(
        self, question: Any, stepping: Stepping, batch: BatchedDecoding | None
    ) -> "Generator[AgentEvent | Answer | _Calls, list[ToolMessage] | None, None]":
        """Yield the events; the caller runs the calls of a `_Calls` and sends back their messages."""
        given = input_messages(question)
        messages: list[BaseMessage] = list(given)
        steps: list[Step] = []
        decided: list[float] = []
        dropped = 0
        retries = Retries(self._retry)
        while True:
            form, lm = self.decoder.toolset.prompt, self.decoder.texts.lm
            prompt, omitted = fitting_prompt(messages, form, lm, self.overflow, self.options.max_tokens)
            dropped = max(dropped, omitted)
            failed = prompt.failed - retries.settled
            # After the last permitted call the answer has to be finished in text.
            spent = len(steps) >= self.max_calls or len(failed) > MAX_FAILED
            names = () if spent else tuple(name for name in self.tools if name not in failed)
            again = retries.pending(names, prompt.answered)
            events = self._retried(again) if again else self._decoded(prompt, names, stepping, batch)
            text = prompt.answer
            made: list[tuple[CallStarted, CallFinished]] = []
            for event in events:
                yield event
                if isinstance(event, TextPiece):
                    text += event.text
                elif isinstance(event, Question):
                    text = event.text
                elif isinstance(event, CallStarted):
                    started = event
                elif isinstance(event, CallFinished):
                    made.append((started, event))
                elif isinstance(event, Finished):
                    decided += event.call_probabilities
            if not made:
                messages.append(AIMessage(text.strip()))
                yield Answer(text.strip(), tuple(steps), tuple(messages[len(given) :]), tuple(decided), dropped)
                return
            made = made[: self.max_calls - len(steps)]
            calls = [
                tool_call(name=call.name, args=call.arguments, id=f"call_{uuid.uuid4().hex[:24]}") for _, call in made
            ]
            requested = _Calls([_Call(one, call.error) for one, (_, call) in zip(calls, made, strict=True)])
            answers = (yield requested) or []
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
                if result.failed:
                    retries.note_failure(call.name, call.arguments, result.text, prompt.question)
            if all(self.tools[one["name"]].return_direct for one in calls) and not any(
                one.status == "error" for one in answers
            ):
                direct = "\n".join(str(one.text) for one in answers)
                yield Answer(direct, tuple(steps), tuple(messages[len(given) :]), tuple(decided), dropped)
                return

    def _decoded(
        self, prompt: Prompt, names: tuple[str, ...], stepping: Stepping, batch: BatchedDecoding | None
    ) -> Iterator[Event]:
        with joined(batch):
            yield from self.decoder.decode(prompt, replace(self.options, tools=names), stepping.feed)

    def _retried(self, calls: "Sequence[tuple[str, dict[str, Any]]]") -> Iterator[Event]:
        """Yield the events of calls that are made again; they have been decided already."""
        for tool, arguments in calls:
            text = json.dumps(arguments, ensure_ascii=False, default=str)
            yield CallStarted(tool, 1.0, ())
            yield ArgumentsPiece(text)
            yield CallFinished(tool, arguments, text, self.decoder.toolset.tools.problem(tool, arguments))

    def _run_all(self, calls: "Sequence[_Call]", config: RunnableConfig | None) -> list[ToolMessage]:
        confirmed = [_Call(one.call, one.error, self._declined(one)) for one in calls]
        if len(confirmed) == 1:
            return [self._run(confirmed[0], config)]
        with ContextThreadPoolExecutor(max_workers=len(confirmed)) as threads:
            return list(threads.map(lambda call: self._run(call, config), confirmed))

    def _declined(self, call: "_Call") -> bool:
        """Return whether the user does not want a call that could be run."""
        asked = call.error is None and self._confirm is not None
        return asked and not self._confirm(call.call["name"], call.call["args"])  # type: ignore[misc]

    def _run(self, call: "_Call", config: RunnableConfig | None) -> ToolMessage:
        return self._unrun(call) or self._runner.run(call.call, config)

    async def _arun(self, call: "_Call", config: RunnableConfig | None) -> ToolMessage:
        return self._unrun(call) or await self._runner.arun(call.call, config)

    def _unrun(self, call: "_Call") -> ToolMessage | None:
        """Return the message of a call that is not run."""
        if call.error is not None:
            return self._runner.refused(call.call, call.error)
        if call.declined:
            # Not an error: the tool works, and another one is not tried in its place.
            return ToolMessage(DECLINED, tool_call_id=call.call["id"] or "", name=call.call["name"])
        return None


def _check_bounds(max_calls: int, tool_timeout: float | None, tool_retries: int) -> None:
    if max_calls < 0 or tool_retries < 0:
        name, value = ("max_calls", max_calls) if max_calls < 0 else ("tool_retries", tool_retries)
        raise OptionError(f"`{name}` is {value}: give 0 or more.")
    if tool_timeout is not None and tool_timeout <= 0:
        raise OptionError(f"`tool_timeout` is {tool_timeout:g} seconds: give more than 0, or None for no limit.")


def _refuse_options(options: dict[str, Any]) -> None:
    if options:
        raise OptionError(
            f"The agent's methods take no option {next(iter(options))!r}: give it to `ToolkenAgent(...)`, and decoding "
            "options as `options=DecodingOptions(...)`."
        )


@dataclass(frozen=True)
class _Call:
    """A call to run; `error` says why it cannot be run, and `declined` whether the user does not want it."""

    call: ToolCall
    error: str | None
    declined: bool = False


@dataclass(frozen=True)
class _Calls:
    """The calls of one turn, which the caller runs."""

    calls: list[_Call]


def _next(
    steps: Generator[AgentEvent | Answer | _Calls, list[ToolMessage] | None, None], results: list[ToolMessage] | None
) -> AgentEvent | Answer | _Calls | None:
    """Return the next event, or None at the end: a `StopIteration` cannot pass through a future."""
    try:
        return steps.send(results)
    except StopIteration:
        return None
