"""Strings, numbers and keys of a JSON schema, rewritten so that a grammar takes them and their length is bounded."""

import json
import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from llguidance import LLMatcher

from toolken.agents.grammar.schema_keywords import LOWER_BOUNDS, UPPER_BOUNDS, Schema, count, is_number

#: Characters of a string whose schema gives no bound, and of a map's key.
MAX_STRING, MAX_KEY = 200, 40
#: Every whole number up to this one is exact in a float64, hence in JSON readers of all languages.
MAX_INTEGER = 2**53 - 1
#: The step of a number without `multipleOf`, unless its bounds are closer; finer ones have this many more decimals.
STEP, FINER = 1e-6, 3
#: Characters of a string by its format. The date-time has an offset and no fraction.
MAX_FORMAT = {
    **{"date": 10, "time": 14, "date-time": 25, "duration": 16, "ipv4": 15, "ipv6": 45, "uuid": 36},
    **dict.fromkeys(("email", "idn-email", "hostname"), 64),
    **dict.fromkeys(("uri", "iri", "uri-reference"), 120),
}
#: Patterns of the usual notation of some formats: no fractions of a second, and mail addresses with a domain.
USUAL = {
    "time": "^[0-9:Z+-]*$",
    "date-time": "^[0-9:TZ+-]*$",
    "email": r"^[A-Za-z0-9_%+-]+(\.[A-Za-z0-9_%+-]+)*@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+$",
    "uri": r"^[a-z][a-z0-9+.-]{0,12}:[!-~]+$",
}
#: The automaton of a larger `multipleOf` is too large; such a step is left to validation.
MAX_STEP = 1000

#: Options of the grammar compiler: JSON with one space after commas and colons.
OVERRIDES: Any = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": ", "lenient": True}

#: Keywords of a scalar in the order in which they are dropped if the grammar compiler does not take them.
_DROPPED_FIRST = ("pattern", "format", "multipleOf", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")


def bounded_string(keywords: Schema, longest: int) -> Schema | None:
    """Return a bounded schema of strings, at most `longest` characters by default; None if no string satisfies it."""
    least, form = count(keywords.get("minLength"), 0), keywords.get("format")
    bound = longest if "pattern" not in keywords else MAX_STRING
    result: Schema = {"type": "string", **keywords, "minLength": least}
    if isinstance(form, str):
        bound = MAX_FORMAT.get(form, bound)
        if form in USUAL:
            result.setdefault("pattern", USUAL[form])
    result["maxLength"] = most = count(keywords.get("maxLength"), max(bound, least))
    if least > most:
        return None
    if "maxLength" not in keywords and "pattern" in keywords and not compiles(json.dumps(result)):
        # A pattern may need more than the default bound.
        free = {key: value for key, value in result.items() if key != "maxLength"}
        if compiles(json.dumps(free)):
            return free
    return _compilable(result)


def bounded_number(kind: str, keywords: Schema) -> Schema | None:
    """Return a schema of numbers with few digits, "integer" or "number"; None if no number satisfies it."""
    numeric = {key: value for key, value in keywords.items() if is_number(value)}
    result: Schema = {"type": kind, **numeric}
    if not 0 < result.get("multipleOf", 0) <= MAX_STEP:
        result.pop("multipleOf", None)
    for bound, exclusive, sign in (("minimum", "exclusiveMinimum", -1), ("maximum", "exclusiveMaximum", 1)):
        # A bound beyond the exact integers is replaced by theirs, unless the other bound excludes them.
        for key in (bound, exclusive):
            if key in result and sign * result[key] > MAX_INTEGER:
                del result[key]
        if not {bound, exclusive} & result.keys():
            other = [result[key] for key in LOWER_BOUNDS[:2] + UPPER_BOUNDS[:2] if key in result]
            result[bound] = sign * MAX_INTEGER if all(-MAX_INTEGER <= one <= MAX_INTEGER for one in other) else None
            if result[bound] is None:
                del result[bound]
    if not _has_number(kind, result):
        return None
    low, high = _range(result)
    if low > MAX_INTEGER or high < -MAX_INTEGER:  # the grammar compiler knows no ranges there
        return {"enum": [_beyond(kind, result, low, high)]}
    if kind == "number" and "multipleOf" not in result:
        sizes = [abs(low), abs(high), high - low]
        least = min([one for one in sizes if 0 < one < STEP * 10**FINER], default=None)
        result["multipleOf"] = STEP if least is None else float(f"1e{max(_exponent(least) - FINER, -12)}")
    return _compilable(result)


def _range(keywords: Schema) -> tuple[float, float]:
    low = max([keywords[key] for key in LOWER_BOUNDS[:2] if key in keywords], default=-float("inf"))
    high = min([keywords[key] for key in UPPER_BOUNDS[:2] if key in keywords], default=float("inf"))
    return low, high


def _beyond(kind: str, keywords: Schema, low: float, high: float) -> float:
    """Return a number within bounds that exclude every exact integer."""
    bound, key, sign = (low, "exclusiveMinimum", 1) if low > MAX_INTEGER else (high, "exclusiveMaximum", -1)
    if keywords.get(key) == bound:
        # The grammar compiler reads numbers as float64.
        bound = math.nextafter(float(bound), sign * math.inf)
    return int(bound) if kind == "integer" else bound


def _has_number(kind: str, keywords: Schema) -> bool:
    low, high = _range(keywords)
    excluded = keywords.get("exclusiveMinimum") == low or keywords.get("exclusiveMaximum") == high
    if low > high or (low == high and excluded):
        return False
    if kind == "integer" and abs(low) <= MAX_INTEGER and abs(high) <= MAX_INTEGER:
        first = -int(-low // 1)
        first += keywords.get("exclusiveMinimum") == first
        return first < high or (first == high and keywords.get("exclusiveMaximum") != high)
    return True


def _exponent(value: float) -> int:
    return int(f"{value:e}".partition("e")[2])


def _compilable(scalar: Schema) -> Schema:
    """Drop keywords of a scalar until the grammar compiler takes it."""
    if compiles(json.dumps(scalar)):
        return scalar
    # Usually one keyword is at fault; otherwise they are dropped in a fixed order.
    for key in _DROPPED_FIRST:
        if key in scalar and compiles(json.dumps(less := {k: v for k, v in scalar.items() if k != key})):
            return less
    left = dict(scalar)
    for key in _DROPPED_FIRST:
        left.pop(key, None)
        if compiles(json.dumps(left)):
            return left
    return {"type": scalar["type"]}


@lru_cache(maxsize=4096)
def compiles(schema: str) -> bool:
    """Tell whether the grammar compiler takes a schema, given as JSON text."""
    error = LLMatcher.validate_grammar(LLMatcher.grammar_from_json_schema(schema, overrides=OVERRIDES))
    return not error


@lru_cache(maxsize=256)
def closed_pattern(pattern: str) -> str | None:
    """Return a pattern of keys without open repetitions; None if the grammar compiler does not take it."""
    bounded = "".join(_closed_repetitions(pattern))
    for one in (bounded, pattern):
        probe = {"type": "object", "patternProperties": {one: {"type": "null"}}, "additionalProperties": False}
        if compiles(json.dumps(probe)):
            return one
    return None


def _closed_repetitions(pattern: str) -> Iterator[str]:
    """Yield a regular expression's characters, with `*` and `+` replaced by bounded repetitions."""
    inside = escaped = False
    for character in pattern:
        if escaped:
            escaped = False
        elif character == "\\":
            escaped = True
        elif inside:
            inside = character != "]"
        elif character == "[":
            inside = True
        elif character in "*+":
            yield f"{{{int(character == '+')},{MAX_KEY}}}"
            continue
        yield character
