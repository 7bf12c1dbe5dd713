"""`call_fault`: why a tool could not take the call of an example."""

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from toolken.training.examples import Call
    from toolken.training.tool_spec import ToolSpec

#: Characters of a value or message that an error shows.
_SHOWN = 120


def call_fault(call: "Call", tools: "Mapping[str, ToolSpec | None]") -> str | None:
    """Return what is wrong with a call and what to do about it; None if its tool takes the call.

    Parameters
    ----------
    call
        The call of an example. Calls without arguments are not compared with the schema, since an example may omit
        them; nor are the numbered arguments of the published form.
    tools
        The specs of the known tools by name; None where only the name is known.
    """
    if call.tool not in tools:
        cure = _closest(call.tool, tools) or "add the tool or remove the example"
        return f"calls {call.tool!r}, which is not among the {len(tools)} tools: {cure}"
    spec = tools[call.tool]
    if spec is None or not call.args or all(name.isdecimal() for name in call.args):
        return None
    return _argument_fault(call, spec)


def _argument_fault(call: "Call", spec: "ToolSpec") -> str | None:
    schema = spec.parameters
    properties = schema.get("properties")
    # A spec made from a name and a description says nothing about arguments.
    if not isinstance(properties, dict) or "parameters" not in spec.model_fields_set:
        return None
    if not schema.get("additionalProperties") and not schema.get("patternProperties"):
        for name in call.args:
            if name not in properties:
                there = f"its arguments are {', '.join(map(repr, properties))}" if properties else "it takes none"
                cure = _closest(name, properties) or there
                return f"calls {call.tool!r} with the argument {name!r}, which the tool does not have: {cure}"
    for name in schema.get("required") or ():
        if name not in call.args:
            return f"calls {call.tool!r} without the required argument {name!r}: add it, or omit all arguments"
    message = _schema_fault(call.args, schema)
    if message is None:
        return None
    return f"calls {call.tool!r} with a value that its schema refuses: {message}: correct the value"


def _schema_fault(args: dict[str, Any], schema: dict[str, Any]) -> str | None:
    """Return why a JSON schema refuses arguments; None if it accepts them or is not a valid schema."""
    from referencing.exceptions import Unresolvable

    validator = _validator(json.dumps(schema))
    if validator is None:
        return None
    try:
        error = next(validator.iter_errors(args), None)
    except (Unresolvable, re.error, RecursionError):
        return None
    if error is None:
        return None
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path)
    return f"{place.removeprefix('.')}: {error.message:.{_SHOWN}}" if place else f"{error.message:.{_SHOWN}}"


@lru_cache(maxsize=1024)
def _validator(schema: str) -> Any:
    from jsonschema import Draft202012Validator, SchemaError  # type: ignore[import-untyped]
    from referencing import Registry

    parsed = json.loads(schema)
    try:
        Draft202012Validator.check_schema(parsed)
    except (SchemaError, re.error):
        return None
    # The empty registry keeps remote references from being fetched.
    return Draft202012Validator(parsed, registry=Registry())


def _closest(name: str, known: Iterable[str]) -> str | None:
    close = difflib.get_close_matches(name, list(known), n=3)
    return f"did you mean {' or '.join(map(repr, close))}?" if close else None
