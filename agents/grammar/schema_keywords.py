"""The keywords of JSON Schema that bounding reads: types, bounds, and the conjunction of two schemas."""

import json
from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]

TYPES = ("string", "integer", "number", "boolean", "null", "array", "object")
#: The keywords that restrict values of one type, by that type.
KEYWORDS = {
    "string": ("minLength", "maxLength", "pattern", "format"),
    "integer": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    "array": ("items", "prefixItems", "minItems", "maxItems", "uniqueItems", "contains"),
    "object": ("properties", "required", "additionalProperties", "patternProperties", "maxProperties", "minProperties"),
}
LOWER_BOUNDS = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
UPPER_BOUNDS = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")


def conjunction(one: Schema, other: Schema) -> Schema | None:
    """Return the conjunction of two schemas without `$ref` and alternatives; None if no value satisfies both."""
    result = {**one, **other}
    for key in one.keys() & other.keys():
        mine, theirs = one[key], other[key]
        if key == "type":
            kinds = [kind for kind in kinds_of(one) if kind in kinds_of(other)]
            if not kinds:
                return None
            result[key] = kinds
        elif key in LOWER_BOUNDS and is_number(mine) and is_number(theirs):
            result[key] = max(mine, theirs)
        elif key in UPPER_BOUNDS and is_number(mine) and is_number(theirs):
            result[key] = min(mine, theirs)
        elif key == "enum":
            result[key] = [value for value in mine if any(_same(value, known) for known in theirs)]
        elif key == "const" and not _same(mine, theirs):
            return None
        elif key in ("properties", "patternProperties"):
            shared = {name: {"allOf": [mine[name], theirs[name]]} for name in mine.keys() & theirs.keys()}
            result[key] = {**mine, **theirs, **shared}
        elif key == "required":
            result[key] = [*mine, *(name for name in theirs if name not in mine)]
        elif key in ("items", "additionalProperties"):
            result[key] = {"allOf": [mine, theirs]} if mine is not False and theirs is not False else False
    if "enum" in result and "const" in result and not any(_same(result["const"], value) for value in result["enum"]):
        return None
    return result


def restricts(schema: Schema) -> bool:
    """Tell whether a schema restricts values by keywords other than a reference."""
    known = {"type", "enum", "const", "allOf", "anyOf", "oneOf", "not"}.union(*KEYWORDS.values())
    return bool(schema.keys() & known)


def kinds_of(schema: Schema) -> list[str]:
    """Return the types that a schema allows, in the order in which it names them."""
    given = schema.get("type")
    if given is None:
        if {"properties", "required", "additionalProperties"} & schema.keys():
            return ["object"]
        return [kind for kind in TYPES if kind != "integer"] if "enum" not in schema else list(TYPES)
    named = [given] if isinstance(given, str) else [kind for kind in given if isinstance(kind, str)]
    if ("enum" in schema or "const" in schema) and "number" in named:
        named.append("integer")
    # A type that JSON Schema does not know admits any value; a string is the simplest.
    return list(dict.fromkeys(kind for kind in named if kind in TYPES)) or list(TYPES[:1])


def kind_of(value: Any) -> str:
    """Return the JSON type of a value."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else "boolean"
    for kind, cls in (("integer", int), ("number", float), ("string", str), ("array", list)):
        if isinstance(value, cls):
            return kind
    return "object"


def references(schema: Any) -> Iterator[str]:
    """Yield the `$ref`s of a schema, except those in its definitions."""
    if isinstance(schema, list):
        for one in schema:
            yield from references(one)
    elif isinstance(schema, dict):
        for key, value in schema.items():
            if key == "$ref" and isinstance(value, str):
                yield value
            elif key not in ("$defs", "definitions", "enum", "const", "default", "examples"):
                yield from references(value)


def _same(one: Any, other: Any) -> bool:
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def count(value: Any, otherwise: int) -> int:
    """Return a keyword's value as a count, or `otherwise` if it is not one."""
    return int(value) if is_number(value) and value >= 0 else otherwise


def is_number(value: Any) -> bool:
    """Tell whether a value is a JSON number."""
    return isinstance(value, int | float) and not isinstance(value, bool)
