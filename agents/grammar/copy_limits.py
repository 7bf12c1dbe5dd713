"""`CopyLimits`: which numbers of the conversation a call may copy, beyond what its schema says."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias


@dataclass(frozen=True)
class CopyLimits:
    """Limits on the numbers that a call copies.

    Attributes
    ----------
    unavailable
        Numbers that may not be copied; one that is listed twice loses two of its occurrences in the conversation.
    one_of
        Numbers of which the arguments must contain at least one; empty for no such limit.
    """

    unavailable: tuple[float, ...] = ()
    one_of: frozenset[float] = frozenset()


#: Returns the limits of a call, or None for none. It gets the tool's name, the results of the question's earlier calls,
#: and the arguments of these calls.
CopyRule: TypeAlias = Callable[[str, Sequence[str], Sequence[Mapping[str, Any]]], CopyLimits | None]
