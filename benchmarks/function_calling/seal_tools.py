"""`read_seal_tools`: requests of Seal-Tools with the tools that they call."""

import re
from pathlib import Path
from typing import Any

from langchain_core.messages import HumanMessage

from toolken.benchmarks.function_calling.answered_files import not_published
from toolken.benchmarks.function_calling.call_set import CallSet
from toolken.benchmarks.function_calling.published_tools import (
    accepted_arguments,
    plain_value,
    published_tool,
    valid_names,
)
from toolken.benchmarks.function_calling.record import CallRecord, ExpectedCall
from toolken.benchmarks.sets.data_files import NO_CALL, UNKNOWN_TOOL, DataFolder, UnusableRecordError
from toolken.errors import DataFormatError
from toolken.training.example_check import call_fault
from toolken.training.examples import Call
from toolken.training.tool_spec import ToolSpec

TOOLS, REQUESTS = "tool.jsonl", "dev.jsonl"
SCHEMA = "a right call does not pass the schema of its tool"

#: The result of an earlier call as an argument.
_RESULT = re.compile(r"\bAPI_call_\d+\b")


def read_seal_tools(folder: str | Path, name: str = "seal-tools") -> CallSet:
    """Read a folder with Seal-Tools' tool.jsonl and dev.jsonl.

    The tools of a record are those that it calls; all 4,076 tools are in the set's pool of distractors. Categories:
    "single" (one call), "multiple" (several), and "nested" (some call has the result of another as an argument). Such
    a result is unknown before the tool has run, so that in "nested" the calls without results are the right ones, in
    any order. Records whose right call contradicts the types of its tool are dropped and counted.

    Raises
    ------
    DataFormatError
        If a file is missing, or a record has another form; the message has file and line.
    """
    data = DataFolder(name, folder)
    tools = _tools(data)
    records = []
    for where, record in data.records(REQUESTS):
        try:
            records.append(_record(record, tools))
        except UnusableRecordError as reason:
            data.drop(REQUESTS, str(reason))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise not_published(where, name, error) from error
        else:
            data.count(REQUESTS, 1)
    return CallSet.of(data, records, more_tools=tools.values())


def _tools(data: DataFolder) -> dict[str, ToolSpec]:
    """Return the tools by their published names."""
    published: dict[str, tuple[str, dict[str, Any]]] = {}
    for where, tool in data.records(TOOLS):
        try:
            if tool["api_name"] in published:
                raise ValueError(f"the tool {tool['api_name']!r} occurs twice")
            published[tool["api_name"]] = where, tool
        except (KeyError, ValueError) as error:
            raise not_published(where, data.name, error) from error
    names = valid_names(published)
    specs = {}
    for name, (where, tool) in published.items():
        try:
            schema = {"type": "object", "properties": tool["parameters"], "required": list(tool["required"])}
            specs[name] = published_tool(names[name], tool["api_description"], schema)
        except (KeyError, TypeError, ValueError) as error:
            raise not_published(where, data.name, error) from error
    if not specs:
        raise DataFormatError(f"{str(data.path / TOOLS)!r} has no tool: give a file that lists tools.")
    return specs


def _record(record: dict[str, Any], tools: dict[str, ToolSpec]) -> CallRecord:
    calls = [(call["api"], call["parameters"]) for call in record["calling"]]
    if not calls:
        raise UnusableRecordError(NO_CALL)
    if any(name not in tools for name, _ in calls):
        raise UnusableRecordError(UNKNOWN_TOOL)
    independent = [(tools[name], arguments) for name, arguments in calls if not _has_result(arguments)]
    for spec, arguments in independent:
        if _contradicts(spec, arguments):
            raise UnusableRecordError(SCHEMA)
    nested = len(independent) < len(calls)
    return CallRecord(
        id=str(record["id"]),
        category="nested" if nested else "multiple" if len(calls) > 1 else "single",
        messages=(HumanMessage(record["query"]),),
        tools=tuple({name: tools[name] for name, _ in calls}.values()),
        expected=tuple(ExpectedCall(spec.name, accepted_arguments(given, spec)) for spec, given in independent),
    )


def _has_result(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_result, value.values()))
    if isinstance(value, list):
        return any(map(_has_result, value))
    return isinstance(value, str) and _RESULT.search(value) is not None


def _contradicts(spec: ToolSpec, arguments: dict[str, Any]) -> bool:
    args = {name: plain_value(value, spec.arguments.get(name)) for name, value in arguments.items()}
    unfilled = not args and bool(spec.parameters.get("required"))
    return unfilled or call_fault(Call(tool=spec.name, args=args), {spec.name: spec}) is not None
