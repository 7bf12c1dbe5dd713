"""Every calculator tool passes LangChain's standard tool tests and works in an agent's message loop."""

import json

import pytest
from langchain_tests.integration_tests import ToolsIntegrationTests
from langchain_tests.unit_tests import ToolsUnitTests

from toolken.tools.calculator import OPERATIONS, Answer, calculator_tools

TOOLS = {tool.name: tool for tool in calculator_tools()}
ARGUMENTS = {
    "add": {"numbers": ["1,234.5", 2]},
    "subtract": {"numbers": [5, 3, 1]},
    "multiply": {"numbers": [4, "25%"]},
    "divide": {"numbers": [2, 3]},
    "power": {"base": 1.5, "exponent": 2},
    "sqrt": {"number": "$16"},
    "log": {"number": 100},
    "ln": {"number": 2},
    "lcm": {"numbers": [4, 6]},
    "gcd": {"numbers": [4, 6]},
    "remainder": {"dividend": 7, "divisor": 3},
    "choose": {"total": 5, "chosen": 2},
    "permutate": {"total": 5, "arranged": 2},
    "statistics": {"numbers": [1, 2, 4], "measure": "mean"},
    "evaluate": {"expression": "2 + 3*4"},
    "solve": {"equations": ["2x = 6"]},
    "differentiate": {"expression": "x^2"},
    "integrate": {"expression": "x^2", "lower": 0, "upper": 3},
    "simplify": {"expression": "x + x"},
    "convert_units": {"number": 5, "from_unit": "miles", "to_unit": "km"},
}


def standard_tests(name):
    members = {
        "tool_constructor": property(lambda self: TOOLS[name]),
        "tool_invoke_params_example": property(lambda self: ARGUMENTS[name]),
    }
    title = name.title().replace("_", "")
    return {
        f"Test{title}{base.__name__}": type(title, (base,), members) for base in (ToolsUnitTests, ToolsIntegrationTests)
    }


for _name in TOOLS:
    globals().update(standard_tests(_name))


def test_the_tools_are_those_that_are_announced():
    assert list(TOOLS) == list(ARGUMENTS)
    assert tuple(tool.name for tool in calculator_tools("operations")) == OPERATIONS
    with pytest.raises(ValueError, match="selection"):
        calculator_tools("some")


@pytest.mark.parametrize("name", TOOLS)
def test_every_argument_is_described_and_every_text_is_bounded(name):
    schema = TOOLS[name].tool_call_schema.model_json_schema()

    def check(node):
        if node.get("type") == "string" and "enum" not in node:
            assert node["maxLength"] <= 200
        if node.get("type") == "array":
            assert node["maxItems"] <= 500
        for inner in [*node.get("anyOf", []), *([node["items"]] if "items" in node else [])]:
            check(inner)

    for argument in schema["properties"].values():
        assert argument["description"].endswith(".")
        check(argument)
    assert len(TOOLS[name].description) < 200


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_number_is_marked_as_copied_from_the_conversation(name):
    for argument in TOOLS[name].tool_call_schema.model_json_schema()["properties"].values():
        assert argument.get("items", argument)["x-grounded"] is True


@pytest.mark.parametrize("name", TOOLS)
def test_the_artifact_is_plain_and_matches_the_text(name):
    message = TOOLS[name].invoke({"type": "tool_call", "id": "1", "name": name, "args": ARGUMENTS[name]})
    assert message.status == "success"
    assert message.artifact.text == message.content
    assert Answer(**json.loads(message.artifact.model_dump_json())) == message.artifact


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("divide", {"numbers": [1, 0]}, "Division by zero"),
        ("add", {"numbers": "3, 4"}, "valid list"),
        ("add", {"numbers": [1]}, "at least 2"),
        ("add", {"numbers": ["9" * 10**6, "x"]}, "too long for a number"),
        ("add", {"numbers": [None, {"a": [1]}]}, "not a number"),
        ("add", {}, "numbers is missing"),
        ("add", {"numbers": [1, 2], "places": 2}, "no argument places"),
        ("evaluate", {"expression": 5}, "valid string"),
        ("differentiate", {"expression": "x", "order": 99}, "less than or equal to 10"),
        ("statistics", {"numbers": [1], "measure": "middle"}, "'mean'"),
        ("statistics", {"numbers": [1], "measure": "variance"}, "undefined"),
        ("simplify", {"expression": "x", "form": "short"}, "'simplest'"),
    ],
)
def test_bad_arguments_get_a_sentence_and_no_traceback(name, arguments, says):
    message = TOOLS[name].invoke({"type": "tool_call", "id": "1", "name": name, "args": arguments})
    assert (message.status, message.artifact) == ("error", None)
    assert says in message.content
    assert "\n" not in message.content
    assert len(message.content) < 300


def test_statistics_are_exact():
    numbers = ["1/3", 0.1, "25%", 4, 4]
    found = {
        measure: TOOLS["statistics"].invoke({"numbers": numbers, "measure": measure})
        for measure in ("mean", "median", "mode", "range", "sum", "minimum", "maximum")
    }
    assert found == {
        "mean": "1.736666667",
        "median": "0.3333333333",
        "mode": "4",
        "range": "3.9",
        "sum": "8.683333333",
        "minimum": "0.1",
        "maximum": "4",
    }
    eight = [2, 4, 4, 4, 5, 5, 7, 9]
    assert TOOLS["statistics"].invoke({"numbers": eight, "measure": "population standard deviation"}) == "2"
    assert TOOLS["statistics"].invoke({"numbers": eight}).startswith("count 8, mean 5, median 4.5, mode 4, range 7")
