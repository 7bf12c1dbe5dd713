"""JSON schemas as tools bring them, read in one dialect (draft 2020-12)."""

from typing import Any

#: Keywords whose value maps names to schemas, is one schema, or lists schemas.
_MAPS = ("properties", "$defs", "definitions", "patternProperties", "dependentSchemas")
_SCHEMAS = ("items", "additionalProperties", "propertyNames", "not", "if", "then", "else", "contains")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
#: Other keywords for which null means that they are absent.
_ABSENT_IF_NULL = (
    *("required", "type", "enum", "$ref", "pattern", "format", "multipleOf", "uniqueItems"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength"),
    *("minItems", "maxItems", "minProperties", "maxProperties"),
)


def normalized_schema(schema: Any) -> Any:
    """Return a schema in the form of draft 2020-12, with an object for every property's schema.

    A keyword that is null counts as absent. The schemas `true` and `false` of properties become `{}` and
    `{"not": {}}`. Draft 4's boolean `exclusiveMinimum` and the list form of `items` become their successors, as does
    OpenAPI's `nullable`.

    >>> normalized_schema({"properties": {"a": True}, "required": None})
    {'properties': {'a': {}}}
    >>> normalized_schema({"minimum": 1, "exclusiveMinimum": True})
    {'exclusiveMinimum': 1}
    """
    if not isinstance(schema, dict):
        return schema
    result: dict[str, Any] = {}
    for key, value in schema.items():
        if value is None and key in (*_MAPS, *_SCHEMAS, *_LISTS, *_ABSENT_IF_NULL):
            continue
        if key in _MAPS and isinstance(value, dict):
            result[key] = {name: _as_object(normalized_schema(one)) for name, one in value.items()}
        elif key in _SCHEMAS and isinstance(value, dict):
            result[key] = normalized_schema(value)
        elif key in _LISTS and isinstance(value, list):
            result[key] = [normalized_schema(one) for one in value]
        else:
            result[key] = value
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if isinstance(result.get(exclusive), bool):
            is_exclusive = result.pop(exclusive)
            if is_exclusive and bound in result:
                result[exclusive] = result.pop(bound)
    if result.get("nullable") is True and isinstance(result.get("type"), str):  # OpenAPI 3.0
        del result["nullable"]
        result["type"] = [result["type"], "null"]
    if isinstance(result.get("items"), list):
        result["prefixItems"] = [normalized_schema(one) for one in result.pop("items")]
        if "additionalItems" in result:
            result["items"] = normalized_schema(result.pop("additionalItems"))
    return result


def _as_object(schema: Any) -> Any:
    if schema is True:
        return {}
    return {"not": {}} if schema is False else schema
