"""Tools are loaded from families, modules, attributes and JSON files; anything else gets a sentence."""

import json
from pathlib import Path

import pytest

from toolken.errors import ToolSpecError
from toolken.training.tool_sources import read_tool_specs, read_tools

MODULE = '''
from langchain_core.tools import tool

nothing, number, mapping = [], 5, {"a": 1}


def fails():
    raise ValueError("no key")


def needs(key):
    return []


@tool
def weather(city: str) -> str:
    """Tell the weather in a city."""
    return "sun"


same = weather


def several():
    return [weather]


async def later():
    return [weather]
'''


@pytest.fixture(autouse=True)
def _modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules of a user, whose names no other test has."""
    (tmp_path / "sources_of_a_test.py").write_text(MODULE)
    (tmp_path / "source_that_raises.py").write_text("raise RuntimeError('boom')")
    (tmp_path / "source_that_exits.py").write_text("raise SystemExit(3)")
    (tmp_path / "source_without_tools.py").write_text("x = 1")
    (tmp_path / "source_that_lacks_a_library.py").write_text("import no_such_library")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.parametrize("attribute", ["", ":weather", ":several"])
def test_a_module_a_tool_and_a_function_give_tools(attribute: str) -> None:
    assert [one.name for one in read_tools([f"sources_of_a_test{attribute}"])] == ["weather"]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("sources_of_a_test:wether", "has no attribute 'wether': did you mean 'weather'"),
        ("sources_of_a_test:", "has no attribute ''"),
        ("sources_of_a_test:nothing", "has no tools"),
        ("sources_of_a_test:number", "gives 5, which cannot be run"),
        ("sources_of_a_test:mapping", "which cannot be run"),
        ("sources_of_a_test:fails", "the function raised ValueError: no key"),
        ("sources_of_a_test:needs", "cannot be called without arguments"),
        ("sources_of_a_test:later", "is an async function"),
        ("source_that_raises:tools", "importing 'source_that_raises' raised RuntimeError: boom"),
        ("source_that_exits:tools", "raised SystemExit: 3"),
        ("source_that_lacks_a_library:tools", "No module named 'no_such_library': install it"),
        ("source_without_tools", "has no tools"),
        ("no_such_module:tools", "there is no module 'no_such_module'"),
        ("no_such_family", "'no_such_family' names no tools"),
        (":tools", "':tools' names no tools"),
        ("..tools:tools", "names no tools"),
    ],
)
def test_a_source_without_tools_gets_a_sentence(source: str, said: str) -> None:
    with pytest.raises(ToolSpecError) as caught:
        read_tools([source])
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xff\xfe[", "is not UTF-8"),
        (b"[", "is not JSON"),
        (b'{"a": 1}', "has no list"),
        (b"[1]", "tool 1 is not a JSON object"),
        (b'[{"name": "a", "description": "A."}, {"name": 5}]', "tool 2 is not a tool"),
        (b'[{"name": "a", "parameters": 5}]', "tool 1 is not a tool"),
        (b'[{"name": "a"}, {"name": "a"}]', "Two tools are called 'a'"),
        (b"[]", "No tools were given"),
    ],
)
def test_a_json_file_without_tools_gets_a_sentence(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "tools.json"
    path.write_bytes(content)
    with pytest.raises(ToolSpecError) as caught:
        read_tool_specs([str(path)])
    assert said in str(caught.value)


def test_a_json_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "tools.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps([{"name": "a", "description": "A."}]).encode())
    assert [spec.name for spec in read_tool_specs([str(path)])] == ["a"]
