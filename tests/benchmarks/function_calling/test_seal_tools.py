"""Seal-Tools' requests have the tools that they call; calls that need results are apart."""

import json
from pathlib import Path
from typing import Any

import pytest

from toolken.benchmarks.function_calling.seal_tools import SCHEMA, read_seal_tools
from toolken.benchmarks.sets.data_files import NO_CALL, UNKNOWN_TOOL
from toolken.errors import DataFormatError


def tool(name: str, **parameters: str) -> dict[str, Any]:
    typed = {key: {"type": kind, "description": key} for key, kind in parameters.items()}
    return {
        "api_name": name,
        "api_description": f"Does {name}.",
        "field": "a/b",
        "parameters": typed,
        "required": list(typed)[:1],
        "responses": {},
    }


TOOLS = [tool("get PM2.5", city="str", year="int"), tool("mean", values="str"), tool("idle")]


def read(folder: Path, *callings: list[tuple[str, dict[str, Any]]], tools: list[dict[str, Any]] = TOOLS) -> Any:
    (folder / "tool.jsonl").write_text("\n".join(map(json.dumps, tools)))
    records = [
        {"id": f"dev-{number}", "query": "Go.", "calling": [{"api": api, "parameters": given} for api, given in calls]}
        for number, calls in enumerate(callings)
    ]
    (folder / "dev.jsonl").write_text("\n".join(map(json.dumps, records)))
    return read_seal_tools(folder)


def test_records_have_the_tools_that_they_call_and_the_set_has_all(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        [("get PM2.5", {"city": "Rome", "year": "2020"})],
        [("idle", {}), ("get PM2.5", {"city": "Rome"}), ("get PM2.5", {"city": "Oslo"})],
    )
    (single,), (several,) = found.records["single"], found.records["multiple"]
    assert [spec.name for spec in single.tools] == ["get_PM2_5"]
    assert single.tools[0].parameters["properties"]["year"]["type"] == "integer"
    assert dict(single.expected[0].accepted) == {"city": ("Rome",), "year": (2020,)}
    assert [spec.name for spec in several.tools] == ["idle", "get_PM2_5"]
    assert len(several.expected) == 3
    assert {spec.name for spec in found.pool} == {"get_PM2_5", "mean", "idle"}


def test_calls_that_need_results_are_not_expected(tmp_path: Path) -> None:
    calls = [("get PM2.5", {"city": "Rome"}), ("mean", {"values": "API_call_0, API_call_1"}), ("idle", {})]
    (record,) = read(tmp_path, calls).records["nested"]
    assert [call.tool for call in record.expected] == ["get_PM2_5", "idle"]
    assert [spec.name for spec in record.tools] == ["get_PM2_5", "mean", "idle"]


@pytest.mark.parametrize(
    ("calls", "reason"),
    [
        ([], NO_CALL),
        ([("fly", {})], UNKNOWN_TOOL),
        ([("get PM2.5", {"city": "Rome", "year": "last"})], SCHEMA),
        ([("get PM2.5", {"city": "Rome", "zip": 1})], SCHEMA),
        ([("get PM2.5", {})], SCHEMA),
    ],
)
def test_unusable_records_are_counted(tmp_path: Path, calls: list[tuple[str, dict[str, Any]]], reason: str) -> None:
    found = read(tmp_path, calls, [("idle", {})])
    assert [record.id for record in found] == ["dev-1"]
    assert found.dropped == {"dev.jsonl": {reason: 1}}


def test_tools_of_another_form_are_named_with_file_and_line(tmp_path: Path) -> None:
    with pytest.raises(DataFormatError, match=r"tool\.jsonl, line 2 .*the tool 'idle' occurs twice"):
        read(tmp_path, [("idle", {})], tools=[tool("idle"), tool("idle")])
    with pytest.raises(DataFormatError, match=r"tool\.jsonl, line 1 .*it has no 'api_name'"):
        read(tmp_path, [("idle", {})], tools=[{}])
    with pytest.raises(DataFormatError, match=r"tool\.jsonl, line 1 .*it has no 'parameters'"):
        read(tmp_path, [("idle", {})], tools=[{"api_name": "idle"}])
    with pytest.raises(DataFormatError, match="has no tool"):
        read(tmp_path, [("idle", {})], tools=[])
