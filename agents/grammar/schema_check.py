"""Checks of values against JSON schemas, with no network and no exception for a schema that is itself wrong."""

import json
from functools import lru_cache
from typing import Any

from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from referencing import Registry


def schema_problem(schema: dict[str, Any], value: Any) -> str | None:
    """Return why a value does not pass a schema, or None if it does or the schema checks nothing."""
    try:
        error = next(iter(_validator(json.dumps(schema)).iter_errors(value)), None)
    except Exception:  # a schema can be wrong in more ways than the library has names for
        return None
    if error is None:
        return None
    where = "/".join(map(str, error.absolute_path))
    return f"{where}: {error.message[:300]}" if where else str(error.message[:300])


def is_valid(schema: dict[str, Any], value: Any) -> bool:
    """Tell whether a value passes a schema."""
    return schema_problem(schema, value) is None


@lru_cache(maxsize=1024)
def _validator(schema: str) -> Any:
    # An empty registry: a reference to another host is not fetched.
    return Draft202012Validator(
        json.loads(schema), registry=Registry(), format_checker=Draft202012Validator.FORMAT_CHECKER
    )
