"""`ToolkenAgent`: a Runnable that runs the tools in line and goes on writing."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
from toolken.errors import ToolkenError, ToolSpecError
from toolken.training.head import ToolkenHead
from toolken.training.lm import FrozenLM
from toolken.training.tool_spec import ToolSpec

#: Calls an agent makes for one question before it is stopped.
MAX_CALLS = 8


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
        if not tools:
            raise ToolSpecError("No tools were given: an agent needs at least one.")
        self.tools = {tool.name: tool for tool in tools}
        new = [ToolSpec.of(tool) for tool in tools if tool.name not in head.names]
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
            names = tuple(self.tools) if len(steps) < self.max_calls else ()
            options = DecodingOptions(**{**vars(self.options), "tools": names})
            prompt = to_prompt(messages, self.decoder.head.prompt)
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
            result = self._run(finished)
            yield result
            call_id = f"call_{len(steps)}"
            call = {"name": finished.name, "args": finished.arguments, "id": call_id}
            messages.append(AIMessage(text.strip(), tool_calls=[call]))
            messages.append(
                ToolMessage(
                    result.text,
                    tool_call_id=call_id,
                    name=finished.name,
                    status="error" if result.failed else "success",
                )
            )
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

    def _run(self, call: CallFinished) -> ToolResult:
        if call.error is not None:
            return ToolResult(call.name, call.error, failed=True)
        try:
            returned = self.tools[call.name].invoke(call.arguments)
        except ToolkenError as error:
            return ToolResult(call.name, str(error), failed=True)
        except Exception as error:  # whatever a foreign tool raises, the agent tells it and carries on
            return ToolResult(call.name, f"{type(error).__name__}: {error}", failed=True)
        text = returned if isinstance(returned, str) else json.dumps(returned, ensure_ascii=False, default=str)
        return ToolResult(call.name, text)


def _collect(events: Iterator[AgentEvent | Answer]) -> Answer:
    return next(event for event in events if isinstance(event, Answer))
