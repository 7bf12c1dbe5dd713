"""`Turn`: one message of a conversation, free of any format."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

#: Who speaks. The names are those of OpenAI's messages, which chat templates take.
Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True)
class TurnCall:
    """A call in an assistant's turn: the tool's name and its arguments."""

    name: str
    args: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Turn:
    """One message of a conversation.

    Attributes
    ----------
    role
        Who speaks.
    text
        What is said.
    calls
        The calls of an assistant's turn.
    name
        The tool whose result this is.
    """

    role: Role
    text: str = ""
    calls: tuple[TurnCall, ...] = ()
    name: str = ""


def merged(turns: Sequence[Turn]) -> list[Turn]:
    """Return turns in which user and assistant alternate: neighbours of one role are joined, and the user begins."""
    found: list[Turn] = []
    for turn in turns:
        if found and turn.role == found[-1].role and turn.role in ("user", "assistant"):
            text = "\n\n".join(part for part in (found[-1].text, turn.text) if part)
            found[-1] = replace(found[-1], text=text, calls=(*found[-1].calls, *turn.calls))
        else:
            found.append(turn)
    first = next((at for at, turn in enumerate(found) if turn.role != "system"), len(found))
    if first == len(found) or found[first].role != "user":
        found.insert(first, Turn("user"))
    return found


def as_read(turns: Sequence[Turn]) -> list[Turn]:
    """Return turns with earlier calls as the user has read them: as the results, where the assistant said no more.

    An LM that was not trained with tools imitates calls that stand in its conversation. The last question and what
    follows it stay as they are.
    """
    last = max((at for at, turn in enumerate(turns) if turn.role == "user"), default=0)
    found: list[Turn] = []
    results: list[str] = []
    for turn in [*turns[:last], *turns[last : last + 1]]:
        if turn.role == "tool":
            results.append(turn.text)
        elif turn.role == "assistant":
            if turn.text:
                found.append(replace(turn, calls=()))
                results = []
        else:
            if results:
                found.append(Turn("assistant", "\n".join(results)))
            results = []
            found.append(turn)
    return [*found, *turns[last + 1 :]]


def system_first(turns: Sequence[Turn]) -> list[Turn]:
    """Return turns with one system turn, the first."""
    system = "\n\n".join(turn.text for turn in turns if turn.role == "system" and turn.text)
    return [*([Turn("system", system)] if system else []), *(turn for turn in turns if turn.role != "system")]


def system_in_user(turns: Sequence[Turn]) -> list[Turn]:
    """Return turns without a system turn: its text precedes that of the first user turn."""
    system = "\n\n".join(turn.text for turn in turns if turn.role == "system" and turn.text)
    return merged([*([Turn("user", system)] if system else []), *(turn for turn in turns if turn.role != "system")])
