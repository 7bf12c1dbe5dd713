"""Tool sources of the command line: a shipped family, a Python module or attribute, or a JSON file."""

import difflib
import importlib
import inspect
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from langchain_core.tools import BaseTool
from pydantic import ValidationError

from toolken.errors import ToolSpecError
from toolken.training.tool_spec import ToolSpec, tool_specs


def shipped_families() -> dict[str, Callable[[], list[BaseTool]]]:
    """Return functions that build the shipped tool families, by name."""

    def calculator() -> list[BaseTool]:
        from toolken.tools.calculator import calculator_tools

        return calculator_tools()

    def knowledge() -> list[BaseTool]:
        from toolken.tools.knowledge import world_knowledge

        return list(world_knowledge().tools())

    def household() -> list[BaseTool]:
        from toolken.tools.household import Household, household_tools

        return list(household_tools(Household()))

    return {"calculator": calculator, "knowledge": knowledge, "household": household}


def read_tools(sources: Sequence[str]) -> list[BaseTool]:
    """Return the runnable tools of several sources.

    Parameters
    ----------
    sources
        Names of shipped families, modules with LangChain tools, or `module:attribute`: a tool, a list of tools, or a
        function without arguments that returns them.

    Raises
    ------
    ToolSpecError
        If a source cannot be loaded or gives something other than LangChain tools.
    """
    found: list[BaseTool] = []
    for source in sources:
        things = _load(source)
        for thing in things:
            if not isinstance(thing, BaseTool):
                raise ToolSpecError(f"{source!r} gives {thing!r:.80}, which cannot be run: give LangChain tools.")
            found.append(thing)
    tool_specs(found)
    return found


def read_tool_specs(sources: Sequence[str]) -> list[ToolSpec]:
    """Return the specs of the tools of several sources.

    Parameters
    ----------
    sources
        As in `read_tools`, or a JSON file with a list of OpenAI-style tool dicts or the published
        `{"tool_information": {...}}`.

    Raises
    ------
    ToolSpecError
        If a source cannot be read or has no tools, or two tools share a name.
    """
    specs: list[ToolSpec] = []
    for source in sources:
        if source.endswith(".json"):
            specs.extend(_from_json(Path(source)))
        else:
            specs.extend(ToolSpec.of(thing) for thing in _load(source))
    return tool_specs(specs)


def _load(source: str) -> list[Any]:
    families = shipped_families()
    if source in families:
        return list(families[source]())
    module_name, colon, attribute = source.partition(":")
    module = _import(source, module_name)
    if colon:
        if not hasattr(module, attribute):
            close = difflib.get_close_matches(attribute, vars(module), n=3)
            cure = f"did you mean {' or '.join(map(repr, close))}?" if close else "name a tool or a list of tools."
            raise ToolSpecError(f"The module {module_name!r} has no attribute {attribute!r}: {cure}")
        things = _tools_in(source, getattr(module, attribute))
    else:
        things = list({id(one): one for one in vars(module).values() if isinstance(one, BaseTool)}.values())
    if not things:
        raise ToolSpecError(f"{source!r} has no tools: give at least one LangChain tool.")
    return things


def _import(source: str, name: str) -> ModuleType:
    """Import a module of the user, from the working directory as well, as `python -m` does."""
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    known = f"give one of {', '.join(shipped_families())}, or module:attribute of your tools"
    if not all(part.isidentifier() for part in name.split(".")):
        raise ToolSpecError(f"{source!r} names no tools: {known}.")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            fault = f"The tools {source!r} cannot be loaded" if ":" in source else f"{source!r} names no tools"
            raise ToolSpecError(f"{fault}, since there is no module {error.name!r}: {known}.") from error
        raise ToolSpecError(f"The tools {source!r} cannot be loaded: {error}: install it.") from error
    except (Exception, SystemExit) as error:  # the module's code may raise anything
        raise ToolSpecError(
            f"The tools {source!r} cannot be loaded: importing {name!r} raised {type(error).__name__}: {error}: "
            "correct the module."
        ) from error


def _tools_in(source: str, found: Any) -> list[Any]:
    """Return the tools in an attribute: of a list, of a function's result, or the attribute alone."""
    if callable(found) and not isinstance(found, (BaseTool, type)):
        try:
            inspect.signature(found).bind()
        except (TypeError, ValueError) as error:
            raise ToolSpecError(
                f"{source!r} is a function that cannot be called without arguments ({error}): name a function that "
                "returns tools, or decorate it with @tool."
            ) from error
        if inspect.iscoroutinefunction(found):
            raise ToolSpecError(f"{source!r} is an async function: name a plain function, or decorate it with @tool.")
        try:
            found = found()
        except Exception as error:  # the function is the user's
            raise ToolSpecError(
                f"The tools {source!r} cannot be loaded: the function raised {type(error).__name__}: {error}: "
                "correct the function."
            ) from error
    if isinstance(found, Iterable) and not isinstance(found, (BaseTool, type, dict, str)):
        return list(found)
    return [found]


def _from_json(path: Path) -> list[ToolSpec]:
    try:
        raw = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ToolSpecError(
            f"The tools file {str(path)!r} cannot be read ({error.strerror}): name a JSON file."
        ) from error
    except UnicodeDecodeError as error:
        raise ToolSpecError(f"The tools file {str(path)!r} is not UTF-8 ({error.reason}): save it as UTF-8.") from error
    except ValueError as error:
        raise ToolSpecError(f"The tools file {str(path)!r} is not JSON ({error}): correct the file.") from error
    if isinstance(raw, dict) and isinstance(raw.get("tool_information"), dict):
        return [
            ToolSpec(name=name.strip("<>"), description=str(one.get("tool_description", "")))
            for name, one in raw["tool_information"].items()
            if isinstance(one, dict)
        ]
    if not isinstance(raw, list):
        raise ToolSpecError(f"The tools file {str(path)!r} has no list: write a JSON list of OpenAI-style tool dicts.")
    return [_from_dict(one, f"{path}, tool {number}") for number, one in enumerate(raw, start=1)]


def _from_dict(raw: Any, where: str) -> ToolSpec:
    try:
        if isinstance(raw, dict):
            return ToolSpec.of(raw)
    except (ToolSpecError, ValidationError) as error:
        raise ToolSpecError(f"{where} is not a tool: write it in OpenAI's form.") from error
    raise ToolSpecError(f"{where} is not a JSON object: write name, description and parameters.")
