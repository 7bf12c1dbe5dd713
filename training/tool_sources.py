"""Where the command line finds tools: a shipped family, a Python attribute, or a JSON file."""

import importlib
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from langchain_core.tools import BaseTool

from toolken.errors import ToolSpecError
from toolken.training.tool_spec import ToolSpec, tool_specs


def shipped_families() -> dict[str, Callable[[], list[BaseTool]]]:
    """Return the tool families that come with the project, by name; each is built when it is called."""

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
    """Return runnable tools named by a family or by `module:attribute` (a list of tools, or a function giving one).

    Raises
    ------
    ToolSpecError
        If a source is neither, or gives something else than LangChain tools.
    """
    found: list[BaseTool] = []
    for source in sources:
        things = _load(source)
        strangers = [thing for thing in things if not isinstance(thing, BaseTool)]
        if strangers:
            raise ToolSpecError(f"{source!r} gives {strangers[0]!r:.80}, which cannot be run: give LangChain tools.")
        found.extend(things)
    tool_specs(found)
    return found


def read_tool_specs(sources: Sequence[str]) -> list[ToolSpec]:
    """Return the specs of tools named by a family, by `module:attribute`, or in a JSON file.

    A JSON file holds a list of OpenAI-style tool dicts, or the published `{"tool_information": {...}}`.

    Raises
    ------
    ToolSpecError
        If a source cannot be read, there is no tool in it, or two tools share a name.
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
    if not colon:
        raise ToolSpecError(
            f"{source!r} names no tools: give one of {', '.join(families)}, or module:attribute of your own."
        )
    # A module beside the user's work is found as it would be by `python -m`.
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise ToolSpecError(f"The tools {source!r} cannot be loaded: {error}.") from error
    if callable(found) and not isinstance(found, (BaseTool, type)):
        found = found()
    things = list(found) if isinstance(found, Iterable) and not isinstance(found, (BaseTool, type, dict)) else [found]
    if not things:
        raise ToolSpecError(f"{source!r} holds no tool: give at least one.")
    return things


def _from_json(path: Path) -> list[ToolSpec]:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ToolSpecError(f"The tools file {str(path)!r} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise ToolSpecError(f"The tools file {str(path)!r} is not JSON: {error}.") from error
    if isinstance(raw, dict) and isinstance(raw.get("tool_information"), dict):
        return [
            ToolSpec(name=name.strip("<>"), description=str(one.get("tool_description", "")))
            for name, one in raw["tool_information"].items()
        ]
    if not isinstance(raw, list):
        raise ToolSpecError(f"The tools file {str(path)!r} holds no list: give a JSON list of tool descriptions.")
    return [ToolSpec.of(one) for one in raw]
