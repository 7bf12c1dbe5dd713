"""`bounded`: a JSON schema rewritten so that a grammar takes it and every value it allows is of bounded length."""

import json
import math
import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import product
from typing import Any
from urllib.parse import unquote

from llguidance import LLMatcher

from toolken.agents.grammar.schema_check import is_valid

#: Bounds that apply where a schema gives none: characters of a string, items of an array, keys of a map.
MAX_STRING, MAX_ITEMS, MAX_KEYS = 200, 16, 16
#: Items and keys inside an array or map.
MAX_INNER = 8
#: Characters of a map's key.
MAX_KEY = 40
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
#: What people write of some formats: no fractions of a second, and mail addresses with a domain.
USUAL = {
    "time": "^[0-9:Z+-]*$",
    "date-time": "^[0-9:TZ+-]*$",
    "email": r"^[A-Za-z0-9_%+-]+(\.[A-Za-z0-9_%+-]+)*@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+$",
    "uri": r"^[a-z][a-z0-9+.-]{0,12}:[!-~]+$",
}
#: The key of a map whose schema does not restrict keys.
KEY = r'^[^\s"\\\x00-\x1f]([^"\\\x00-\x1f]{0,30}[^\s"\\\x00-\x1f])?$'
#: The automaton of a larger `multipleOf` is too large; such a step is left to validation.
MAX_STEP = 1000
#: How often a recursive schema may contain itself; more is tried only where less allows no value.
DEPTHS = (3, 6, 12)
#: Combinations of `anyOf` branches that are written out.
MAX_BRANCHES = 64

OVERRIDES: Any = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": ", "lenient": True}

_TYPES = ("string", "integer", "number", "boolean", "null", "array", "object")
#: The keywords that say something about values of one type, by that type.
_BY_TYPE = {
    "string": ("minLength", "maxLength", "pattern", "format"),
    "integer": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    "array": ("items", "prefixItems", "minItems", "maxItems", "uniqueItems", "contains"),
    "object": ("properties", "required", "additionalProperties", "patternProperties", "maxProperties", "minProperties"),
}
_LARGEST = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_SMALLEST = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
#: Keywords of a scalar in the order in which they are dropped where the grammar backend does not take them.
_DROPPED_FIRST = ("pattern", "format", "multipleOf", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")

Schema = dict[str, Any]


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
    """Rewrites the parts of one JSON schema.

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
        """Return the bounded form of a part of the root; None where no value passes it."""
        for depth in DEPTHS:
            self._names, self._definitions = {}, {}
            found = self._bounded(schema, depth, level)
            if found is not None:
                kept = {name: one for name, one in self._definitions.items() if one is not None}
                return found | {"$defs": kept} if kept else found
        return None

    def _bounded(self, schema: Any, depth: int, level: int) -> Schema | None:
        """Bound a schema inside `level` arrays and objects, with `depth` recursive references left to follow."""
        if isinstance(schema, dict) and "$ref" in schema and not _says_more(schema):
            return self._reference(schema["$ref"], depth, level)
        branches = [
            one
            for branch, left in self._branches(schema, depth)
            for kind in _kinds(branch)
            # A schema that allows everything does not nest without an end.
            if level < 2 or _says_more(branch) or kind not in ("array", "object")
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
        # A reference that leads back to itself without a value in between allows nothing.
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
            waiting = list(_references(self._target(reference)))
            while waiting:
                one = waiting.pop()
                if one not in seen:
                    seen.add(one)
                    waiting += _references(self._target(one))
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
        if len(choices) == 1 and not _says_more(plain):
            yield from choices[0]
            return
        for number, combination in enumerate(product(*choices)):
            if number == MAX_BRANCHES:
                return
            whole: Schema | None = plain
            for part, _ in combination:
                whole = None if whole is None else _both(whole, part)
            if whole is not None:
                yield whole, min([depth, *(left for _, left in combination)])

    def _of_kind(self, kind: str, schema: Schema, depth: int, level: int) -> Schema | None:
        """Bound the values of one type among those that a schema allows."""
        values = schema.get("enum")
        if "const" in schema:
            values = [schema["const"]]
        if isinstance(values, list):
            mine = [one for one in values if _kind_of(one) == kind]
            narrow = any(key in schema for keys in _BY_TYPE.values() for key in keys)
            plain = {key: value for key, value in schema.items() if key not in ("enum", "const")}
            fitting = [one for one in mine if not narrow or is_valid({**self._root, **plain}, one)] if mine else []
            return {"enum": fitting} if fitting else None
        if kind == "array":
            return self._array(schema, depth, level)
        if kind == "object":
            return self._object(schema, depth, level)
        group = "integer" if kind == "number" else kind
        scalar = {key: schema[key] for key in _BY_TYPE.get(group, ()) if schema.get(key) is not None}
        if kind == "string":
            return _string(scalar, self._longest)
        if group == "integer":
            return _number(kind, scalar)
        return {"type": kind}

    def _array(self, schema: Schema, depth: int, level: int) -> Schema | None:
        least = _count(schema.get("minItems"), 0)
        most = _count(schema.get("maxItems"), max(MAX_INNER if level > 1 else MAX_ITEMS, least))
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
        least = _count(schema.get("minProperties"), 0)
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
            least, most = _count(key.get("minLength"), 1), _count(key.get("maxLength"), MAX_KEY)
            pattern = f'^[^\\s"\\\\\\x00-\\x1f]{{{least},{max(least, min(most, MAX_KEY))}}}$'
        by_key = schema.get("patternProperties") or {pattern: value}
        allowed = {}
        for pattern, one in by_key.items():
            bounded = self._bounded(one, depth, level + 1)
            short = _short_key(pattern)
            if bounded is not None:
                allowed[short or KEY] = bounded
        if len(allowed) != 1:
            allowed = dict(list(allowed.items())[:1])  # patterns that overlap would give one key two schemas
        if allowed:
            named, most = len(result["properties"]), MAX_INNER if level > 1 else MAX_KEYS
            result["patternProperties"] = allowed
            least = _count(schema.get("minProperties"), 0)
            result["minProperties"] = least
            result["maxProperties"] = _count(schema.get("maxProperties"), max(named + most, least))


def _string(keywords: Schema, longest: int) -> Schema | None:
    least, form = _count(keywords.get("minLength"), 0), keywords.get("format")
    bound = longest if "pattern" not in keywords else MAX_STRING
    result: Schema = {"type": "string", **keywords, "minLength": least}
    if isinstance(form, str):
        bound = MAX_FORMAT.get(form, bound)
        if form in USUAL:
            result.setdefault("pattern", USUAL[form])
    result["maxLength"] = most = _count(keywords.get("maxLength"), max(bound, least))
    if least > most:
        return None
    if "maxLength" not in keywords and "pattern" in keywords and not _compiles(json.dumps(result)):
        # A pattern may need more than the default bound.
        free = {key: value for key, value in result.items() if key != "maxLength"}
        if _compiles(json.dumps(free)):
            return free
    return _compilable(result)


def _number(kind: str, keywords: Schema) -> Schema | None:
    numeric = {key: value for key, value in keywords.items() if _is_number(value)}
    result: Schema = {"type": kind, **numeric}
    if not 0 < result.get("multipleOf", 0) <= MAX_STEP:
        result.pop("multipleOf", None)
    for bound, exclusive, sign in (("minimum", "exclusiveMinimum", -1), ("maximum", "exclusiveMaximum", 1)):
        # A bound beyond the exact integers is replaced by theirs, unless the other bound excludes them.
        for key in (bound, exclusive):
            if key in result and sign * result[key] > MAX_INTEGER:
                del result[key]
        if not {bound, exclusive} & result.keys():
            other = [result[key] for key in _LARGEST[:2] + _SMALLEST[:2] if key in result]
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
    low = max([keywords[key] for key in _LARGEST[:2] if key in keywords], default=-float("inf"))
    high = min([keywords[key] for key in _SMALLEST[:2] if key in keywords], default=float("inf"))
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
    """Drop keywords of a scalar until the grammar backend takes it."""
    if _compiles(json.dumps(scalar)):
        return scalar
    # One keyword is at fault as a rule; together they go in the order of how little they say.
    for key in _DROPPED_FIRST:
        if key in scalar and _compiles(json.dumps(less := {k: v for k, v in scalar.items() if k != key})):
            return less
    left = dict(scalar)
    for key in _DROPPED_FIRST:
        left.pop(key, None)
        if _compiles(json.dumps(left)):
            return left
    return {"type": scalar["type"]}


@lru_cache(maxsize=4096)
def _compiles(schema: str) -> bool:
    error = LLMatcher.validate_grammar(LLMatcher.grammar_from_json_schema(schema, overrides=OVERRIDES))
    return not error


@lru_cache(maxsize=256)
def _short_key(pattern: str) -> str | None:
    """Return a pattern of keys without open repetitions; None where the grammar backend does not take it."""
    bounded = "".join(_closed_repetitions(pattern))
    for one in (bounded, pattern):
        probe = {"type": "object", "patternProperties": {one: {"type": "null"}}, "additionalProperties": False}
        if _compiles(json.dumps(probe)):
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


def _both(one: Schema, other: Schema) -> Schema | None:
    """Return the conjunction of two schemas without `$ref` and alternatives; None where nothing can pass both."""
    result = {**one, **other}
    for key in one.keys() & other.keys():
        mine, theirs = one[key], other[key]
        if key == "type":
            kinds = [kind for kind in _kinds(one) if kind in _kinds(other)]
            if not kinds:
                return None
            result[key] = kinds
        elif key in _LARGEST and _is_number(mine) and _is_number(theirs):
            result[key] = max(mine, theirs)
        elif key in _SMALLEST and _is_number(mine) and _is_number(theirs):
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


def _says_more(schema: Schema) -> bool:
    """Tell whether a schema has keywords that restrict values, besides a reference."""
    known = {"type", "enum", "const", "allOf", "anyOf", "oneOf", "not"}.union(*_BY_TYPE.values())
    return bool(schema.keys() & known)


def _kinds(schema: Schema) -> list[str]:
    """Return the types that a schema allows, in the order in which it names them."""
    kinds = schema.get("type")
    if kinds is None:
        if {"properties", "required", "additionalProperties"} & schema.keys():
            return ["object"]
        return [kind for kind in _TYPES if kind != "integer"] if "enum" not in schema else list(_TYPES)
    named = [kinds] if isinstance(kinds, str) else [kind for kind in kinds if isinstance(kind, str)]
    if ("enum" in schema or "const" in schema) and "number" in named:
        named.append("integer")
    # A type that JSON Schema does not know restricts nothing that could be written.
    return list(dict.fromkeys(kind for kind in named if kind in _TYPES)) or list(_TYPES[:1])


def _kind_of(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return "null" if value is None else "boolean"
    for kind, cls in (("integer", int), ("number", float), ("string", str), ("array", list)):
        if isinstance(value, cls):
            return kind
    return "object"


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, list):
        for one in schema:
            yield from _references(one)
    elif isinstance(schema, dict):
        for key, value in schema.items():
            if key == "$ref" and isinstance(value, str):
                yield value
            elif key not in ("$defs", "definitions", "enum", "const", "default", "examples"):
                yield from _references(value)


def _same(one: Any, other: Any) -> bool:
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _count(value: Any, otherwise: int) -> int:
    return int(value) if _is_number(value) and value >= 0 else otherwise


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
