"""Errors of tools and of their arguments, each as one sentence for a tool message."""

from langchain_core.tools import ToolException
from pydantic import ValidationError

from toolken.errors import ToolkenError
from toolken.tools.quotation import quoted


class ToolError(ToolkenError, ToolException):
    """A tool call failed; the message is one sentence that says what to change.

    An agent receives the message as the tool's result. Set `handle_tool_error = False` on the tool to raise instead.
    """


class OpenApiError(ToolkenError):
    """An OpenAPI file cannot be read as tools; the message names the file or the operation.

    Correct the file. Operations with bodies other than JSON, and references outside the file, are not supported.
    """


def validation_sentence(error: ValidationError) -> str:
    """Return a sentence about the first invalid argument of a call; a `handle_validation_error` for tools."""
    first = error.errors(include_url=False)[0]
    where = ".".join(map(str, first["loc"])) or "arguments"
    if first["type"] == "missing":
        return f"The argument {where} is missing: give it."
    if first["type"] == "extra_forbidden":
        return f"There is no argument {where}: leave it out."
    reason = first["msg"]
    return f"The argument {where} cannot be {quoted(first['input'])}: {reason[:1].lower()}{reason[1:]}."
