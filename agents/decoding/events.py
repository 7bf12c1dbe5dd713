"""What happens while a turn is written: pieces of text, calls, and the end."""

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class TextPiece:
    """A piece of the answer's text."""

    text: str


@dataclass(frozen=True)
class CallStarted:
    """A tool has won: its name, its probability in the race against words and tools, and the next best tools.

    The probability is 1 where a refused call is made again with a name that the tool offered.
    """

    name: str
    probability: float
    runners_up: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class ArgumentsPiece:
    """A piece of the call's arguments, JSON text."""

    text: str


@dataclass(frozen=True)
class CallFinished:
    """The arguments are complete; `error` says why they cannot be used, if so."""

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
        Tokens of the conversation, and tokens that were drawn for words and arguments.
    cached_tokens
        Those of the conversation whose KV cache was there already; the turn is the same with and without.
    call_probability
        P(a tool is called) where that was first decided in this turn, 1 where a refused call was made again; None where
        no tool could be called.
    thresholds
        The turn is the same with every threshold of the head above the first and up to the second: all that was not
        called is less likely than the lowest, all that was called at least as likely as the highest.
    """

    reason: Literal["stop", "length", "tool_calls"]
    input_tokens: int
    output_tokens: int
    cached_tokens: int = field(default=0, compare=False)
    call_probability: float | None = field(default=None, compare=False)
    thresholds: tuple[float, float] = field(default=(0.0, 1.0), compare=False)


Event = TextPiece | CallStarted | ArgumentsPiece | CallFinished | Finished
