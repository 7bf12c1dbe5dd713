"""`argument_lines`: a tool's arguments in words, one line each, for the prompt in which the LM writes them."""

from typing import Any

from toolken.training.tool_spec import ToolSpec, name_words

#: Arguments that are listed, characters of a description, and values of an enumeration.
MAX_ARGUMENTS, MAX_DESCRIPTION, MAX_VALUES = 16, 80, 8


def argument_lines(spec: ToolSpec) -> str:
    """Return the arguments of a tool, the required ones first, with their descriptions and values.

    Examples
    --------
    >>> properties = {"city": {"type": "string", "description": "Where to look."}, "unit": {"enum": ["C", "F"]}}
    >>> print(argument_lines(ToolSpec(name="weather", parameters={"properties": properties})))
    city: Where to look
    unit: C or F
    """
    required = set(spec.parameters.get("required") or ())
    names = sorted(spec.arguments, key=lambda name: name not in required)[:MAX_ARGUMENTS]
    return "\n".join(f"{name}: {_meaning(name, spec.arguments[name])}" for name in names)


def _meaning(name: str, schema: dict[str, Any]) -> str:
    """Return what an argument's value is: its description and the values of an enumeration, or else its name."""
    parts = []
    description = schema.get("description")
    if isinstance(description, str) and description.strip():
        parts.append(" ".join(description.split())[:MAX_DESCRIPTION].rstrip(" ."))
    values = [str(one) for one in schema.get("enum") or () if one is not None]
    if 0 < len(values) <= MAX_VALUES:
        parts.append(f"{', '.join(values[:-1])} or {values[-1]}" if len(values) > 1 else values[0])
    return "; ".join(parts) or name_words(name)
