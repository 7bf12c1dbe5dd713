"""Tools of every form are read alike, and errors are raised when they are bound."""

from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from langchain_core.tools import BaseTool, StructuredTool, tool
from pydantic import BaseModel, Field, field_validator
from pydantic.v1 import BaseModel as BaseModelV1
from typing_extensions import TypedDict

from toolken import Grounded
from toolken.agents.bound_tools import BoundTools, chosen
from toolken.errors import ToolSpecError
from toolken.training.tool_spec import ToolSpec


def weather(city: str, days: int = 1) -> str:
    """Tell the weather in a city."""
    return "fine"


class Weather(BaseModel):
    """Tell the weather in a city."""

    city: str
    days: int = 1


class WeatherV1(BaseModelV1):
    """Tell the weather in a city."""

    city: str
    days: int = 1


class WeatherDict(TypedDict):
    """Tell the weather in a city."""

    city: str
    days: int


class WeatherTool(BaseTool):
    """A tool as a class."""

    name: str = "weather"
    description: str = "Tell the weather in a city."

    def _run(self, city: str, days: int = 1) -> str:
        return "fine"


SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
DICT = {"name": "weather", "description": "Tell the weather in a city.", "parameters": SCHEMA}

FORMS: dict[str, Any] = {
    "function": weather,
    "decorated": tool(weather),
    "structured": StructuredTool.from_function(weather),
    "class": WeatherTool(),
    "pydantic": Weather,
    "pydantic v1": WeatherV1,
    "TypedDict": WeatherDict,
    "OpenAI": {"type": "function", "function": DICT},
    "OpenAI, inner": DICT,
    "Anthropic": {"name": "weather", "description": DICT["description"], "input_schema": SCHEMA},
    "JSON schema": SCHEMA | {"title": "weather", "description": DICT["description"]},
    "MCP": {"name": "weather", "description": DICT["description"], "inputSchema": SCHEMA},
    "spec": ToolSpec(name="weather", description="Tell the weather in a city.", parameters=SCHEMA),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_tool_of_any_form_is_read(form: Any) -> None:
    bound = BoundTools.of([form])
    (spec,) = bound.specs
    assert spec.name.lower().startswith("weather")
    assert spec.description == "Tell the weather in a city."
    assert set(spec.arguments) == {"city", "days"}
    assert bound == [{"type": "function", "function": spec.model_dump()}]
    assert bound.problem(spec.name, {"city": "Oslo", "days": 2}) is None
    assert "days" in str(bound.problem(spec.name, {"city": "Oslo", "days": "two"}))


def test_a_tool_that_is_read_again_is_the_same_one() -> None:
    made = StructuredTool.from_function(weather)
    first, second = BoundTools.of([made, DICT | {"name": "other"}]), BoundTools.of([made, DICT | {"name": "other"}])
    assert all(one is other for one, other in zip(first.specs, second.specs, strict=True))
    made.description = "Something else."
    assert BoundTools.of([made]).specs[0].description == "Something else."


def test_one_tool_in_two_forms_counts_once_and_two_of_one_name_are_refused() -> None:
    assert len(BoundTools.of([Weather, Weather.model_json_schema()])) == 1
    assert len(BoundTools.of([weather, weather])) == 1
    with pytest.raises(ToolSpecError, match="Two tools are called 'weather'"):
        BoundTools.of([weather, DICT | {"description": "Something else."}])


def test_names_that_differ_only_in_case_are_two_names() -> None:
    bound = BoundTools.of([DICT, DICT | {"name": "Weather"}])
    assert bound.names == ["weather", "Weather"]
    assert chosen("Weather", bound.names) == (("Weather",), True)
    with pytest.raises(ToolSpecError, match="'WEATHER'"):
        chosen("WEATHER", bound.names)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, (("a", "b"), False)),
        (False, (("a", "b"), False)),
        ("auto", (("a", "b"), False)),
        ("none", ((), False)),
        ("any", (("a", "b"), True)),
        ("required", (("a", "b"), True)),
        (True, (("a", "b"), True)),
        ("b", (("b",), True)),
        ({"type": "function", "function": {"name": "b"}}, (("b",), True)),
        ({"type": "tool", "name": "b"}, (("b",), True)),
    ],
    ids=str,
)
def test_every_tool_choice_is_understood(choice: Any, expected: Any) -> None:
    assert chosen(choice, ["a", "b"]) == expected


def test_a_tool_may_have_the_name_of_a_tool_choice() -> None:
    assert chosen("any", ["any", "b"]) == (("any",), True)
    assert chosen({"name": "none"}, ["none", "b"]) == (("none",), True)


@pytest.mark.parametrize("choice", ["c", {"name": "c"}, {}, {"type": "function"}, {"function": "a"}, 3, ["a"]], ids=str)
def test_a_choice_that_names_no_tool_is_refused(choice: Any) -> None:
    with pytest.raises(ToolSpecError):
        chosen(choice, ["a", "b"])


@pytest.mark.parametrize("choice", ["any", True, "a"])
def test_a_required_call_of_no_tool_is_refused(choice: Any) -> None:
    with pytest.raises(ToolSpecError, match="no tool is bound"):
        chosen(choice, [])


@pytest.mark.parametrize(
    "thing", [3, "weather", None, {"description": "no name"}, object()], ids=lambda one: type(one).__name__
)
def test_other_objects_than_tools_are_refused(thing: Any) -> None:
    with pytest.raises(ToolSpecError, match="is not a tool"):
        BoundTools.of([thing])


def test_arguments_can_be_declared_to_be_copied() -> None:
    by_name = BoundTools.of([weather], grounded=["city"]).specs[0].arguments
    assert by_name["city"]["x-grounded"] is True
    assert "x-grounded" not in by_name["days"]
    assert BoundTools.of([weather], grounded=["weather.days"]).specs[0].arguments["days"]["x-grounded"] is True
    assert all(one["x-grounded"] for one in BoundTools.of([weather], grounded=True).specs[0].arguments.values())
    assert "x-grounded" not in BoundTools.of([weather]).specs[0].arguments["city"]
    with pytest.raises(ToolSpecError, match=r"'town'.*'city'"):
        BoundTools.of([weather], grounded=["town"])


def test_an_annotation_declares_it_as_well() -> None:
    @tool
    def distance(start: Annotated[str, Grounded()], goal: str) -> str:
        """Tell how far it is."""
        return "far"

    arguments = BoundTools.of([distance]).specs[0].arguments
    assert arguments["start"]["x-grounded"] is True
    assert "x-grounded" not in arguments["goal"]


class Colour(Enum):
    """A colour."""

    RED = "red"
    BLUE = "blue"


class Paint(BaseModel):
    """Paint a wall."""

    colour: Colour
    coats: int = Field(ge=1, le=3)
    finish: Literal["matt", "gloss"] = "matt"

    @field_validator("coats")
    @classmethod
    def _odd(cls, coats: int) -> int:
        if coats == 2:
            raise ValueError("two coats never dry")
        return coats


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"colour": "red", "coats": 1}, None),
        ({"colour": "green", "coats": 1}, "green"),
        ({"colour": "red", "coats": 9}, "9"),
        ({"colour": "red", "coats": 2}, "two coats never dry"),
        ({"coats": 1}, "colour"),
    ],
)
def test_arguments_are_checked_by_the_schema_and_the_class(arguments: dict[str, Any], reason: str | None) -> None:
    problem = BoundTools.of([Paint]).problem("Paint", arguments)
    if reason is None:
        assert problem is None
    else:
        assert problem is not None
        assert reason in problem
        assert "'Paint'" in problem


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "https://example.com/schema.json"},
        {"type": "strin"},
        {"pattern": "(unclosed", "type": "string"},
        {"$ref": "#/$defs/missing"},
    ],
    ids=str,
)
def test_a_schema_that_is_itself_wrong_checks_nothing_and_fetches_nothing(schema: dict[str, Any]) -> None:
    parameters = {"type": "object", "properties": {"a": schema}}
    bound = BoundTools.of([{"name": "t", "description": "T.", "parameters": parameters}])
    assert bound.problem("t", {"a": "x"}) is None


def test_few_shot_examples_belong_to_a_bound_tool() -> None:
    shown = {"tool": "weather", "question": "How is it in Oslo?", "args": {"city": "Oslo"}}
    bound = BoundTools.of([weather], few_shot=[shown])
    assert bound.few_shot[0].args == {"city": "Oslo"}
    with pytest.raises(ToolSpecError, match="'wether'"):
        BoundTools.of([weather], few_shot=[shown | {"tool": "wether"}])
