"""The parts of a request, each of which may need a call."""

import re

#: Words that a part has at least; fewer are hardly a request.
MIN_WORDS = 3
#: Where one request ends and the next may begin.
_JOINTS = re.compile(r"(?<=[.!?])\s+|;\s+|,?\s+(?:and then|and also|and|then|also|as well as)\s+", re.IGNORECASE)


def parts_of(question: str) -> list[str]:
    """Return the sentences and clauses of a question that have at least `MIN_WORDS` words.

    Examples
    --------
    >>> parts_of("How warm is it in Oslo and how high is the tower?")
    ['How warm is it in Oslo', 'how high is the tower?']
    """
    parts = [part.strip(" ,;") for part in _JOINTS.split(question)]
    return [part for part in parts if len(part.split()) >= MIN_WORDS]
