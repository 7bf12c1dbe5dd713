"""`BoundTools`: the tools of one call, with the pydantic classes that validate their arguments."""

import json
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from threading import Lock
from typing import Any

from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, Tool
from pydantic import BaseModel, ValidationError
from pydantic.v1 import BaseModel as BaseModelV1
from pydantic.v1 import ValidationError as ValidationErrorV1

from toolken.agents.grammar.schema_check import schema_problem
from toolken.errors import ToolSpecError
from toolken.tools.grounding import GROUNDED
from toolken.training.examples import FewShotExample
from toolken.training.tool_spec import ToolLike, ToolSpec, tool_specs, unknown_tools

#: Tools whose specs are cached: an agent loop binds the same tools before each step.
CACHED = 2**17

ArgumentsClass = type[BaseModel] | type[BaseModelV1]


class BoundTools(list[dict[str, Any]]):
    """A list of OpenAI-style tool dicts that also holds the specs and the pydantic classes of the arguments.

    `bind_tools` binds it. Tracers and caches see a list of dicts, as with any other chat model.

    Attributes
    ----------
    specs
        The tools.
    names, by_name
        Their names in the same order, and the tools by name.
    classes
        The pydantic class of a tool's arguments by the tool's name, where it has one.
    few_shot
        Examples of the tools' arguments, which the LM reads only while it writes arguments.
    """

    def __init__(
        self,
        specs: Sequence[ToolSpec],
        classes: dict[str, ArgumentsClass],
        few_shot: Sequence[FewShotExample] = (),
    ) -> None:
        super().__init__({"type": "function", "function": _as_dict(spec)} for spec in specs)
        self.specs = list(specs)
        self.names = [spec.name for spec in specs]
        self.by_name = {spec.name: spec for spec in specs}
        self.classes = classes
        self.few_shot = list(few_shot)

    @classmethod
    def of(
        cls,
        tools: "Iterable[ToolLike | ToolSpec] | None",
        *,
        grounded: bool | Sequence[str] = (),
        few_shot: "Iterable[FewShotExample | dict[str, Any]]" = (),
    ) -> "BoundTools":
        """Read tools of any form.

        Parameters
        ----------
        tools
            The tools; duplicates count once.
        grounded
            Arguments whose value is any span or number of the conversation, besides those whose schemas say so: names
            such as "city" or "weather.city", or True for every string and number. False: the LM writes all values
            whose schemas say nothing.
        few_shot
            Examples of the tools' arguments.

        Raises
        ------
        ToolSpecError
            If a tool cannot be read, two different ones share a name, `grounded` names no argument, or a few-shot
            example names another tool.
        """
        if isinstance(tools, BoundTools) and not grounded and grounded is not False and not few_shot:
            return tools
        if isinstance(tools, BaseTool | str | dict) or not isinstance(tools, Iterable | None):
            raise ToolSpecError(f"`tools` is {tools!r:.120}: give a list of tools, even of one.")
        specs: dict[str, ToolSpec] = {}
        extra: list[ToolSpec] = []
        classes: dict[str, ArgumentsClass] = {}
        for tool in tools or ():
            spec, found = _read(tool)
            known = specs.setdefault(spec.name, spec)
            if known is not spec and not _is_same_tool(known, spec):
                extra.append(spec)  # `tool_specs` reports it
            if found is not None:
                classes.setdefault(spec.name, found)
        read = tool_specs([*specs.values(), *extra]) if specs else []
        shown = [FewShotExample.model_validate(one) for one in few_shot]
        unknown_tools([one.tool for one in shown], [spec.name for spec in read])
        if isinstance(tools, BoundTools):
            classes, shown = tools.classes, [*shown, *tools.few_shot]
        marked = _with_grounded(read, grounded) if grounded or grounded is False else read
        return cls(marked, classes, shown)

    def problem(self, name: str, arguments: dict[str, Any]) -> str | None:
        """Return why arguments violate the tool's schema or its pydantic class, or None if they are valid."""
        spec = self.by_name[name]
        wrong = schema_problem(spec.parameters, arguments) or _class_problem(self.classes.get(name), arguments)
        return f"The arguments of {name!r} are invalid ({wrong})." if wrong else None


_cache: "OrderedDict[Any, tuple[Any, ToolSpec, ArgumentsClass | None]]" = OrderedDict()
_lock = Lock()


def _read(tool: "ToolLike | ToolSpec") -> tuple[ToolSpec, ArgumentsClass | None]:
    """Return the spec of a tool and the class of its arguments, from the cache where possible."""
    if isinstance(tool, ToolSpec):
        return tool, None
    key: Any
    if isinstance(tool, BaseTool):
        key = (id(tool), tool.name, tool.description, id(tool.args_schema))
    elif isinstance(tool, dict):
        try:
            key = json.dumps(tool)
        except (TypeError, ValueError):
            return ToolSpec.of(tool), None
    else:
        key = (id(tool), getattr(tool, "__doc__", None))
    with _lock:
        if key in _cache:
            _cache.move_to_end(key)
            return _cache[key][1:]
    spec, found = _without_config(ToolSpec.of(tool), tool), _arguments_class(tool)
    with _lock:
        # The cache keeps the tool alive, so that its id stays unique.
        _cache[key] = (tool, spec, found)
        while len(_cache) > CACHED:
            _cache.popitem(last=False)
    return spec, found


def _as_dict(spec: ToolSpec) -> dict[str, Any]:
    # Specs and dicts share the schema: for very many tools, copies would take more memory than their toolkens.
    return {"name": spec.name, "description": spec.description, "parameters": spec.parameters}


def chosen(choice: Any, names: Sequence[str]) -> tuple[tuple[str, ...], bool]:
    """Return the tools that a `tool_choice` allows, and whether a call is required.

    Raises
    ------
    ToolSpecError
        If it names a tool that is not bound, or a call is required and no tool is bound.
    """
    if isinstance(choice, dict):
        function = choice.get("function", choice)
        named = function.get("name") if isinstance(function, dict) else None
        if not named:
            raise ToolSpecError(f"The tool choice {choice!r} names no tool: give {{'function': {{'name': ...}}}}.")
        unknown_tools([named], names)
        return (named,), True
    if choice in (None, False):
        return tuple(names), False
    if isinstance(choice, str) and choice in names:
        return (choice,), True
    if choice == "auto":
        return tuple(names), False
    if choice == "none":
        return (), False
    if choice in (True, "any", "required"):
        if not names:
            raise ToolSpecError("A tool call is required, and no tool is bound: bind at least one.")
        return tuple(names), True
    if not names:
        raise ToolSpecError(f"The tool choice is {choice!r}, and no tool is bound: bind it.")
    unknown_tools([str(choice)], names)
    raise AssertionError("unreachable: the name is known")


def _arguments_class(tool: Any) -> ArgumentsClass | None:
    if isinstance(tool, BaseTool) and tool.args_schema is None and (isinstance(tool, Tool) or _config_argument(tool)):
        return None  # LangChain derives the class from `_run`, whose config no call has
    schema = tool.tool_call_schema if isinstance(tool, BaseTool) else tool
    return schema if isinstance(schema, type) and issubclass(schema, (BaseModel, BaseModelV1)) else None


def _config_argument(tool: BaseTool) -> str | None:
    """Return the argument of a tool's `_run` that takes the RunnableConfig, which LangChain passes."""
    return next((name for name, kind in tool._run.__annotations__.items() if kind is RunnableConfig), None)


def _without_config(spec: ToolSpec, tool: Any) -> ToolSpec:
    if not isinstance(tool, BaseTool) or tool.args_schema is not None or isinstance(tool, Tool):
        return spec
    name = _config_argument(tool)
    if name not in spec.arguments:
        return spec
    properties = {key: value for key, value in spec.arguments.items() if key != name}
    required = [key for key in spec.parameters.get("required", []) if key != name]
    parameters = {**spec.parameters, "properties": properties, "required": required}
    return spec.model_copy(update={"parameters": parameters})


def _is_same_tool(one: ToolSpec, other: ToolSpec) -> bool:
    """Tell whether two specs of one name are the same tool in two forms; titles in schemas are ignored."""
    return one.description == other.description and _untitled(one.parameters) == _untitled(other.parameters)


def _untitled(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_untitled(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {key: _untitled(value) for key, value in schema.items() if key != "title" or not isinstance(value, str)}


def _with_grounded(specs: Sequence[ToolSpec], grounded: bool | Sequence[str]) -> list[ToolSpec]:
    if grounded is False:
        return [_written(spec) for spec in specs]
    wanted = None if grounded is True else set(grounded)
    found: set[str] = set()
    result = []
    for spec in specs:
        properties = dict(spec.arguments)
        for name, argument in properties.items():
            matching = {name, f"{spec.name}.{name}"} & (wanted or set())
            found |= matching
            if isinstance(argument, dict) and (wanted is None or matching):
                properties[name] = argument | {GROUNDED: True}
        result.append(spec.model_copy(update={"parameters": spec.parameters | {"properties": properties}}))
    missing = sorted((wanted or set()) - found)
    if missing:
        known = [name for spec in specs for name in spec.arguments]
        raise ToolSpecError(f"No tool has an argument {missing[0]!r} to copy: the arguments are {known[:20]}.")
    return result


def _written(spec: ToolSpec) -> ToolSpec:
    """Return a tool whose arguments the LM writes, apart from those whose schemas say that they are copied."""
    properties = {name: {GROUNDED: False} | argument for name, argument in spec.arguments.items()}
    return spec.model_copy(update={"parameters": spec.parameters | {"properties": properties}})


def _class_problem(schema: ArgumentsClass | None, arguments: dict[str, Any]) -> str | None:
    if schema is None:
        return None
    try:
        if issubclass(schema, BaseModel):
            schema.model_validate(arguments)
        else:
            schema.parse_obj(arguments)
    except (ValidationError, ValidationErrorV1) as error:
        first = error.errors()[0]
        return f"{'/'.join(map(str, first['loc']))}: {str(first['msg'])[:300]}"
    except Exception as error:  # a tool's validator may raise anything
        return f"{type(error).__name__}: {str(error)[:300]}"
    return None
