"""Words and forms that tell what a value is: dates, limits, prepositions of an argument, demands of a schema."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from toolken.agents.grammar.function_words import words
from toolken.agents.grammar.text_values import Span, stem, stems


def stemmed(text: str) -> frozenset[str]:
    """Return the stems of the words of a text."""
    return frozenset(map(stem, words(text)))


DATE_WORDS = words(
    """
    today tonight tomorrow yesterday monday tuesday wednesday thursday friday saturday sunday january february
    march april may june july august september october november december jan feb mar apr jun jul aug sep sept
    oct nov dec week weekend month year day morning afternoon evening noon midnight clock hour minute second
    now next last ago later christmas easter eve
    """
)
NEGATIONS = words(
    """
    no not without don't dont never isn't aren't disable off un non skip except
    """
)
PROSE = re.compile(
    r"message|text|body|content|note|comment|description|reason|explanation|subject|feedback|question|query|summary|detail"
)
TITLED = re.compile(r"title|task|event|goal|activity|what|topic|item|object|name|destination|reference|purpose")
#: What introduces a remark at the end of a request.
APPENDED = re.compile(r"(?:[,:;\u2013\u2014-]|\b(?:because|since|as|that|saying))\s*\Z", re.IGNORECASE)
DATED = re.compile(r"date|day|time|when|deadline|period|month|week")
RELATIVE = re.compile(
    r"\b(?:(?:the )?day after tomorrow|today|tonight|tomorrow|yesterday)(?: (?:morning|afternoon|evening|night))?\b"
    r"|\b(?:(?:this|next|last|coming) )*(?:week |month )?(?:mon|tues|wednes|thurs|fri|satur|sun)day"
    r"(?: (?:morning|afternoon|evening|night))?\b"
    r"|\b(?:this|next|last|past) (?:\w+ )?(?:week(?:end)?|month|year|days?)\b"
    r"|\bthe \d{1,2}(?:st|nd|rd|th)\b",
    re.IGNORECASE,
)


#: The forms of strings that validators hardly check.
FORMS = {
    "date": re.compile(r"\d{4}-\d\d-\d\d"),
    "time": re.compile(r"\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)?"),
    "date-time": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)?"),
    "email": re.compile(r"[^\s@,;:<>\"']+@[^\s@,;:<>\"']+\.[^\s@,;:<>\"'.]{2,}"),
    "uri": re.compile(r"[a-zA-Z][\w+.-]*:\S+"),
    "uuid": re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"),
    "ipv4": re.compile(r"\d{1,3}(?:\.\d{1,3}){3}"),
}
BARE_HOUR = re.compile(
    r"\b(?:at|from|till|until|to|by|before|after|around) (\d{1,2})()\b(?!\s*[:%.]?\w)"
    r"|(?<![\w.,:])(\d{1,2})[.h](\d\d)(?![\w.])",
    re.IGNORECASE,
)
START = stemmed(
    """
    from since start after begin depart earliest new onwards departure checkin pickup
    """
)
END = stemmed(
    """
    to until till end before by return arrive arrival latest due deadline checkout dropoff through
    """
)
LEAST = stemmed(
    """
    min minimum least over above more lowest
    """
)
MOST = stemmed(
    """
    max maximum most under below less within limit highest
    """
)


def role_of(name: str) -> str | None:
    """Return whether an argument is the start or the end of a period."""
    words = set(stems(name))
    return "end" if words & END else "start" if words & START else None


def cue_of(text: str, span: Span) -> str | None:
    """Return whether the words before a moment introduce a start or an end."""
    before = re.findall(r"[a-z]+|-|–", text[max(span.start - 24, 0) : span.start].lower())[-2:]
    for word in reversed(before):
        if stem(word) in END or word in "-–":
            return "end"
        if stem(word) in START:
            return "start"
    return "start" if re.match(r"\W*(?:onwards?|on\b)", text[span.end : span.end + 10]) else None


def limit_of(name: str) -> str | None:
    """Return whether an argument is a lower or an upper bound."""
    words = set(stems(name))
    return "least" if words & {"min", "minimum"} else "most" if words & {"max", "maximum"} else None


def limit_cue(text: str, span: Span) -> str | None:
    """Return whether the words before a number introduce a lower or an upper bound."""
    before = re.findall(r"[a-z]+", text[max(span.start - 20, 0) : span.start].lower())[-2:]
    for word in reversed(before):
        if stem(word) in LEAST or word == "from":
            return "least"
        if stem(word) in MOST or (word == "to" and "up" in before):
            return "most"
    return None


#: Marks an enumeration of numbers of the conversation; validators ignore it.
NUMBERS = "x-numbers"
FILLERS = words(
    """
    in to on a the is an id with for at or has and by of
    """
)
DATE_STEMS = frozenset(map(stem, DATE_WORDS))


def prepositions(names: Sequence[str]) -> set[str]:
    """Return the prepositions that introduce the value of an argument with such a name."""
    found = {
        one for one in names if one in ("from", "to", "in", "at", "by", "via", "near", "with", "for", "on", "of", "as")
    }
    kinds = {
        "from": "from origin source start departure pickup sender old",
        "to": "to destination target dropoff recipient arrival receiver goal into new",
        "in": "city location place country town region area where folder room",
        "at": "location place address venue station branch store shop where",
        "near": "location place near address",
        "by": "author artist creator",
        "with": "doctor dentist stylist trainer person contact",
        "called": "name title label",
    }
    return found | {word for word, listed in kinds.items() if set(names) & set(listed.split())}


#: Arguments that name a kind or unit, of which a call has one before and one after.
CONVERTED = frozenset(["currency", "currencies", "unit", "units", "language", "code", "format"])


def is_unit_of(names: Sequence[str], text: str, span: Span) -> bool | None:
    """Tell whether a span is the unit that an amount has, for an argument with such a name.

    The unit directly after a number is the one that is given ("50 dollars in euros"), and one after "in", "into" or
    "as" is the one that is asked for. None for arguments that are neither.
    """
    said = set(names)
    before = text[max(span.start - 12, 0) : span.start].lower()
    counted = re.search(r"\d[\d.,]*\s*\Z", before) is not None
    asked = re.search(r"\b(?:in|into|as)\s+\Z", before) is not None
    if not said & CONVERTED and len(said) > 1:
        return None
    if said & {"from", "source", "base", "src"}:
        return True if counted else False if asked else None
    if said & {"to", "target", "dest"}:
        return True if asked else False if counted else None
    return None


def kind_of(schema: Mapping[str, Any]) -> str:
    """Return the type of a schema's values; "" where it has none or several."""
    kind = schema.get("type")
    return kind if isinstance(kind, str) else ""


def is_numeric(schema: Any) -> bool:
    """Tell whether a schema admits numbers."""
    return isinstance(schema, dict) and schema.get("type") in ("integer", "number") and "enum" not in schema


def contains(longer: Any, shorter: Any) -> bool:
    """Tell whether the words of a value are among those of another."""
    return set(stems(str(shorter))) < set(stems(str(longer)))


def joined_moments(moments: Sequence[Span]) -> list[Span]:
    """Return the moments, and each date joined with each time."""
    dates = [one for one in moments if len(str(one.value)) == 10]
    times = [one for one in moments if ":" in str(one.value)]
    both = [Span(day.start, day.end, f"{day.value}T{time.value}") for day in dates for time in times]
    return [*moments, *both]


def moment_forms(iso: str) -> list[str]:
    """Return the ways to write a moment."""
    if "T" in iso:
        return [f"{iso}:00", f"{iso}:00Z", iso]
    if ":" in iso:
        return [f"{iso}:00", iso, f"{iso}:00Z"]
    return [iso]


def demand(schema: Mapping[str, Any]) -> str:
    """Return in words what a schema demands of a value."""
    least, most = schema.get("minimum"), schema.get("maximum")
    if least is not None and most is not None:
        return f"between {least:g} and {most:g}"
    if most is not None:
        return f"at most {most:g}"
    if least is not None:
        return f"at least {least:g}"
    if "exclusiveMaximum" in schema:
        return f"less than {schema['exclusiveMaximum']:g}"
    if "exclusiveMinimum" in schema:
        return f"more than {schema['exclusiveMinimum']:g}"
    if "multipleOf" in schema:
        return f"a multiple of {schema['multipleOf']:g}"
    if "pattern" in schema:
        return f"of the form {schema['pattern']}"
    if "format" in schema:
        return {"email": "an e-mail address", "uri": "an address"}.get(schema["format"], f"a valid {schema['format']}")
    return "a whole number" if schema.get("type") == "integer" else "valid"
