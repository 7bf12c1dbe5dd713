"""Tools and gold values of published sets in the project's forms: valid names, JSON schemas, accepted values."""

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from toolken.training.tool_spec import ToolSpec

#: Characters of a tool's name that LangChain's providers accept, and how many.
_FORBIDDEN = re.compile(r"[^A-Za-z0-9_-]")
_LONGEST_NAME = 64

#: The JSON types of the type names of Python, Java and JavaScript, in lower case; None means any type.
_JSON_TYPES: dict[str, str | None] = {
    **dict.fromkeys(("object", "dict", "dictionary", "hashmap", "map"), "object"),
    **dict.fromkeys(("array", "list", "tuple", "set", "arraylist"), "array"),
    **dict.fromkeys(("number", "float", "double", "decimal", "bigdecimal"), "number"),
    **dict.fromkeys(("integer", "int", "long", "short", "byte", "bigint"), "integer"),
    **dict.fromkeys(("string", "str", "char", "text"), "string"),
    **dict.fromkeys(("boolean", "bool"), "boolean"),
    **dict.fromkeys(("null", "none", "nonetype"), "null"),
    **dict.fromkeys(("any", "unknown"), None),
}

_MAPS = ("properties", "$defs", "definitions", "patternProperties")
_SCHEMAS = ("items", "additionalProperties", "additionalItems", "not")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems", "items")

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")


def valid_names(names: Iterable[str]) -> dict[str, str]:
    """Map tool names to distinct names that every LangChain chat model accepts.

    Every other character becomes "_", as in BFCL; names longer than 64 characters are cut. Valid names stay, and of
    names that become equal the later ones get a number.

    >>> valid_names(["spotify.play", "spotify_play", "get weather"])
    {'spotify.play': 'spotify_play_2', 'spotify_play': 'spotify_play', 'get weather': 'get_weather'}
    """
    names = list(dict.fromkeys(names))
    valid = {name: _FORBIDDEN.sub("_", name)[:_LONGEST_NAME] or "_" for name in names}
    taken = {name for name in names if valid[name] == name}
    result: dict[str, str] = {}
    for name in names:
        result[name] = name if valid[name] == name else free_name(valid[name], taken)
        taken.add(result[name])
    return result


def free_name(name: str, taken: Collection[str]) -> str:
    """Return a name, with a number if it is taken.

    >>> free_name("search", {"search", "search_2"})
    'search_3'
    """
    found, number = name, 1
    while found in taken:
        number += 1
        suffix = f"_{number}"
        found = name[: _LONGEST_NAME - len(suffix)] + suffix
    return found


def published_tool(name: str, description: Any, parameters: Any) -> ToolSpec:
    """Return the spec of a published tool; see `json_schema`.

    Raises
    ------
    TypeError
        If `parameters` is neither a schema nor absent.
    """
    if parameters is not None and not isinstance(parameters, dict):
        raise TypeError(f"the parameters of {name!r} are no schema")
    schema: dict[str, Any] = {"type": "object", "properties": {}} | json_schema(parameters or {})
    return ToolSpec(name=name, description=str(description or ""), parameters=schema)


def json_schema(schema: Any) -> Any:
    """Return a schema whose types are those of JSON schema.

    Types of programming languages, such as "dict", "float" and "tuple", become JSON types; "any" is dropped. An
    argument's boolean `required` moves into the list of its object. Unknown types stay.

    >>> json_schema({"type": "dict", "properties": {"type": {"type": "tuple", "items": {"type": "float"}}}})
    {'type': 'object', 'properties': {'type': {'type': 'array', 'items': {'type': 'number'}}}}
    """
    if not isinstance(schema, dict):
        return schema
    result: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "type" and (isinstance(value, str) or _is_strings(value)):
            types = [_json_type(one) for one in ([value] if isinstance(value, str) else value)]
            if None not in types:
                result[key] = types[0] if isinstance(value, str) else list(dict.fromkeys(types))
        elif key in _MAPS and isinstance(value, dict):
            result[key] = {name: json_schema(one) for name, one in value.items()}
        elif key in _LISTS and isinstance(value, list):
            result[key] = [json_schema(one) for one in value]
        elif key in _SCHEMAS:
            result[key] = json_schema(value)
        else:
            result[key] = value
    properties = result.get("properties")
    if isinstance(properties, dict):
        marked = {n: one.pop("required") for n, one in properties.items() if _marks_required(one)}
        if marked:
            listed = result.get("required") if isinstance(result.get("required"), list) else []
            result["required"] = [*(listed or []), *(n for n in marked if marked[n] and n not in (listed or []))]
    return result


def accepted_value(value: Any, schema: Any) -> Any:
    """Return a gold value in BFCL's form: each key of an object has a list of accepted values.

    A scalar written as another type than its schema's, such as the number "12" in quotes, is converted where nothing
    is lost.

    >>> accepted_value({"size": "12"}, {"properties": {"size": {"type": "integer"}}})
    {'size': [12]}
    """
    schema = schema if isinstance(schema, dict) else {}
    if isinstance(value, dict):
        properties = schema.get("properties") or {}
        return {key: [accepted_value(one, properties.get(key))] for key, one in value.items()}
    if isinstance(value, list):
        return [accepted_value(one, schema.get("items")) for one in value]
    return _as_type(value, schema.get("type"))


def accepted_arguments(arguments: Mapping[str, Any], tool: ToolSpec) -> dict[str, tuple[Any, ...]]:
    """Return the accepted values of each argument of a call that gives one value each; see `accepted_value`."""
    return {name: (accepted_value(value, tool.arguments.get(name)),) for name, value in arguments.items()}


def plain_value(value: Any, schema: Any) -> Any:
    """Return a gold value with its scalars converted to the types of its schema; see `accepted_value`."""
    schema = schema if isinstance(schema, dict) else {}
    if isinstance(value, dict):
        properties = schema.get("properties") or {}
        return {key: plain_value(one, properties.get(key)) for key, one in value.items()}
    if isinstance(value, list):
        return [plain_value(one, schema.get("items")) for one in value]
    return _as_type(value, schema.get("type"))


def _as_type(value: Any, kind: Any) -> Any:
    if isinstance(value, str):
        text = value.strip()
        if kind in ("integer", "number") and _NUMBER.fullmatch(text):
            number = float(text)
            if re.fullmatch(r"[+-]?\d+", text):
                return int(text)
            return int(number) if kind == "integer" and number.is_integer() else number
        if kind == "boolean" and text.lower() in ("true", "false"):
            return text.lower() == "true"
    elif isinstance(value, float) and kind == "integer" and value.is_integer():
        return int(value)
    elif isinstance(value, int | float) and not isinstance(value, bool) and kind == "string":
        return str(value)
    return value


def _json_type(name: str) -> str | None:
    return _JSON_TYPES.get(name.strip().lower(), name)


def _is_strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _marks_required(schema: Any) -> bool:
    return isinstance(schema, dict) and isinstance(schema.get("required"), bool)
