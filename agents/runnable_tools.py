"""`runnable_tools`: what an agent is given as tools, as LangChain tools that it can run alone."""

import inspect
from collections.abc import Iterable
from typing import Any

from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool, InjectedToolCallId, StructuredTool
from langchain_core.tools import tool as as_tool
from pydantic import BaseModel

from toolken.errors import ToolSpecError


def runnable_tools(tools: Iterable[Any]) -> list[BaseTool]:
    """Return tools and plain functions as LangChain tools.

    Raises
    ------
    ToolSpecError
        If one cannot be run, or needs what only LangGraph's agents provide.
    """
    if isinstance(tools, (BaseTool, str, dict)) or not isinstance(tools, Iterable):
        raise ToolSpecError(f"`tools` is {_short(tools)}: give a list of tools, even of one.")
    return [_runnable_tool(tool) for tool in tools]


def _runnable_tool(given: Any) -> BaseTool:
    tool = given if isinstance(given, BaseTool) else _of_function(given)
    function = (tool.func or tool.coroutine) if isinstance(tool, StructuredTool) else None
    if function is not None:
        _check_parameters(tool.name, function, plain=not isinstance(given, BaseTool))
    missing = _injected(tool)
    if missing:
        raise ToolSpecError(
            f"The tool {tool.name!r} needs {missing[0]!r}, which LangGraph's agents inject and ToolkenAgent does not: "
            "bind the tool to a ToolkenChatModel and run it with `create_agent`."
        )
    return tool


def _of_function(given: Any) -> BaseTool:
    if isinstance(given, (dict, type)):
        raise ToolSpecError(f"{_short(given)} describes a tool and cannot be run: give a function or a LangChain tool.")
    if isinstance(given, Runnable):
        raise ToolSpecError(f"{_short(given)} is a Runnable: give `.as_tool(name=..., description=...)`.")
    if not callable(given):
        raise ToolSpecError(f"{_short(given)} is not a tool: give a function or a LangChain tool.")
    if not getattr(given, "__name__", "").isidentifier():
        raise ToolSpecError(f"{_short(given)} has no name: give a function made with `def`, or a LangChain tool.")
    try:
        made: BaseTool = as_tool(given)
    except (ValueError, TypeError, NameError) as error:
        raise ToolSpecError(
            f"The function {given.__name__!r} cannot be a tool ({error}): give it type hints and a docstring."
        ) from error
    return made


def _check_parameters(name: str, function: Any, *, plain: bool) -> None:
    """Refuse functions whose arguments cannot be passed by name."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (ValueError, TypeError):
        return
    for one in parameters:
        nameless = one.kind is one.POSITIONAL_ONLY or (plain and one.kind is one.VAR_POSITIONAL)
        if nameless:
            raise ToolSpecError(
                f"The argument {one.name!r} of the tool {name!r} cannot be passed by name, as tool calls do: "
                "declare each argument with a name and a type."
            )


def _injected(tool: BaseTool) -> list[str]:
    """Return the required arguments that calls do not have and LangChain alone does not inject."""
    schema = tool.args_schema
    if not (isinstance(schema, type) and issubclass(schema, BaseModel)):
        return []
    shown = tool.tool_call_schema
    visible = shown.model_fields if isinstance(shown, type) and issubclass(shown, BaseModel) else {}
    return [
        name
        for name, field in schema.model_fields.items()
        if name not in visible
        and field.is_required()
        and not any(one is InjectedToolCallId or isinstance(one, InjectedToolCallId) for one in field.metadata)
    ]


def _short(value: Any) -> str:
    return f"{value!r:.120}"
