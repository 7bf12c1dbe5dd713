"""Specs are read from every accepted form of a tool, and anything else is refused."""

from collections.abc import Callable
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.tools import tool
from pydantic import BaseModel, Field

from toolken import Grounded, ToolSpec
from toolken.errors import ToolSpecError
from toolken.training.tool_spec import name_words, tool_specs, unknown_tools


@tool
def weather(city: Annotated[str, Grounded(), Field(description="The city.")]) -> str:
    """Tell the weather."""
    return f"fine in {city}"


@tool(args_schema={"type": "object", "properties": {"city": {"type": "string", "x-grounded": True}}, "required": []})
def weather_of_dict(city: str) -> str:
    """Tell the weather."""
    return f"fine in {city}"


def weather_function(city: str) -> str:
    """Tell the weather."""
    return city


class Weather(BaseModel):
    """Tell the weather."""

    city: str


class WeatherDict(TypedDict):
    """Tell the weather."""

    city: str


PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
OPENAI = {"type": "function", "function": {"name": "w", "description": "Tell the weather.", "parameters": PARAMETERS}}
MCP = {"name": "w", "description": "Tell the weather.", "inputSchema": PARAMETERS}


@pytest.mark.parametrize("form", [weather, weather_function, Weather, WeatherDict, OPENAI, OPENAI["function"], MCP])
def test_every_form_of_a_tool_gives_its_description_and_arguments(form: Any) -> None:
    spec = ToolSpec.of(form)
    assert spec.description == "Tell the weather."
    assert list(spec.arguments) == ["city"]
    assert spec.arguments["city"]["type"] == "string"
    assert spec.parameters["required"] == ["city"]
    assert ToolSpec.of(spec) is spec


@pytest.mark.parametrize("form", [weather, weather_of_dict], ids=["annotation", "dict"])
def test_the_mark_of_extractive_arguments_is_kept(form: Any) -> None:
    assert ToolSpec.of(form).arguments["city"]["x-grounded"] is True


class Unschematic(BaseModel):
    """A pydantic class with a type that JSON schema does not have."""

    callback: Callable[[int], int]


def untyped(city: "Undefined") -> str:  # type: ignore[name-defined]  # noqa: F821
    """Tell the weather."""
    return ""


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        (5, "Unsupported function"),
        (None, "Unsupported function"),
        ("weather", "Unsupported function"),
        (object(), "Unsupported function"),
        ({"no": "name"}, "Unsupported function"),
        ({"name": 5, "description": "d", "parameters": {}}, "name: Input should be a valid string"),
        ({"name": "w", "description": ["d"], "parameters": {}}, "description: Input should be a valid string"),
        ({"name": "w", "description": "d", "parameters": "city"}, "parameters: Input should be a valid dictionary"),
        ({"name": "w", "description": "d", "parameters": {"properties": {"a": {1}}}}, "not JSON serializable"),
        ({"name": "w", "description": "d", "parameters": {"properties": 5}}, "`properties` is 5"),
        ({"name": None, "description": "d", "inputSchema": {}}, "name: Input should be a valid string"),
        ({"name": "w", "inputSchema": [1]}, "parameters: Input should be a valid dictionary"),
        ({"title": 5, "description": "d", "properties": {}}, "name: Input should be a valid string"),
        ({"type": "function", "function": {}}, "it has no 'name'"),
        ({"type": "function", "function": None}, "NoneType"),
        (Unschematic, "Failed to generate JSON schema"),
        (untyped, "'Undefined' is not defined"),
    ],
)
def test_anything_else_is_refused_in_one_line(form: Any, reason: str) -> None:
    with pytest.raises(ToolSpecError, match="is not a tool") as caught:
        ToolSpec.of(form)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_tools_and_two_of_one_name_are_refused() -> None:
    with pytest.raises(ToolSpecError, match="at least one"):
        tool_specs([])
    with pytest.raises(ToolSpecError, match="'weather'"):
        tool_specs([weather, ToolSpec(name="weather")])


def test_the_digest_changes_with_name_description_and_schema() -> None:
    base = ToolSpec(name="a", description="b")
    others = [ToolSpec(name="b", description="b"), ToolSpec(name="a", description="c")]
    others.append(ToolSpec(name="a", description="b", parameters=PARAMETERS))
    assert len({spec.digest for spec in (base, *others)}) == 4
    assert ToolSpec(name="a", description="b").digest == base.digest


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("get_weatherReport", "get weather report"),
        ("P17", "p17"),
        ("a.b-c", "a b c"),
        ("天気", "天気"),
        ("météo_paris", "météo paris"),
        ("天气_2", "天气 2"),
        ("погода_2", "погода 2"),
        ("मौसम_शहर", "मौसम शहर"),
    ],
)
def test_a_name_is_split_into_words(name: str, words: str) -> None:
    assert name_words(name) == words
    assert ToolSpec(name=name).words == words


def test_an_unknown_name_raises_an_error_with_similar_names() -> None:
    unknown_tools(["add"], ["add", "weather"])
    with pytest.raises(ToolSpecError, match=r"'wether': did you mean 'weather'\?"):
        unknown_tools(["add", "wether"], ["add", "weather"])
