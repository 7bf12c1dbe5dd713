"""Errors that a tool raises or its arguments cause, as the sentence of a tool message; an agent then carries on."""

from langchain_core.tools import ToolException
from pydantic import ValidationError

from toolken.errors import ToolkenError
from toolken.tools.quotation import quoted


class ToolError(ToolkenError, ToolException):
    """A tool could not do what it was asked; the message is one sentence that a model or a person can act on.

    An agent reads the message as the tool's result. Set `handle_tool_error = False` on the tool to have it raised.
    """


def validation_sentence(error: ValidationError) -> str:
    """Name the first argument that does not fit a tool's schema, and say what to do; for `handle_validation_error`."""
    first = error.errors(include_url=False)[0]
    where = ".".join(map(str, first["loc"])) or "arguments"
    if first["type"] == "missing":
        return f"The argument {where} is missing: give it."
    if first["type"] == "extra_forbidden":
        return f"There is no argument {where}: leave it out."
    reason = first["msg"]
    return f"The argument {where} cannot be {quoted(first['input'])}: {reason[:1].lower()}{reason[1:]}."
