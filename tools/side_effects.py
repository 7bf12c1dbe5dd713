"""Whether a call of a tool may change something, as the tool's metadata says."""

from langchain_core.tools import BaseTool


def has_side_effects(tool: BaseTool) -> bool | None:
    """Return whether a tool's calls may have side effects; None where its metadata does not say.

    `{"side_effects": ...}` comes first; it is also set by `toolken.tools.openapi`. Otherwise the annotations of MCP
    tools count: a tool is free of side effects only with `readOnlyHint`, which MCP takes as false by default. A tool
    that is marked both read-only and destructive has side effects.

    Examples
    --------
    >>> from langchain_core.tools import tool
    >>> @tool
    ... def cancel(order: str) -> str:
    ...     "Cancel an order."
    ...     return "cancelled"
    >>> has_side_effects(cancel) is None
    True
    >>> cancel.metadata = {"side_effects": True}
    >>> has_side_effects(cancel)
    True
    """
    metadata = tool.metadata or {}
    if "side_effects" in metadata:
        return bool(metadata["side_effects"])
    if "readOnlyHint" in metadata or "destructiveHint" in metadata:
        return not metadata.get("readOnlyHint") or bool(metadata.get("destructiveHint"))
    return None
