"""`ToolSpec`: name, description and argument schema of a tool, read from any of the forms that LangChain accepts."""

import hashlib
import json
import re
import unicodedata
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from langchain_core.tools import BaseTool, StructuredTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from toolken.errors import ToolSpecError
from toolken.training.json_schema import normalized_schema

#: Accepted forms of a tool: a LangChain tool, a function, a pydantic class or TypedDict, an MCP or OpenAI-style dict.
ToolLike = BaseTool | Callable[..., Any] | type | dict[str, Any]


#: A signature at the start of a description, as in published tool sets: `capital_of(country): gets the capital ...`.
_SIGNATURE = re.compile(r"^(?P<name>\w+)\((?P<arguments>[^()]*)\)\s*[:.-]\s*")


#: A JSON reference to a definition of the same schema.
_REFERENCE = re.compile(r'"\$ref": "#/\$defs/([^"/]+)"')


class Signature(NamedTuple):
    """The signature at the start of a description.

    Attributes
    ----------
    name
        Name of the function.
    arguments
        Names of its arguments.
    rest
        The description after the signature.
    """

    name: str
    arguments: list[str]
    rest: str


class ToolSpec(BaseModel):
    """Name, description and argument schema of a tool.

    Attributes
    ----------
    name
        The tool's name, unique within a head.
    description
        What the tool does, in plain language. The prior of its output embedding is computed from it.
    parameters
        JSON schema of the arguments, of type "object".
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    description: str = ""
    parameters: dict[str, Any] = Field(default_factory=lambda: {"type": "object", "properties": {}})

    @field_validator("parameters")
    @classmethod
    def _in_one_dialect(cls, parameters: dict[str, Any]) -> dict[str, Any]:
        properties = parameters.get("properties")
        if properties and not isinstance(properties, dict):
            raise ValueError(f"`properties` is {properties!r:.80}, not an object of schemas by argument name")
        normalized: dict[str, Any] = normalized_schema(parameters)
        # Without a change the caller's object is kept: copies for 100,000 tools take memory.
        return parameters if json.dumps(normalized) == json.dumps(parameters) else normalized

    @classmethod
    def of(cls, tool: "ToolLike | ToolSpec") -> "ToolSpec":
        """Return the spec of a LangChain tool, a function, a pydantic class, a TypedDict, an MCP or OpenAI-style dict.

        Raises
        ------
        ToolSpecError
            If `tool` is none of these, or its name, description or schema has another type.
        """
        if isinstance(tool, ToolSpec):
            return tool
        if isinstance(tool, dict) and "inputSchema" in tool:
            # The form in which an MCP server lists its tools.
            tool = {"name": tool.get("name"), "description": tool.get("description"), "parameters": tool["inputSchema"]}
        try:
            function = convert_to_openai_tool(tool)["function"]
            parameters = function.get("parameters") or {"type": "object", "properties": {}}
            if (recursive := _recursive_schema(tool)) is not None:
                parameters = recursive
            elif isinstance(tool, BaseTool):
                parameters = _with_extensions(parameters, tool)
            return cls(name=function["name"], description=function.get("description") or "", parameters=parameters)
        # pydantic raises a RuntimeError for types without a JSON schema, and Python a NameError for unknown type hints.
        except (ValueError, TypeError, KeyError, AttributeError, NameError, RuntimeError) as error:
            raise ToolSpecError(
                f"{tool!r:.200} is not a tool: give a LangChain tool, a function with type hints and a docstring, "
                f"a pydantic class, or an OpenAI-style dict ({_reason(error)})."
            ) from error

    @cached_property
    def digest(self) -> str:
        """Hex digest of name, description and schema: the cache key of everything computed from them."""
        return hashlib.sha256(json.dumps(self.model_dump(), sort_keys=True).encode()).hexdigest()[:32]

    @property
    def arguments(self) -> dict[str, dict[str, Any]]:
        """The schema of each argument by name."""
        properties = self.parameters.get("properties") or {}
        # `true` and `false` are JSON schemas, too.
        return {name: schema if isinstance(schema, dict) else {} for name, schema in properties.items()}

    @property
    def words(self) -> str:
        """The description or, if it is empty, the name split into words."""
        return self.description.strip() or name_words(self.name)

    @property
    def signature(self) -> Signature | None:
        """The signature at the start of the description, if there is one."""
        text = self.words
        found = _SIGNATURE.match(text)
        if found is None:
            return None
        return Signature(found["name"], re.findall(r"\w+", found["arguments"]), text[found.end() :])


def name_words(name: str) -> str:
    """Split a tool's name into words: `get_weatherReport` becomes "get weather report"."""
    # `isalnum` is false for combining marks (vowel signs, accents), which belong to the letter before them.
    spelt = "".join(one if one.isalnum() or unicodedata.category(one).startswith("M") else " " for one in name)
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", spelt)
    return " ".join(spaced.split()).lower() or name


def tool_specs(tools: "Iterable[ToolLike | ToolSpec]") -> list[ToolSpec]:
    """Return the specs of several tools, whose names must be distinct.

    Raises
    ------
    ToolSpecError
        If there are no tools, or two tools have the same name.
    """
    specs = [ToolSpec.of(tool) for tool in tools]
    if not specs:
        raise ToolSpecError("No tools were given: a head needs at least one.")
    twice = [name for name, count in Counter(spec.name for spec in specs).items() if count > 1]
    if twice:
        raise ToolSpecError(f"Two tools are called {twice[0]!r}: rename one of them.")
    return specs


def check_descriptions(specs: Sequence[ToolSpec], known: Sequence[ToolSpec] = (), *, stacklevel: int = 3) -> None:
    """Check that no two tools have the same description, and warn about tools without one.

    Parameters
    ----------
    specs
        The tools.
    known
        Tools of the same head that were checked before.
    stacklevel
        Stack level of the warnings, counted from this function.

    Raises
    ------
    ToolSpecError
        If two tools have the same description.
    """
    by_words = {spec.words.strip().lower(): spec.name for spec in known}
    for spec in specs:
        if not spec.description.strip():
            warnings.warn(
                f"The tool {spec.name!r} has no description: the words of its name are used instead.",
                stacklevel=stacklevel,
            )
        words = spec.words.strip().lower()
        if words in by_words:
            raise ToolSpecError(
                f"The tools {by_words[words]!r} and {spec.name!r} have one description, so they cannot be "
                "distinguished: describe what each of them does."
            )
        by_words[words] = spec.name


def unknown_tools(names: Iterable[str], known: Sequence[str]) -> None:
    """Raise if a name is not among the known tools.

    Raises
    ------
    ToolSpecError
        If a name is unknown; the message suggests the most similar known names.
    """
    import difflib

    there = set(known)
    for name in names:
        if name not in there:
            close = difflib.get_close_matches(name, known, n=3) or list(known[:5])
            raise ToolSpecError(f"There is no tool called {name!r}: did you mean {', '.join(map(repr, close))}?")


def _reason(error: Exception) -> str:
    """Return what an error says is wrong with a tool, in one line."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg'].removeprefix('Value error, ')}"
    if isinstance(error, KeyError):
        return f"it has no {error}"
    return str(error).strip().split("\n")[0]


def _recursive_schema(tool: Any) -> dict[str, Any] | None:
    """Return the argument schema of a tool if it is recursive, else None.

    LangChain's conversion expands references and replaces a recursive one by a schema that accepts any value.
    """
    if isinstance(tool, BaseTool):
        own: Any = tool.tool_call_schema
    elif isinstance(tool, type) and issubclass(tool, BaseModel):
        own = tool
    elif callable(tool) and not isinstance(tool, type):
        try:
            own = StructuredTool.from_function(tool).tool_call_schema
        except (ValueError, TypeError, NameError):
            return None  # `convert_to_openai_tool` accepts such a function, without a recursive schema
    else:
        return None
    schema: dict[str, Any] = own if isinstance(own, dict) else own.model_json_schema()
    definitions = schema.get("$defs") or {}
    inner = {name: set(_REFERENCE.findall(json.dumps(one))) for name, one in definitions.items()}
    for name in inner:
        reached, border = set[str](), inner[name]
        while border:
            reached |= border
            border = set().union(*(inner.get(one, set()) for one in border)) - reached
        if name in reached:
            if (whole := _REFERENCE.fullmatch(f'"$ref": "{schema.get("$ref")}"')) is not None:
                schema = {"$defs": definitions, **definitions[whole[1]]}
            return {key: value for key, value in schema.items() if key not in ("title", "description")}
    return None


def _with_extensions(parameters: dict[str, Any], tool: BaseTool) -> dict[str, Any]:
    """Copy the `x-` keywords of the arguments from the tool's schema, since LangChain's conversion drops them."""
    schema: Any = tool.tool_call_schema
    own = schema if isinstance(schema, dict) else schema.model_json_schema()
    result = dict(parameters, properties=dict(parameters.get("properties") or {}))
    for name, argument in (own.get("properties") or {}).items():
        extensions = {key: value for key, value in argument.items() if key.startswith("x-")} if argument else {}
        if extensions and name in result["properties"]:
            result["properties"][name] = {**result["properties"][name], **extensions}
    return result
