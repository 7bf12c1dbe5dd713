"""`bounded`: a JSON schema rewritten so that a grammar takes it and every value it allows is of bounded length."""

import json
import re
from collections.abc import Iterator
from itertools import product
from typing import Any
from urllib.parse import unquote

from toolken.agents.grammar.bounded_scalars import (
    MAX_KEY,
    MAX_STRING,
    bounded_number,
    bounded_string,
    closed_pattern,
)
from toolken.agents.grammar.schema_check import is_valid
from toolken.agents.grammar.schema_keywords import (
    KEYWORDS,
    Schema,
    conjunction,
    count,
    kind_of,
    kinds_of,
    references,
    restricts,
)

#: Bounds that apply where a schema gives none: items of an array, keys of a map.
MAX_ITEMS, MAX_KEYS = 16, 16
#: Items and keys inside an array or map.
MAX_INNER = 8
#: The key of a map whose schema does not restrict keys.
KEY = r'^[^\s"\\\x00-\x1f]([^"\\\x00-\x1f]{0,30}[^\s"\\\x00-\x1f])?$'
#: How often a recursive schema may contain itself; more is tried only where less allows no value.
DEPTHS = (3, 6, 12)
#: Combinations of `anyOf` branches that are written out.
MAX_BRANCHES = 64


class ImpossibleSchemaError(ValueError):
    """No value satisfies a schema, or none of bounded size."""


def bounded(
    schema: Any, longest: int = MAX_STRING, *, arguments: bool = False, root: Schema | None = None
) -> dict[str, Any]:
    """Return a JSON schema that admits only values of bounded length.

    Bounds that the schema gives are kept, and references are expanded to a bounded depth. What the grammar compiler
    does not know is dropped, keyword by keyword: the finished value has to be validated against the original schema.

    Parameters
    ----------
    schema
        The schema.
    longest
        Length of a string without `maxLength`, in characters.
    arguments
        Whether it is the object of a tool's arguments, which takes no keys besides those that its schema names.
    root
        The schema in which references are resolved; by default `schema`.

    Raises
    ------
    ImpossibleSchemaError
        If no value satisfies the schema; of an object's property, the message names it.
    """
    whole = schema if root is None else root
    bounder = _Bounder(whole if isinstance(whole, dict) else {}, longest)
    found = bounder.of(schema, 0 if arguments else 1)
    if found is not None:
        return found
    if isinstance(schema, dict):
        for name in schema.get("required") or []:
            if name in (schema.get("properties") or {}) and bounder.of(schema["properties"][name], 1) is None:
                raise ImpossibleSchemaError(f"no value passes the schema of the required property {name!r}")
    raise ImpossibleSchemaError("no value passes the schema")


class _Bounder:
    """Bounds the parts of one JSON schema.

    What a grammar cannot express is relaxed: the finished value has to be validated against the original. A schema
    that refers to itself is unrolled to a bounded depth.

    Parameters
    ----------
    root
        The whole schema, to which its references point.
    longest
        Characters of a string whose schema gives no bound.
    """

    def __init__(self, root: Schema, longest: int = MAX_STRING) -> None:
        self._root = root
        self._longest = longest
        self._recursive: dict[str, bool] = {}
        self._names: dict[tuple[str, int, int], str] = {}
        self._definitions: dict[str, Schema | None] = {}

    def of(self, schema: Any, level: int) -> Schema | None:
        """Return the bounded form of a part of the root; None if no value satisfies it."""
        for depth in DEPTHS:
            self._names, self._definitions = {}, {}
            found = self._bounded(schema, depth, level)
            if found is not None:
                kept = {name: one for name, one in self._definitions.items() if one is not None}
                return found | {"$defs": kept} if kept else found
        return None

    def _bounded(self, schema: Any, depth: int, level: int) -> Schema | None:
        """Bound a schema inside `level` arrays and objects, with `depth` recursive references left to follow."""
        if isinstance(schema, dict) and "$ref" in schema and not restricts(schema):
            return self._reference(schema["$ref"], depth, level)
        branches = [
            one
            for branch, left in self._branches(schema, depth)
            for kind in kinds_of(branch)
            # A schema that allows everything would nest without end.
            if level < 2 or restricts(branch) or kind not in ("array", "object")
            if (one := self._of_kind(kind, branch, left, level)) is not None
        ]
        distinct = list({json.dumps(one): one for one in branches}.values())
        if len(distinct) < 2:
            return distinct[0] if distinct else None
        return {"anyOf": distinct}

    def _reference(self, reference: str, depth: int, level: int) -> Schema | None:
        if self._is_recursive(reference):
            depth -= 1
        if depth < 0:
            return None
        key = (reference, depth, min(level, 2))
        if key not in self._names:
            self._names[key] = name = f"d{len(self._names)}"
            self._definitions[name] = self._bounded(self._target(reference), depth, level)
        name = self._names[key]
        # A reference that leads back to itself without a value in between allows no value.
        return {"$ref": f"#/$defs/{name}"} if self._definitions.get(name) is not None else None

    def _target(self, reference: Any) -> Any:
        """Return the schema that a reference points to; one outside the document allows everything."""
        found: Any = self._root
        if not isinstance(reference, str) or not (reference + "/").startswith("#/"):
            return {}
        for step in reference[1:].split("/")[1:]:
            step = unquote(step).replace("~1", "/").replace("~0", "~")
            if isinstance(found, list) and step.isdigit() and int(step) < len(found):
                found = found[int(step)]
            elif isinstance(found, dict) and step in found:
                found = found[step]
            else:
                return {}
        return found

    def _is_recursive(self, reference: str) -> bool:
        """Tell whether following a reference can lead to the same reference."""
        if reference not in self._recursive:
            seen: set[str] = set()
            waiting = list(references(self._target(reference)))
            while waiting:
                one = waiting.pop()
                if one not in seen:
                    seen.add(one)
                    waiting += references(self._target(one))
            self._recursive[reference] = reference in seen
        return self._recursive[reference]

    def _branches(self, schema: Any, depth: int) -> Iterator[tuple[Schema, int]]:
        """Yield schemas without `$ref`, `allOf`, `anyOf` and `oneOf` that together allow what `schema` allows."""
        if schema is False:
            return
        if not isinstance(schema, dict):
            yield {}, depth
            return
        if schema.get("not") in ({}, True):
            return
        parts: list[Any] = list(schema.get("allOf") or [])
        if "$ref" in schema:
            depth -= self._is_recursive(schema["$ref"])
            if depth < 0:
                return
            parts.append(self._target(schema["$ref"]))
        plain = {key: value for key, value in schema.items() if key not in ("allOf", "anyOf", "oneOf", "$ref", "not")}
        choices = [list(self._branches(part, depth)) for part in parts]
        for key in ("anyOf", "oneOf"):
            if isinstance(schema.get(key), list):
                choices += [[one for part in schema[key] for one in self._branches(part, depth)]]
        if len(choices) == 1 and not restricts(plain):
            yield from choices[0]
            return
        for number, combination in enumerate(product(*choices)):
            if number == MAX_BRANCHES:
                return
            whole: Schema | None = plain
            for part, _ in combination:
                whole = None if whole is None else conjunction(whole, part)
            if whole is not None:
                yield whole, min([depth, *(left for _, left in combination)])

    def _of_kind(self, kind: str, schema: Schema, depth: int, level: int) -> Schema | None:
        """Bound the values of one type among those that a schema allows."""
        values = schema.get("enum")
        if "const" in schema:
            values = [schema["const"]]
        if isinstance(values, list):
            mine = [one for one in values if kind_of(one) == kind]
            narrow = any(key in schema for keys in KEYWORDS.values() for key in keys)
            plain = {key: value for key, value in schema.items() if key not in ("enum", "const")}
            fitting = [one for one in mine if not narrow or is_valid({**self._root, **plain}, one)] if mine else []
            return {"enum": fitting} if fitting else None
        if kind == "array":
            return self._array(schema, depth, level)
        if kind == "object":
            return self._object(schema, depth, level)
        group = "integer" if kind == "number" else kind
        scalar = {key: schema[key] for key in KEYWORDS.get(group, ()) if schema.get(key) is not None}
        if kind == "string":
            return bounded_string(scalar, self._longest)
        if group == "integer":
            return bounded_number(kind, scalar)
        return {"type": kind}

    def _array(self, schema: Schema, depth: int, level: int) -> Schema | None:
        least = count(schema.get("minItems"), 0)
        most = count(schema.get("maxItems"), max(MAX_INNER if level > 1 else MAX_ITEMS, least))
        first = [self._bounded(one, depth, level + 1) for one in schema.get("prefixItems") or []]
        item = self._bounded(schema.get("items", not first), depth, level + 1)
        fixed = first.index(None) if None in first else len(first)
        if None in first or item is None:
            most = min(most, fixed)
        if schema.get("uniqueItems") and item is not None and not first and "enum" in item:
            most = min(most, len(item["enum"]))
        if schema.get("contains") not in (None, False) and not least:
            least = 1
        if least > most:
            return None
        result: Schema = {
            "type": "array",
            "minItems": least,
            "maxItems": most,
            "items": False if item is None else item,
        }
        if first:
            result["prefixItems"] = first[:fixed]
        return result

    def _object(self, schema: Schema, depth: int, level: int) -> Schema | None:
        given = schema.get("properties") or {}
        required = [name for name in schema.get("required") or [] if isinstance(name, str)]
        other = schema.get("additionalProperties")
        missing = {name: {} if other is None else other for name in required if name not in given}
        properties: Schema = {}
        for name, argument in (given | missing).items():
            bounded = self._bounded(argument, depth, level + 1)
            if bounded is not None:
                properties[name] = bounded
            elif name in required:
                return None
        least = count(schema.get("minProperties"), 0)
        if other is False or given:  # enough keys: the first ones that the schema names
            required += [name for name in properties if name not in required][: max(least - len(set(required)), 0)]
        result: Schema = {"type": "object", "properties": properties, "required": list(dict.fromkeys(required))}
        result["additionalProperties"] = False
        patterns = schema.get("patternProperties") or {}
        # An object that declares no property is a map; any other one takes further keys only if their schema is given.
        is_open = not given and level and other is not False if other in (None, True, {}) else other is not False
        if patterns or is_open:
            self._add_keys(result, schema, {} if other in (None, True) else other, depth, level)
        most = len(properties) if "patternProperties" not in result else result["maxProperties"]
        return result if least <= most else None

    def _add_keys(self, result: Schema, schema: Schema, value: Any, depth: int, level: int) -> None:
        """Let an object have a bounded number of keys that its schema does not name."""
        names = schema.get("propertyNames")
        key = names if isinstance(names, dict) else {}
        pattern = key.get("pattern") if isinstance(key.get("pattern"), str) else KEY
        if pattern is KEY and isinstance(key.get("enum"), list):
            pattern = f"^({'|'.join(re.escape(str(one)) for one in key['enum'])})$"
        elif pattern is KEY and {"minLength", "maxLength"} & key.keys():
            least, most = count(key.get("minLength"), 1), count(key.get("maxLength"), MAX_KEY)
            pattern = f'^[^\\s"\\\\\\x00-\\x1f]{{{least},{max(least, min(most, MAX_KEY))}}}$'
        by_key = schema.get("patternProperties") or {pattern: value}
        allowed = {}
        for pattern, one in by_key.items():
            bounded = self._bounded(one, depth, level + 1)
            short = closed_pattern(pattern)
            if bounded is not None:
                allowed[short or KEY] = bounded
        if len(allowed) != 1:
            allowed = dict(list(allowed.items())[:1])  # patterns that overlap would give one key two schemas
        if allowed:
            named, most = len(result["properties"]), MAX_INNER if level > 1 else MAX_KEYS
            result["patternProperties"] = allowed
            least = count(schema.get("minProperties"), 0)
            result["minProperties"] = least
            result["maxProperties"] = count(schema.get("maxProperties"), max(named + most, least))
