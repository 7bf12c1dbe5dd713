"""Made-up calls of tools that have no demonstration: their descriptions as requests, arguments of the right type."""

from typing import Any

from toolken.training.examples import Demonstration
from toolken.training.tool_spec import ToolSpec

_NAMES = ("Oslo", "Marie Curie", "the old bridge", "Lake Victoria", "blue kettle", "Tuesday", "Casablanca", "page 12")
_NUMBERS = ((12, 7), (3.5, 240), (1975, 8), (64, 16), (5, 99), (18, 0.25), (700, 35), (2, 41))


def made_up(spec: ToolSpec, count: int = 8) -> list[Demonstration]:
    """Return a few calls of a tool; what is given stands in the request, so that arguments are seen to be copied."""
    found = []
    for at in range(count):
        args = {name: _value(schema, at + shift) for shift, (name, schema) in enumerate(spec.arguments.items())}
        given = ", ".join(_said(value) for value in args.values())
        words = spec.words.strip().rstrip(".")
        question = f"{words}: {given}" if given else words
        found.append(Demonstration(tool=spec.name, question=question, args=args))
    return found


def _value(schema: Any, at: int) -> Any:
    kind, numbers = schema.get("type") if isinstance(schema, dict) else None, _NUMBERS[at % len(_NUMBERS)]
    if isinstance(schema, dict) and schema.get("enum"):
        return schema["enum"][at % len(schema["enum"])]
    match kind:
        case "integer":
            return int(numbers[0]) + 1
        case "number":
            return numbers[0]
        case "boolean":
            return at % 2 == 0
        case "array":
            item = schema.get("items") or {}
            return list(numbers) if item.get("type") in ("number", "integer", None) else [_value(item, at)]
        case "object":
            return {name: _value(inner, at) for name, inner in schema.get("properties", {}).items()}
        case _:
            return _NAMES[at % len(_NAMES)]


def _said(value: Any) -> str:
    if isinstance(value, list):
        return " and ".join(map(_said, value))
    if isinstance(value, dict):
        return ", ".join(map(_said, value.values()))
    return str(value)
