"""The parts of a request, each of which may need a call."""

import re

#: Words that a part has at least; fewer are hardly a request.
MIN_WORDS = 3
#: Where one request ends and the next may begin.
_JOINTS = re.compile(r"(?<=[.!?])\s+|;\s+|,?\s+(?:and then|and also|and|then|also|as well as)\s+", re.IGNORECASE)


#: "timer for 5 and for 9 minutes": the second value has the preposition of the first.
_REPEATED = re.compile(
    r"^(?P<order>.*\S) (?P<preposition>for|in|at|to|of|from|on) (?P<first>[^,;]+?),? (?:and|and also|as well as) "
    r"(?P=preposition) (?P<second>[^,;]+?)[.!?]*$",
    re.IGNORECASE | re.DOTALL,
)
#: "weather in Oslo and Rome": two names after one preposition of place.
_NAMES = re.compile(
    r"^(?P<order>.*\S) (?P<preposition>[iI]n) (?P<first>[A-Z]\S*(?: [A-Z]\S*)*) and "
    r"(?P<second>[A-Z]\S*?(?: [A-Z]\S*?)*)[.!?]*$",
    re.DOTALL,
)
#: Words of a value that shares its verb with another one.
MAX_SHARED = 5


def shared_parts_of(question: str) -> list[str]:
    """Return two requests that share their verb as two whole requests; [] where there are none.

    Examples
    --------
    >>> shared_parts_of("timer for 5 and for 9 minutes")
    ['timer for 5', 'timer for 9 minutes']
    >>> shared_parts_of("How warm is it in Oslo and Rome?")
    ['How warm is it in Oslo', 'How warm is it in Rome']
    """
    found = _REPEATED.match(question.strip()) or _NAMES.match(question.strip())
    if found is None or any(len(found[part].split()) > MAX_SHARED for part in ("first", "second")):
        return []
    return [f"{found['order']} {found['preposition']} {found[part]}" for part in ("first", "second")]


def parts_of(question: str) -> list[str]:
    """Return the sentences and clauses of a question that have at least `MIN_WORDS` words.

    Examples
    --------
    >>> parts_of("How warm is it in Oslo and how high is the tower?")
    ['How warm is it in Oslo', 'how high is the tower?']
    """
    parts = [part.strip(" ,;") for part in _JOINTS.split(question)]
    return [part for part in parts if len(part.split()) >= MIN_WORDS]
