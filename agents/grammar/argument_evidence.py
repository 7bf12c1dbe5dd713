"""`ArgumentEvidence`: which values of a call's arguments the conversation speaks for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from toolken.training.examples import FewShotExample
from toolken.training.tool_spec import ToolSpec


@dataclass(frozen=True)
class ValueSource:
    """The texts that the arguments of a call come from.

    Attributes
    ----------
    request
        The request that is answered, with the results of its earlier calls.
    context
        The whole conversation: the questions and tool results.
    """

    request: str
    context: str


@dataclass(frozen=True)
class RefusedValue:
    """A value of the conversation that the schema forbids.

    Attributes
    ----------
    path
        The argument's name, after the names of the objects that contain it.
    value
        The value as the text writes it, or what it means.
    reason
        What the schema demands: "at most 20".
    """

    path: tuple[str, ...]
    value: str
    reason: str


@dataclass(frozen=True)
class EvidencedArguments:
    """What the conversation says about the arguments of a call.

    Attributes
    ----------
    parameters
        The tool's schema, restricted to what the conversation speaks for: copied values are enumerated, and arguments
        that nothing speaks for are absent.
    missing
        Paths of required arguments that nothing speaks for.
    refused
        Values that the schema forbids.
    """

    parameters: dict[str, Any]
    missing: tuple[tuple[str, ...], ...] = ()
    refused: tuple[RefusedValue, ...] = ()


class ArgumentEvidence(Protocol):
    """Finds what a conversation says about the arguments of a call."""

    def of(
        self,
        spec: ToolSpec,
        source: ValueSource,
        shown: Sequence[FewShotExample] = (),
        written: Mapping[str, Any] | None = None,
    ) -> EvidencedArguments:
        """Return what the conversation says about the arguments that are not written yet.

        Parameters
        ----------
        spec
            The tool.
        source
            The conversation.
        shown
            Few-shot examples of the tool's arguments, which show whether an argument's values are copied.
        written
            The values that the call has already; a span that one of them uses is used up.
        """
        ...
