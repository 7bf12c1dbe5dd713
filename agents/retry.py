"""Corrections: a tool that knows no such name offers others, and the question has one of them."""

import re
from collections.abc import Mapping
from typing import Any

#: What stands in quotes, in any that messages use; an apostrophe inside a word is none.
_QUOTED = re.compile(r"\"([^\"]+)\"|“([^”]+)”|‘([^’]+)’|`([^`]+)`|(?<!\w)'([^']+)'(?!\w)")


def corrected(arguments: Mapping[str, Any], complaint: str, question: str) -> dict[str, Any] | None:
    """Return a refused call's arguments with the names in them that the tool would know; None where it offers none.

    Where copied words begin and end is what a small model is worst at. A name that the complaint quotes replaces an
    argument if it stands in the question and has the argument in it, or is a part of it and what "did you mean" offers:
    then the same words were meant. Of several the longest is taken.

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
    offered = _quoted(complaint, asked)
    # Complaints quote pieces of what is wrong, too: a shorter name has to be offered in so many words.
    meant = set(_quoted(complaint.casefold().partition(" mean")[2], asked))
    found: dict[str, Any] = {}
    for argument, value in arguments.items():
        if isinstance(value, str) and (old := value.strip().casefold()):
            new = [
                name
                for name in offered
                if (one := name.casefold()) != old and (old in one or (one in old and one in meant))
            ]
            if new:
                found[argument] = max(new, key=len)
    return {**arguments, **found} if found else None


def _quoted(complaint: str, question: str) -> list[str]:
    """Return what stands in quotes, and in the question as well."""
    names = (next(filter(None, groups)).strip() for groups in _QUOTED.findall(complaint))
    return [name for name in names if name and _stands_in(name.casefold(), question)]


def _stands_in(name: str, text: str) -> bool:
    """Tell whether a name stands in a text as whole words."""
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) is not None
