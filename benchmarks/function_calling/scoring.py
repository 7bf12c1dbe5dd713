"""`score`: the metrics of one outcome, by BFCL's rules for calls and by what the text names where no call is right."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from toolken.agents.grammar.schema_check import schema_problem
from toolken.benchmarks.function_calling.record import CallOutcome, CallRecord, ExpectedCall, MadeCall
from toolken.training.tool_spec import ToolSpec, name_words

#: All metrics, in the order of the tables.
METRICS = ("tools", "exact", "valid", "declined", "over_declined", "asked", "says")

#: The characters that BFCL ignores in strings, beside case and the kind of quotation marks.
_IGNORED = re.compile(r"[\s,./\-_*^]")
_QUOTES = str.maketrans("'‘’“”", '"""""')
#: A separator of thousands: a comma, an apostrophe or a space between a digit and three digits.
_THOUSANDS = re.compile(r"(?<=\d)[,'’ \u00a0\u2009\u202f](?=\d{3}(?!\d))")
#: Words of an argument's name that a question for its value may omit.
_UNSAID = {"of", "the", "a", "an", "id", "to", "for", "in", "is"}


def score(record: CallRecord, outcome: CallOutcome) -> dict[str, bool]:
    """Return the metrics of an outcome that apply to its record.

    ================= ======================================= ===================================================
    metric            where it applies                        true if
    ================= ======================================= ===================================================
    ``tools``         some call is right                      the right tools are called, each as often as it should
    ``exact``         some call is right                      the calls are the right ones, in any order
    ``over_declined`` some call is right                      there is no call
    ``declined``      no call is right                        there is no call
    ``asked``         a value is missing or invalid           there is no call, and the text names each missing
                                                              argument, or an invalid value or its argument
    ``says``          no call is right, but a text is         there is no call, and `says` of the text is true
    ``valid``         some call was made                      each call passes the schema of its tool
    ================= ======================================= ===================================================
    """
    metrics: dict[str, bool] = {}
    calls = outcome.calls
    if record.expected:
        metrics["tools"] = Counter(call.tool for call in calls) == Counter(call.tool for call in record.expected)
        metrics["exact"] = calls_match(calls, record.expected, record.tools)
        metrics["over_declined"] = not calls
    else:
        metrics["declined"] = not calls
        if record.missing or record.wrong:
            metrics["asked"] = not calls and _asks(outcome.text, record)
        if record.says:
            metrics["says"] = not calls and says(outcome.text, record.says)
    if calls:
        specs = {spec.name: spec for spec in record.tools}
        metrics["valid"] = all(invalid_call(call, specs) is None for call in calls)
    return {name: metrics[name] for name in METRICS if name in metrics}


def invalid_call(call: MadeCall, tools: Mapping[str, ToolSpec]) -> str | None:
    """Return why a tool cannot take a call, or None if it can.

    Arguments that the schema does not name are refused, unless it says what additional ones look like.
    """
    spec = tools.get(call.tool)
    if spec is None:
        return f"there is no tool {call.tool!r}"
    if call.arguments is None:
        return "the arguments are not a JSON object"
    return schema_problem({"additionalProperties": False} | spec.parameters, dict(call.arguments))


def calls_match(calls: Sequence[MadeCall], expected: Sequence[ExpectedCall], tools: Sequence[ToolSpec]) -> bool:
    """Return whether the calls are the expected ones, in any order.

    The assignment is a maximum matching: BFCL's greedy one rejects right calls where one call fits two expected ones.
    """
    if len(calls) != len(expected):
        return False
    specs = {spec.name: spec for spec in tools}
    fits = np.array([[wrong_call(call, one, specs.get(one.tool)) is None for one in expected] for call in calls])
    if len(calls) < 2:
        return bool(fits.all())
    from scipy.optimize import linear_sum_assignment

    return bool(fits[linear_sum_assignment(fits, maximize=True)].all())


def wrong_call(call: MadeCall, expected: ExpectedCall, spec: ToolSpec | None) -> str | None:
    """Return why a call is not the expected one, or None if it is.

    BFCL's rules: the right tool, all required arguments, each value among the accepted ones, no other arguments.
    """
    if call.tool != expected.tool:
        return f"calls {call.tool!r} instead of {expected.tool!r}"
    if call.arguments is None:
        return "the arguments are not a JSON object"
    schemas = spec.arguments if spec is not None else {}
    for name in (spec.parameters.get("required") or ()) if spec is not None else ():
        if name not in call.arguments:
            return f"omits the required argument {name!r}"
    for name, value in call.arguments.items():
        if name not in expected.accepted or (spec is not None and name not in schemas):
            return f"has the additional argument {name!r}"
        omitted = value == "" and name in expected.optional
        schema = schemas.get(name, {})
        if not omitted and not any(_same(value, one, schema, expected.containing) for one in expected.accepted[name]):
            return f"{name!r} has the value {value!r:.80}"
    for name in expected.accepted:
        if name not in call.arguments and name not in expected.optional:
            return f"omits the argument {name!r}"
    return None


def _same(value: Any, accepted: Any, schema: Any, containing: bool) -> bool:
    """Return whether a value is an accepted one after the normalisation of its type."""
    schema = schema if isinstance(schema, dict) else {}
    if isinstance(accepted, dict):
        return isinstance(value, Mapping) and _same_object(value, accepted, schema.get("properties") or {}, containing)
    if isinstance(accepted, list | tuple):
        items, prefix = schema.get("items"), schema.get("prefixItems") or []
        return (
            isinstance(value, list | tuple)
            and len(value) == len(accepted)
            and all(
                _same(one, other, prefix[place] if place < len(prefix) else items, containing)
                for place, (one, other) in enumerate(zip(value, accepted, strict=True))
            )
        )
    if isinstance(accepted, str):
        if not isinstance(value, str):
            return False
        timed = schema.get("format") in ("time", "date-time") and _time(value) == _time(accepted)
        return timed or _same_string(value, accepted, containing and "enum" not in schema)
    if accepted is None or isinstance(accepted, bool):
        return value is accepted
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    # A whole number fits a float, but 5.0 does not fit an integer.
    return not (isinstance(value, float) and schema.get("type") == "integer") and value == accepted


def _same_object(value: Mapping[str, Any], accepted: Mapping[str, Any], schemas: Any, containing: bool) -> bool:
    options = {key: found if isinstance(found, list | tuple) else [found] for key, found in accepted.items()}
    if any(key not in options for key in value):
        return False
    return all(
        any(_same(value[key], one, schemas.get(key), containing) for one in found) if key in value else "" in found
        for key, found in options.items()
    )


def _same_string(value: str, accepted: str, containing: bool) -> bool:
    left, right = normal_string(value), normal_string(accepted)
    if left == right:
        # Of "-" and "*" nothing is left.
        return bool(right) or value.strip() == accepted.strip()
    if not containing:
        return False
    words, wanted = _words(value), _words(accepted)
    return bool(wanted) and any(words[i : i + len(wanted)] == wanted for i in range(len(words)))


def normal_string(text: str) -> str:
    """Return a string as BFCL compares it: without case, spaces and the punctuation , . / - _ * ^.

    >>> normal_string("San Francisco, C.A.")
    'sanfranciscoca'
    """
    return _IGNORED.sub("", text).casefold().translate(_QUOTES)


def _time(text: str) -> str:
    """Return a time without what may be absent: seconds that are zero, and the offset of UTC."""
    found = re.fullmatch(r"(?P<time>(?:[\d-]+[Tt ])?\d?\d:\d\d)(?::00(?:\.0+)?)?(?:[Zz]|[+-]00:?00)?", text.strip())
    return re.sub(r"\b(?=\d:)", "0", found["time"]).upper().replace("T", " ") if found else text


def says(text: str, wanted: Iterable[str]) -> bool:
    """Return whether a text contains each of some texts, as whole words and numbers.

    Case, separators of thousands, zeros after a decimal point and the first zero of a time do not count.

    >>> says("Your balance is 1,450.00 euros at 09:30.", ["1450", "9:30", "BALANCE"])
    True
    >>> says("It costs 145.", ["45"])
    False
    """
    # Commas and spaces may separate thousands or numbers: both readings count.
    readings = [_plain_numbers(text), _plain_numbers(_THOUSANDS.sub("", text))]
    return all(any(_occurs(_plain_numbers(_THOUSANDS.sub("", one)), found) for found in readings) for one in wanted)


def _plain_numbers(text: str) -> str:
    text = re.sub(r"(?<![\d.,:])0(?=\d:\d\d)", "", text)
    return re.sub(r"(?<![\d.,])(\d+)(?:\.0+|(\.\d*[1-9])0+)(?![\d.,]*\d)", r"\1\2", text)


def _asks(text: str, record: CallRecord) -> bool:
    missing = all(names_argument(text, name) for names in record.missing.values() for name in names)
    wrong = not record.wrong or any(
        names_argument(text, argument) or any(_occurs(str(value), text) for value in values)
        for argument, values in record.wrong.items()
    )
    return missing and wrong


def names_argument(text: str, argument: str) -> bool:
    """Return whether a text names an argument: as it is written, or by the words of its name in any order.

    Plurals count, and words such as "id" and "of" may be absent.

    >>> names_argument("For what size is the party?", "party_size")
    True
    >>> names_argument("Where to?", "party_size")
    False
    """
    if _occurs(argument, text):
        return True
    words = name_words(argument).split()
    wanted = {_stem(word) for word in words if word not in _UNSAID} or {_stem(word) for word in words}
    return wanted <= {_stem(word) for word in _words(text)}


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold().replace("_", " "))


def _stem(word: str) -> str:
    """Return a word without the ending of an English plural."""
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    return word[:-1] if word.endswith("s") and not word.endswith("ss") and len(word) > 3 else word


def _occurs(part: str, text: str) -> bool:
    """Return whether a text contains a string that is not a fragment of a longer word or number."""
    pattern = rf"(?<!\w)(?<!\d[.,]){re.escape(_spaced(part))}(?!\w)(?![.,]\d)"
    return bool(part.strip()) and re.search(pattern, _spaced(text)) is not None


def _spaced(text: str) -> str:
    return " ".join(text.split()).casefold()
