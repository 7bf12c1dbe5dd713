"""`bounded`: a JSON schema whose every value has a bounded length, in keywords that the grammar compiler knows."""

import math
import re
from collections.abc import Mapping
from typing import Any, TypeGuard

from toolken.agents.grammar.schema_check import is_valid

#: Lengths in characters of a string without a `maxLength`, at most; strings of a schema share the token budget.
MAX_STRING = 200
#: Items of an array, and keys of a map, whose schema gives no bound.
MAX_ITEMS, MAX_KEYS = 16, 8
#: Every whole number up to here is exact in the JSON of languages without integers (RFC 8259, section 6).
MAX_INTEGER = 2**53 - 1
#: Bound and resolution of a number without bounds: a grammar admits endless digits otherwise.
MAX_NUMBER, RESOLUTION = 1e15, 1e-6
#: How often a schema may contain itself, and the number of nodes above which it may do so less often.
MAX_RECURSION, MAX_NODES = 2, 5000

#: Lengths of formatted strings in characters, at most.
FORMATS = {
    "date": 10,
    "time": 14,
    "date-time": 25,
    "duration": 16,
    "email": 64,
    "idn-email": 64,
    "hostname": 64,
    "ipv4": 15,
    "ipv6": 45,
    "uuid": 36,
    "uri": 120,
    "iri": 120,
    "uri-reference": 120,
}
#: Patterns that restrict formats to what people write: no fractions of a second, and mail addresses with a domain.
USUAL = {
    "time": "^[0-9:Z+-]*$",
    "date-time": "^[0-9:TZ+-]*$",
    "email": r"^[A-Za-z0-9_%+-]+(\.[A-Za-z0-9_%+-]+)*@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+$",
    "uri": r"^[a-z][a-z0-9+.-]{0,12}:[!-~]+$",
}
#: The key of a map whose schema does not restrict keys.
KEY = r'^[^\s"\\\x00-\x1f]([^"\\\x00-\x1f]{0,30}[^\s"\\\x00-\x1f])?$'

#: Keywords from which the type of a schema without `type` follows.
_IMPLIED = {
    "object": {"properties", "required", "additionalProperties", "patternProperties", "propertyNames", "minProperties"},
    "array": {"items", "prefixItems", "minItems", "maxItems", "contains"},
    "string": {"minLength", "maxLength", "pattern", "format"},
    "number": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"},
}
_TYPES = ("string", "number", "integer", "boolean", "null", "array", "object")
_BRANCHES = ("anyOf", "oneOf")
_QUANTIFIER = re.compile(r"\\.|\[(?:\\.|[^\]])*\]|[+*]|\{\d+,\}")


class ImpossibleSchemaError(ValueError):
    """No value satisfies a schema, or none of bounded size."""


def bounded(
    schema: Any, longest: int = MAX_STRING, *, exact: bool = True, arguments: bool = False, root: Any = None
) -> dict[str, Any]:
    """Return a JSON schema that admits only values of bounded length.

    References are expanded, so that a recursive schema gets a bounded depth. Bounds that the schema gives are kept.
    Keywords that no grammar knows are dropped: the finished value has to be validated against the original schema.

    Parameters
    ----------
    schema
        The schema.
    longest
        Length of a string without `maxLength`, in characters.
    exact
        Whether keywords that only narrow values down are kept. The grammar compiler does not know every pattern.
    arguments
        Whether it is the object of a tool's arguments, which takes no other keys than its properties.
    root
        The schema in which references are resolved; by default `schema`.

    Raises
    ------
    ImpossibleSchemaError
        If no value satisfies the schema; the message names the place.
    """
    for recursion in range(MAX_RECURSION, 0, -1):
        found = _Bounder(schema if root is None else root, longest, exact, recursion).value(schema, arguments=arguments)
        if _nodes(found) <= MAX_NODES:
            break
    return found


class _Bounder:
    """Bounds one schema; `place` names the value in messages, and `inside` lists the references it is part of."""

    def __init__(self, root: Any, longest: int, exact: bool, recursion: int) -> None:
        self._root, self._longest, self._exact, self._recursion = root, longest, exact, recursion

    def value(
        self, schema: Any, place: str = "", inside: tuple[str, ...] = (), *, arguments: bool = False
    ) -> dict[str, Any]:
        if schema is False:
            raise ImpossibleSchemaError(f"{place or 'the schema'} admits no value")
        given: dict[str, Any] = dict(schema) if isinstance(schema, dict) else {}
        while "$ref" in given:
            reference = str(given.pop("$ref"))
            if inside.count(reference) >= self._recursion:
                raise ImpossibleSchemaError(f"{place or 'the schema'} contains itself without an end")
            inside = (*inside, reference)
            target = self._resolved(reference)
            if target is False:
                raise ImpossibleSchemaError(f"{place or 'the schema'} admits no value")
            given = {**(target if isinstance(target, dict) else {}), **given}
        for part in _list(given.pop("allOf", None)):
            given = self._both(given, part, place, inside)
        for key in _BRANCHES:
            if branches := _list(given.pop(key, None)):
                return self._one_of([given | one if isinstance(one, dict) else one for one in branches], place, inside)
        if "const" in given:
            return {"const": given["const"]}
        if "enum" in given:
            return self._enumeration(given, place)
        if given.pop("nullable", False) is True:
            return self._one_of([given, {"type": "null"}], place, inside)
        kind = given.get("type")
        if isinstance(kind, list):
            return self._one_of([given | {"type": one} for one in kind], place, inside)
        if kind is None:
            kind = next((one for one, keys in _IMPLIED.items() if keys & given.keys()), None)
        match kind:
            case None:
                return self._anything(place)
            case "string":
                return self._string(given)
            case "integer":
                return self._integer(given, place)
            case "number":
                return self._number(given, place)
            case "array":
                return self._array(given, place, inside)
            case "object":
                return self._object(given, place, inside, arguments)
            case "boolean" | "null":
                return {"type": kind}
            case _:
                raise ImpossibleSchemaError(f"{place or 'the schema'} has the unknown type {kind!r}")

    def _resolved(self, reference: str) -> Any:
        found = self._root
        path = reference.removeprefix("#").strip("/")
        for key in path.split("/") if path else []:
            key = key.replace("~1", "/").replace("~0", "~")
            if not reference.startswith("#") or not isinstance(found, Mapping) or key not in found:
                raise ImpossibleSchemaError(f"the reference {reference!r} leads nowhere")
            found = found[key]
        return found

    def _both(self, one: dict[str, Any], other: Any, place: str, inside: tuple[str, ...]) -> dict[str, Any]:
        """Return the conjunction of two schemas; keywords of both are combined where they are bounds or properties."""
        if other is False:
            raise ImpossibleSchemaError(f"{place or 'the schema'} admits no value")
        if not isinstance(other, dict):
            return one
        other = dict(other)
        while "$ref" in other:
            reference = str(other.pop("$ref"))
            if inside.count(reference) >= self._recursion:
                raise ImpossibleSchemaError(f"{place or 'the schema'} contains itself without an end")
            target = self._resolved(reference)
            other = {**(target if isinstance(target, dict) else {}), **other}
        joined = {**one, **other}
        for key in one.keys() & other.keys():
            mine, theirs = one[key], other[key]
            if key in ("properties", "patternProperties") and isinstance(mine, dict) and isinstance(theirs, dict):
                joined[key] = {**mine, **theirs}
            elif key in ("required", "allOf") and isinstance(mine, list) and isinstance(theirs, list):
                joined[key] = [*mine, *theirs]
            elif key == "enum" and isinstance(mine, list) and isinstance(theirs, list):
                joined[key] = [value for value in mine if value in theirs]
            elif key.startswith(("min", "exclusiveMin")) and _is_number(mine) and _is_number(theirs):
                joined[key] = max(mine, theirs)
            elif key.startswith(("max", "exclusiveMax")) and _is_number(mine) and _is_number(theirs):
                joined[key] = min(mine, theirs)
        for part in _list(joined.pop("allOf", None)):
            joined = self._both(joined, part, place, inside)
        return joined

    def _one_of(self, branches: list[Any], place: str, inside: tuple[str, ...]) -> dict[str, Any]:
        found: list[dict[str, Any]] = []
        reason = f"{place or 'the schema'} admits no value"
        for branch in branches:
            try:
                one = self.value(branch, place, inside)
            except ImpossibleSchemaError as error:
                reason = str(error)
                continue
            found += [one] if one not in found else []
        if not found:
            raise ImpossibleSchemaError(reason)
        # `oneOf` becomes `anyOf`: whether exactly one branch holds is a question for the finished value.
        return found[0] if len(found) == 1 else {"anyOf": found}

    def _enumeration(self, given: dict[str, Any], place: str) -> dict[str, Any]:
        values = _list(given["enum"])
        rest = {key: value for key, value in given.items() if key != "enum"}
        kept = [value for value in values if is_valid(rest, value)] if rest else values
        if not kept:
            raise ImpossibleSchemaError(f"the enumeration of {place or 'the schema'} has no value that is allowed")
        return {"enum": kept}

    def _anything(self, place: str, *, nested: bool = True) -> dict[str, Any]:
        scalars = [self._string({}), self._number({}, place), {"type": "boolean"}, {"type": "null"}]
        if not nested:
            return {"anyOf": scalars}
        inner = self._anything(place, nested=False)
        return {"anyOf": [*scalars, {"type": "array", "items": inner, "maxItems": MAX_ITEMS}, _map(KEY, inner, {})]}

    def _string(self, given: dict[str, Any]) -> dict[str, Any]:
        least = _whole(given.get("minLength")) or 0
        most = _whole(given.get("maxLength"))
        found: dict[str, Any] = {"type": "string"}
        if least:
            found["minLength"] = least
        form, pattern = given.get("format"), given.get("pattern")
        default = self._longest
        if self._exact and isinstance(pattern, str):
            found["pattern"], default = pattern, MAX_STRING
        if self._exact and form in FORMATS:
            found["format"], default = form, FORMATS[form]
            if "pattern" not in found and form in USUAL:
                found["pattern"] = USUAL[form]
        return found | {"maxLength": max(default, least) if most is None else most}

    def _integer(self, given: dict[str, Any], place: str) -> dict[str, Any]:
        low, high = _bounds(given)
        least = math.ceil(max(low[0], -MAX_INTEGER)) if math.isfinite(low[0]) else -MAX_INTEGER
        most = math.floor(min(high[0], MAX_INTEGER)) if math.isfinite(high[0]) else MAX_INTEGER
        least += low[1] and least == low[0]
        most -= high[1] and most == high[0]
        if low[0] > MAX_INTEGER or high[0] < -MAX_INTEGER:
            return {"const": int(low[0] if low[0] > MAX_INTEGER else high[0])}
        if least > most:
            raise ImpossibleSchemaError(f"{place or 'the schema'} admits no whole number")
        found: dict[str, Any] = {"type": "integer", "minimum": least, "maximum": most}
        step = given.get("multipleOf")
        if self._exact and _is_number(step) and step > 0 and float(step).is_integer():
            found["multipleOf"] = int(step)
        return found

    def _number(self, given: dict[str, Any], place: str) -> dict[str, Any]:
        low, high = _bounds(given)
        if low[0] > high[0] or (low[0] == high[0] and (low[1] or high[1])):
            raise ImpossibleSchemaError(f"{place or 'the schema'} admits no number")
        found: dict[str, Any] = {"type": "number"}
        least, most = max(low[0], -MAX_NUMBER), min(high[0], MAX_NUMBER)
        if least > most:  # beyond the bound: the schema's own bounds are all there is
            least, most = low[0], high[0]
        if math.isfinite(least):
            found["exclusiveMinimum" if low[1] and least == low[0] else "minimum"] = least
        if math.isfinite(most):
            found["exclusiveMaximum" if high[1] and most == high[0] else "maximum"] = most
        step = given.get("multipleOf")
        if self._exact and _is_number(step) and step > 0:
            found["multipleOf"] = step
        elif most - least >= 1000 * RESOLUTION:
            found["multipleOf"] = RESOLUTION
        return found

    def _array(self, given: dict[str, Any], place: str, inside: tuple[str, ...]) -> dict[str, Any]:
        items, first = given.get("items", True), _list(given.get("prefixItems"))
        if isinstance(items, list):  # a tuple before draft 2020-12
            items, first = given.get("additionalItems", True), items
        least = _whole(given.get("minItems")) or 0
        most = _whole(given.get("maxItems"))
        most = max(MAX_ITEMS, least, len(first)) if most is None else most
        found: dict[str, Any] = {"type": "array"}
        if first:
            found["prefixItems"] = [self.value(one, f"{place}[{at}]", inside) for at, one in enumerate(first)]
            least = max(least, len(first) if "minItems" not in given else least)
            if "items" not in given or isinstance(given["items"], list):
                items = given.get("additionalItems", False)
        try:
            found["items"] = self.value(items, f"{place}[]", inside)
        except ImpossibleSchemaError:
            most = min(most, len(first))
            found["items"] = False
        if least > most:
            raise ImpossibleSchemaError(f"{place or 'the schema'} needs {least} items and admits {most}")
        if not most:
            found = {"type": "array", "items": {"type": "null"}}
        return found | {"minItems": least, "maxItems": most}

    def _object(
        self, given: dict[str, Any], place: str, inside: tuple[str, ...], arguments: bool = False
    ) -> dict[str, Any]:
        declared = given.get("properties")
        declared = dict(declared) if isinstance(declared, dict) else {}
        required = [one for one in _list(given.get("required")) if isinstance(one, str)]
        others = given.get("additionalProperties", True)
        names = given.get("propertyNames")
        if not declared and isinstance(names, dict) and isinstance(names.get("enum"), list):
            declared = {str(name): others for name in names["enum"]}
            required += [name for name in declared if len(declared) <= (_whole(given.get("minProperties")) or 0)]
        for name in required:
            declared.setdefault(name, others)
        if not declared and not arguments and others is not False:
            return self._map(given, others, names, place, inside)
        properties: dict[str, Any] = {}
        for name, one in declared.items():
            try:
                properties[name] = self.value(one, f"{place}.{name}" if place else name, inside)
            except ImpossibleSchemaError:
                if name in required:
                    raise
        return {
            "type": "object",
            "properties": properties,
            "required": list(dict.fromkeys(required)),
            "additionalProperties": False,
        }

    def _map(
        self, given: dict[str, Any], others: Any, names: Any, place: str, inside: tuple[str, ...]
    ) -> dict[str, Any]:
        patterns = given.get("patternProperties")
        if self._exact and isinstance(patterns, dict) and patterns:
            pattern, others = next(iter(patterns.items()))
        else:
            pattern = names.get("pattern") if self._exact and isinstance(names, dict) else None
        key = _finite(pattern) if isinstance(pattern, str) else KEY
        if isinstance(names, dict) and key == KEY and (most := _whole(names.get("maxLength"))):
            key = KEY if most > 32 else f'^[^\\s"\\\\\\x00-\\x1f]{{1,{most}}}$'
        try:
            return _map(key, self.value(others, f"{place}{{}}", inside), given)
        except ImpossibleSchemaError:
            if _whole(given.get("minProperties")):
                raise
            return {"type": "object", "properties": {}, "additionalProperties": False}


def _map(key: str, value: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    least = _whole(given.get("minProperties")) or 0
    most = _whole(given.get("maxProperties"))
    return {
        "type": "object",
        "patternProperties": {key: value},
        "additionalProperties": False,
        "minProperties": least,
        "maxProperties": max(MAX_KEYS, least) if most is None else most,
    }


def _finite(pattern: str) -> str:
    """Return a pattern whose `+`, `*` and `{n,}` repeat at most 32 times."""

    def repeated(found: re.Match[str]) -> str:
        text = found[0]
        if text in "+*":
            return "{1,32}" if text == "+" else "{0,32}"
        return f"{text[:-1]}{max(32, int(text[1:-2]))}}}" if text.startswith("{") else text

    return _QUANTIFIER.sub(repeated, pattern)


def _bounds(given: dict[str, Any]) -> tuple[tuple[float, bool], tuple[float, bool]]:
    """Return the lower and the upper bound of a number, each with whether it is exclusive."""
    found = []
    for name, sign in (("Minimum", -1), ("Maximum", 1)):
        inclusive, exclusive = given.get(name.lower()), given.get(f"exclusive{name}")
        bounds = []
        if _is_number(inclusive):
            bounds.append((float(inclusive), exclusive is True))  # `true` is draft 4's form
        if _is_number(exclusive):
            bounds.append((float(exclusive), True))
        # The tighter bound counts, and of equal ones the exclusive one.
        found.append(min(bounds, key=lambda one: (sign * one[0], not one[1]), default=(sign * math.inf, False)))
    return found[0], found[1]


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)


def _whole(value: Any) -> int | None:
    """Return a length or count, None where the schema has none."""
    return max(int(value), 0) if _is_number(value) and math.isfinite(value) else None


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else []


def _nodes(schema: Any) -> int:
    if isinstance(schema, dict):
        return 1 + sum(map(_nodes, schema.values()))
    return 1 + sum(map(_nodes, schema)) if isinstance(schema, list) else 1
