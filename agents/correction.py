"""Corrections: a tool that knows no such name offers others, and the question has one of them."""

import re
from collections.abc import Mapping
from typing import Any

#: What stands in quotes, in any that messages use; an apostrophe inside a word is none.
_QUOTED = re.compile(r"\"([^\"]+)\"|“([^”]+)”|‘([^’]+)’|`([^`]+)`|(?<!\w)'([^']+)'(?!\w)")


def corrected(arguments: Mapping[str, Any], complaint: str, question: str) -> dict[str, Any] | None:
    """Return a refused call's arguments with the names in them that the tool would know; None where it offers none.

    Where copied words begin and end is what a small model is worst at. A name that the complaint quotes replaces an
    argument if it stands in the question, and one of the two is a part of the other: then the same words were meant.
    Of several the longest is taken.

    Parameters
    ----------
    arguments
        Of the refused call.
    complaint
        What the tool said.
    question
        What the user wrote.

    Examples
    --------
    >>> complaint = 'Nothing is stored under "Anne"; did you mean "Anne of Denmark" or "Anne of Kiev"?'
    >>> corrected({"name": "Anne"}, complaint, "Who was the mother of Anne of Denmark?")
    {'name': 'Anne of Denmark'}
    """
    asked = question.casefold()
    offered = [next(filter(None, groups)).strip() for groups in _QUOTED.findall(complaint)]
    offered = [name for name in offered if name and _stands_in(name.casefold(), asked)]
    found: dict[str, Any] = {}
    for argument, value in arguments.items():
        if isinstance(value, str) and value.strip():
            old = value.strip().casefold()
            meant = [name for name in offered if _differ_by_an_end(old, name.casefold())]
            if meant:
                found[argument] = max(meant, key=len)
    return {**arguments, **found} if found else None


def _differ_by_an_end(one: str, other: str) -> bool:
    return one != other and (one in other or other in one)


def _stands_in(name: str, text: str) -> bool:
    """Tell whether a name stands in a text as whole words."""
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) is not None
