"""The calculator's error; free of LangChain, which the worker process does not need."""

from toolken.errors import ToolkenError


class CalculationError(ToolkenError):
    """A calculation is undefined, too large or cannot be read; a tool reports it as a `ToolError`.

    The message names the faulty value and says how to change it.
    """
