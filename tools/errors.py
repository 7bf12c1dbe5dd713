"""Errors that a tool raises; an agent turns them into a tool message and carries on."""

from langchain_core.tools import ToolException

from toolken.errors import ToolkenError


class ToolError(ToolkenError, ToolException):
    """A tool could not do what it was asked; the message is one sentence that a model or a person can act on."""
