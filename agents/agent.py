"""`ToolkenAgent`: a Runnable that runs the tools in line and goes on writing."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage, convert_to_messages
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.tools import BaseTool

from toolken.agents.conversation import to_prompt
from toolken.agents.decoding import (
    ArgumentsPiece,
    CallFinished,
    CallStarted,
    Decoder,
    DecodingOptions,
    Event,
    Finished,
    TextPiece,
)
from toolken.errors import ToolkenError
from toolken.training.head import ToolkenHead
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
    """An agent's answer: its text, the calls behind it, and the messages of the turn."""

    text: str
    steps: tuple[Step, ...]
    messages: tuple[BaseMessage, ...]


class ToolkenAgent(Runnable[Any, Answer]):
    """Answers questions by writing text and running tools where their toolkens win.

    Input is a question, or a list of messages. `invoke` returns an `Answer`; `events` yields what happens as it
    happens.

    Parameters
    ----------
    lm, head
        The LM and the head that was fitted with it.
    tools
        The tools to run, by name those of the head. A tool the head does not know is added by its description.
    max_calls
        Bound on the calls for one question.
    options
        How text and arguments are decoded; its tools are set by the agent.

    Raises
    ------
    ToolSpecError
        If there is no tool, or two share a name.
    FingerprintError
        If the head was fitted with another LM.
    """

    def __init__(
        self,
        lm: FrozenLM,
        head: ToolkenHead,
        tools: Sequence[BaseTool],
        *,
        max_calls: int = MAX_CALLS,
        options: DecodingOptions | None = None,
    ) -> None:
        specs = tool_specs(tools)
        self.tools = {tool.name: tool for tool in tools}
        new = [spec for spec in specs if spec.name not in head.names]
        self.decoder = Decoder(lm, head.with_tools(new, lm) if new else head)
        self.max_calls = max_calls
        self.options = options or DecodingOptions()

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Answer:
        """Answer a question (or go on with a list of messages)."""
        return self._call_with_config(lambda value: _collect(self.events(value)), input, config)

    def events(self, question: str | Sequence[Any]) -> Iterator[AgentEvent | Answer]:
        """Yield text, calls and results as they come, and the `Answer` last."""
        given = [HumanMessage(question)] if isinstance(question, str) else convert_to_messages(question)
        messages: list[BaseMessage] = list(given)
        steps: list[Step] = []
        while True:
            # After the last permitted call the answer has to be finished in words.
            prompt = to_prompt(messages, self.decoder.head.prompt)
            names = tuple(name for name in self.tools if name not in prompt.failed)
            spent = len(steps) >= self.max_calls or len(prompt.failed) > MAX_FAILED
            options = replace(self.options, tools=() if spent else names)
            text, started, finished = prompt.answer, None, None
            for event in self.decoder.decode(prompt, options):
                yield event
                match event:
                    case TextPiece(piece):
                        text += piece
                    case CallStarted():
                        started = event
                    case CallFinished():
                        finished = event
                    case ArgumentsPiece() | Finished():
                        pass
            if started is None or finished is None:
                messages.append(AIMessage(text.strip()))
                yield Answer(text.strip(), tuple(steps), tuple(messages[len(given) :]))
                return
            if any((step.tool, step.arguments) == (finished.name, finished.arguments) for step in steps):
                # The same call again can only bring the same result: the answer is complete.
                text = (text + self.decoder.head.prompt.closing).strip()
                messages.append(AIMessage(text))
                yield Answer(text, tuple(steps), tuple(messages[len(given) :]))
                return
            call_id = f"call_{len(steps)}"
            message = self._run(finished, call_id)
            result = ToolResult(finished.name, str(message.text), failed=message.status == "error")
            yield result
            call = {"name": finished.name, "args": finished.arguments, "id": call_id}
            messages += [AIMessage(text.strip(), tool_calls=[call]), message]
            steps.append(
                Step(
                    started.name,
                    started.probability,
                    started.runners_up,
                    finished.arguments,
                    result.text,
                    result.failed,
                )
            )

    def _run(self, call: CallFinished, call_id: str) -> ToolMessage:
        """Run a call; whatever a tool raises becomes a message with status error, and the agent carries on."""
        if call.error is not None:
            return ToolMessage(call.error, tool_call_id=call_id, name=call.name, status="error")
        try:
            returned = self.tools[call.name].invoke(
                {"type": "tool_call", "name": call.name, "args": call.arguments, "id": call_id}
            )
        except Exception as error:
            text = str(error) if isinstance(error, ToolkenError) else f"{type(error).__name__}: {error}"
            return ToolMessage(text, tool_call_id=call_id, name=call.name, status="error")
        if isinstance(returned, ToolMessage):
            return returned
        text = returned if isinstance(returned, str) else json.dumps(returned, ensure_ascii=False, default=str)
        return ToolMessage(text, tool_call_id=call_id, name=call.name)


def _collect(events: Iterator[AgentEvent | Answer]) -> Answer:
    return next(event for event in events if isinstance(event, Answer))
