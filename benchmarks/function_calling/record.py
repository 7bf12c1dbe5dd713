"""`CallRecord`: a conversation, its tools and the right calls; `CallOutcome`: the calls and text of a method."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages import BaseMessage

from toolken.training.tool_spec import ToolSpec


@dataclass(frozen=True)
class ExpectedCall:
    """A right call.

    Attributes
    ----------
    tool
        The tool's name.
    accepted
        The accepted values of each argument. Inside a value, each key of an object has a list of accepted values, and
        "" in that list says that the key may be absent.
    optional
        Arguments that a call may omit.
    containing
        Whether a string is also right if it contains an accepted string as whole words and its schema has no enum.
    """

    tool: str
    accepted: Mapping[str, tuple[Any, ...]]
    optional: frozenset[str] = frozenset()
    containing: bool = False


@dataclass(frozen=True)
class CallRecord:
    """A conversation, and what is right after its last message.

    Attributes
    ----------
    id
        Identifier, unique within the set.
    category
        The part of the set that the record belongs to, such as "simple" or "irrelevance".
    messages
        The conversation; the last message is the user's or, where only a final text is right, a tool's result.
    tools
        The tools that may be called.
    expected
        The right calls; empty if no call is right.
    missing
        For requests without a required value: tool -> names of the missing arguments. The answer has to name them.
    wrong
        For requests with an invalid value: argument -> the invalid values. The answer has to name one of them or the
        argument.
    says
        Texts that a sensible answer without calls contains; empty if nothing is checked.
    domain
        The record's domain, which splits dev from test.
    """

    id: str
    category: str
    messages: tuple[BaseMessage, ...]
    tools: tuple[ToolSpec, ...]
    expected: tuple[ExpectedCall, ...] = ()
    missing: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    wrong: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    says: tuple[str, ...] = ()
    domain: str = ""

    @property
    def request(self) -> str:
        """The last message of the user."""
        return next(message.text for message in reversed(self.messages) if message.type == "human")


@dataclass(frozen=True)
class MadeCall:
    """A call that a method made.

    Attributes
    ----------
    tool
        The name as written; it need not be a tool's.
    arguments
        The arguments; None if what was written is not a JSON object.
    """

    tool: str
    arguments: Mapping[str, Any] | None


@dataclass(frozen=True)
class CallOutcome:
    """The answer of a method to a record.

    Attributes
    ----------
    calls
        The calls in their order.
    text
        The text beside the calls.
    call_probability, tool_probability
        P(call) at the first decision and P(tool) of the first call; None for methods without them.
    setup_seconds
        Time for what depends on the tools alone and is done once per set of tools: binding them, or reading the part
        of the prompt that holds their schemas.
    seconds
        Time for the rest.
    read_tokens
        Tokens of the prompt, the tools' schemas included.
    written_tokens
        Tokens that were generated.
    cache_bytes
        Bytes of the KV cache of the prompt and the answer.
    """

    calls: tuple[MadeCall, ...] = ()
    text: str = ""
    call_probability: float | None = None
    tool_probability: float | None = None
    setup_seconds: float = 0.0
    seconds: float = 0.0
    read_tokens: int = 0
    written_tokens: int = 0
    cache_bytes: int = 0


def unusable_call(reason: str) -> CallOutcome:
    """Return the outcome of a method that cannot answer a record: a call that no tool takes.

    It counts as a miss wherever calls are right, and also where none is.
    """
    return CallOutcome(calls=(MadeCall("", None),), text=reason)
