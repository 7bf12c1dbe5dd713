"""Made-up calls, for where no demonstration shows any: values of the right type, copied from a request."""

import re
from collections.abc import Sequence
from typing import Any

from toolken.training.examples import Demonstration
from toolken.training.tool_spec import ToolSpec

_NUMBER = re.compile(r"\d+(?:\.\d+)?")
#: Words with capitals that are no beginning of a sentence: names, mostly.
_NAME = re.compile(r"(?<=[a-z,] )(?:[A-Z][\w'-]*)(?: (?:of |the )?[A-Z][\w'-]*)*")
_NAMES = ("Oslo", "Marie Curie", "the old bridge", "Lake Victoria", "blue kettle", "Buenos Aires", "Casablanca", "Ken")
_SPARE = (12, 7, 3.5, 240, 1975, 8, 64, 16, 5, 99, 18, 0.25, 700, 35, 2, 41)


def made_up(spec: ToolSpec, requests: Sequence[str]) -> list[Demonstration]:
    """Return calls of a tool: some for its description as a request with values behind it, one for each request.

    What is given stands in the question, so that values are seen to be copied.
    """
    found = []
    words = spec.words.strip().rstrip(".")
    for at in range(len(_NAMES)):
        args = {name: _value(schema, at + shift, None) for shift, (name, schema) in enumerate(spec.arguments.items())}
        given = ", ".join(_said(value) for value in args.values())
        found.append(_demonstration(spec, f"{words}: {given}" if given else words, args))
    for at, question in enumerate(requests):
        args = {name: _value(schema, at, question) for name, schema in spec.arguments.items()}
        found.append(_demonstration(spec, question, args))
    return found


def _demonstration(spec: ToolSpec, question: str, args: dict[str, Any]) -> Demonstration:
    return Demonstration(tool=spec.name, question=question, args=args)


def _value(schema: Any, at: int, question: str | None) -> Any:
    given: dict[str, Any] = schema if isinstance(schema, dict) else {}
    if given.get("enum"):
        return given["enum"][at % len(given["enum"])]
    numbers = [float(one) if "." in one else int(one) for one in _NUMBER.findall(question or "")]
    numbers = numbers or [_SPARE[at % len(_SPARE)], _SPARE[(at + 1) % len(_SPARE)]]
    match given.get("type"):
        case "integer":
            return int(numbers[0])
        case "number":
            return numbers[0]
        case "boolean":
            return at % 2 == 0
        case "array":
            item = given.get("items") or {}
            return numbers if item.get("type") in ("number", "integer", None) else [_value(item, at, question)]
        case "object":
            return {name: _value(inner, at, question) for name, inner in given.get("properties", {}).items()}
        case _:
            return _span(question) if question else _NAMES[at % len(_NAMES)]


def _span(question: str) -> str:
    """Return the last name in a request, or its last words."""
    names = _NAME.findall(question)
    if names:
        return str(names[-1])
    words = question.rstrip(" .?!").split()
    return " ".join(words[-2:])


def _said(value: Any) -> str:
    if isinstance(value, list):
        return " and ".join(map(_said, value))
    if isinstance(value, dict):
        return ", ".join(map(_said, value.values()))
    return str(value)
