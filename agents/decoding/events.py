"""The events of a turn: pieces of text, calls, and the end."""

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class TextPiece:
    """A piece of the text of the answer."""

    text: str


@dataclass(frozen=True)
class Question:
    """The whole text of an answer that asks for the values that a call lacks, or says which value is forbidden."""

    text: str


@dataclass(frozen=True)
class CallStarted:
    """A tool has won: its name, its probability in the joint softmax, and the runner-up tools with theirs."""

    name: str
    probability: float
    runners_up: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class ArgumentsPiece:
    """A piece of the call's arguments, JSON text."""

    text: str


@dataclass(frozen=True)
class CallFinished:
    """The complete arguments of a call; `error` says why they cannot be used, or is None."""

    name: str
    arguments: dict[str, Any]
    text: str
    error: str | None = None


@dataclass(frozen=True)
class Finished:
    """The end of the turn.

    Attributes
    ----------
    reason
        Why it ended.
    input_tokens, output_tokens
        Tokens of the conversation, and sampled tokens of text and arguments.
    cached_tokens
        Tokens of the conversation that were in the KV cache; the turn does not depend on it.
    call_probability
        P(call) at the first decision of this turn; None where no tool could be called.
    call_probabilities
        P(call) at each decision of this turn whose outcome the threshold determined, in order.
    """

    reason: Literal["stop", "length", "tool_calls"]
    input_tokens: int
    output_tokens: int
    cached_tokens: int = field(default=0, compare=False)
    call_probability: float | None = field(default=None, compare=False)
    call_probabilities: tuple[float, ...] = field(default=(), compare=False)


Event = TextPiece | Question | CallStarted | ArgumentsPiece | CallFinished | Finished
