"""What the calculator cannot compute; free of LangChain, so that the worker process starts without it."""

from toolken.errors import ToolkenError


class CalculationError(ToolkenError):
    """A calculation is undefined, too large or not understood; a tool reports it as a `ToolError`.

    Change the numbers or the expression as the message says; it names the part that is at fault.
    """
