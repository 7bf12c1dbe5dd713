"""`ChunkWriter`: turns the events of a turn into the chunks of a LangChain message."""

import uuid
from collections.abc import Iterable, Iterator
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import InputTokenDetails, UsageMetadata
from langchain_core.messages.tool import invalid_tool_call, tool_call_chunk
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.utils.json import parse_partial_json

from toolken.agents.conversation import Prompt
from toolken.agents.decoding.answers import call_failure
from toolken.agents.decoding.events import (
    ArgumentsPiece,
    CallFinished,
    CallStarted,
    Event,
    Finished,
    Question,
    TextPiece,
)


class ChunkWriter:
    """Writes one message.

    Parameters
    ----------
    model_name
        The name of the LM, for the message's metadata.
    """

    def __init__(self, model_name: str) -> None:
        self._model_name = model_name
        #: Calls whose arguments are invalid: name, arguments and reason by the call's id.
        self._refused: dict[str, tuple[str, str, str]] = {}

    def chunks(self, events: Iterable[Event], prompt: Prompt, dropped: int = 0) -> Iterator[ChatGenerationChunk]:
        """Yield the chunks of the message.

        A message has the whole answer so far, so that the last one of a turn can be read alone. If no call of the
        message is valid, an agent's loop ends with it: its text says so.

        Parameters
        ----------
        dropped
            Number of messages that were dropped because the context is too short, for the message's metadata.
        """
        opening = said = prompt.answer.lstrip()
        calls: list[dict[str, Any]] = []
        call_id = ""
        # The index counts the content blocks of the message; its text is one of them.
        index = -1 + bool(opening)
        for event in events:
            match event:
                case TextPiece(text):
                    if text:
                        index = max(index, 0)
                        yield _chunk(opening + text)
                        opening = ""
                case Question(text):
                    index = max(index, 0)
                    # A question is the whole answer, without the beginning of one.
                    opening, said = "", text
                    yield _chunk(text)
                case CallStarted(name, probability, runners_up):
                    calls.append({"tool": name, "probability": probability, "runners_up": dict(runners_up)})
                    call_id = f"call_{uuid.uuid4().hex[:24]}"
                    index += 1
                    yield _call_chunk(name, "", call_id, index)
                case ArgumentsPiece(text):
                    yield _call_chunk(None, text, None, index)
                case CallFinished(name, _, text, error):
                    if error is not None:
                        self._refused[call_id] = (name, text, error)
                        yield _call_chunk(None, _invalidation(text, error), None, index)
                    elif opening:
                        yield _chunk(opening)
                        opening = ""
                case Finished():
                    if self._refused and len(self._refused) == len(calls):
                        failures = "\n".join(call_failure(tool, why) for tool, _, why in self._refused.values())
                        # What was said before stays, unless it is only the opening of an answer.
                        yield _chunk(failures if opening or not said else f"\n{failures}")
                    elif opening:
                        yield _chunk(opening)
                    toolken = {"call_probability": event.call_probability, "calls": calls}
                    metadata: dict[str, Any] = {"toolken": toolken} if event.call_probability is not None else {}
                    yield self._last(event, metadata | ({"dropped_messages": dropped} if dropped else {}))

    def move_invalid_calls(self, message: AIMessage) -> None:
        """Move the calls with invalid arguments to the finished message's `invalid_tool_calls`, with the reasons."""
        if self._refused:
            message.tool_calls = [call for call in message.tool_calls if call["id"] not in self._refused]
            message.invalid_tool_calls = [
                invalid_tool_call(name=name, args=text, id=call_id, error=error)
                for call_id, (name, text, error) in self._refused.items()
            ]

    def _last(self, event: Finished, metadata: dict[str, Any]) -> ChatGenerationChunk:
        usage = UsageMetadata(
            input_tokens=event.input_tokens,
            output_tokens=event.output_tokens,
            total_tokens=event.input_tokens + event.output_tokens,
            input_token_details=InputTokenDetails(cache_read=event.cached_tokens),
        )
        return _chunk(
            "",
            chunk_position="last",
            usage_metadata=usage,
            response_metadata={"model_name": self._model_name, "finish_reason": event.reason, **metadata},
        )


def _chunk(content: str, **fields: Any) -> ChatGenerationChunk:
    return ChatGenerationChunk(message=AIMessageChunk(content=content, **fields))


def _call_chunk(name: str | None, args: str, call_id: str | None, index: int) -> ChatGenerationChunk:
    return _chunk("", tool_call_chunks=[tool_call_chunk(name=name, args=args, id=call_id, index=index)])


def _invalidation(text: str, error: str) -> str:
    """Return what to append to streamed arguments that are invalid, so that LangChain reads them as invalid.

    LangChain completes truncated JSON, but rejects a bracket without its counterpart. The reason follows the bracket,
    since chunks have no field for it.
    """
    for end in ("}", "]", '"}', '"]'):
        try:
            if not isinstance(parse_partial_json(text + end), dict):
                return f"{end} {error}"
        except ValueError:
            return f"{end} {error}"
    return f" {error}"
