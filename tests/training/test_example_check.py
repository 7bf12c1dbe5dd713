"""Examples whose calls a tool could not take are refused with the place and a suggestion."""

import json
from pathlib import Path
from typing import Any, Literal

import pytest
from langchain_core.tools import tool

from toolken import Call, Example, ToolSpec, read_examples
from toolken.errors import ExampleError
from toolken.training.examples import check_examples, from_records
from toolken.training.tool_spec import ToolLike, tool_specs


@tool
def add(numbers: list[float], unit: Literal["kg", "g"] = "kg") -> float:
    """Add numbers."""
    return sum(numbers)


@tool
def now() -> str:
    """Tell the time."""
    return "noon"


OPEN: ToolLike = {
    "name": "store",
    "description": "Store values.",
    "parameters": {"type": "object", "properties": {"key": {"type": "string"}}, "additionalProperties": True},
}
BROKEN: ToolLike = {
    "name": "search",
    "description": "Search texts.",
    "parameters": {"type": "object", "properties": {"text": {"type": "no type"}, "code": {"pattern": "(?<a"}}},
}
SPECS = [*tool_specs([add, now, OPEN, BROKEN]), ToolSpec(name="published", description="Known by name and words.")]


def called(name: str, **args: Any) -> Example:
    return Example(question="What?", calls=(Call(tool=name, args=args, result="5"),))


REFUSED = [
    (called("ad", numbers=[1]), "calls 'ad', which is not among the 5 tools: did you mean 'add'?"),
    (called("zzz"), "calls 'zzz', which is not among the 5 tools: add the tool or remove the example."),
    (called("add", number=[1, 2]), "the argument 'number', which the tool does not have: did you mean 'numbers'?"),
    (called("add", x=[1, 2]), "the argument 'x', which the tool does not have: its arguments are 'numbers', 'unit'."),
    (called("now", city="Oslo"), "the argument 'city', which the tool does not have: it takes none."),
    (called("add", unit="kg"), "calls 'add' without the required argument 'numbers'"),
    (called("add", numbers="1 and 2"), "refuses: numbers: '1 and 2' is not of type 'array': correct the value."),
    (called("add", numbers=[1, "two"]), "refuses: numbers[1]: 'two' is not of type 'number'"),
    (called("add", numbers=[1], unit="lb"), "refuses: unit: 'lb' is not one of ['kg', 'g']"),
    (called("store", key=5), "refuses: key: 5 is not of type 'string'"),
]
ACCEPTED = [
    called("add", numbers=[1, 2.5], unit="g"),
    called("add"),  # arguments omitted
    called("add", **{"0": 1, "1": 2}),  # the published form has no names
    called("now"),
    called("store", key="a", anything=1),
    called("search", text=5, code="x"),  # a schema that is not valid checks nothing
    called("published", subject="Oslo"),
]


@pytest.mark.parametrize(("example", "said"), REFUSED)
def test_a_wrong_call_is_named_by_number_or_by_file_and_line(tmp_path: Path, example: Example, said: str) -> None:
    with pytest.raises(ExampleError) as caught:
        check_examples([called("now"), example], SPECS)
    assert str(caught.value).startswith("Example 2 calls ")
    assert said in str(caught.value)
    path = tmp_path / "calls.jsonl"
    path.write_text(f"{called('now').model_dump_json()}\n\n{example.model_dump_json()}\n")
    with pytest.raises(ExampleError) as caught:
        read_examples(path, SPECS)
    assert str(caught.value).startswith(f"{path}, line 3 calls ")
    assert said in str(caught.value)
    assert len(read_examples(path)) == 2


@pytest.mark.parametrize("example", ACCEPTED)
def test_a_call_that_the_tool_takes_is_accepted(example: Example) -> None:
    check_examples([example], SPECS)


def test_with_names_alone_arguments_are_not_checked() -> None:
    check_examples([called("add", number=1)], ["add"])
    with pytest.raises(ExampleError, match=r"Example 2 calls 'ad'.*did you mean 'add'"):
        check_examples([called("add", number=1), called("ad")], ["add"])


def test_the_shipped_generators_write_what_their_tools_take() -> None:
    from toolken.tools import calculator, knowledge

    check_examples(list(from_records(calculator.examples(300))), tool_specs(calculator.calculator_tools()))
    facts = tool_specs(knowledge.world_knowledge().tools())
    check_examples(list(from_records(knowledge.examples(300))), facts)


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + json.dumps(called("now").model_dump()).encode(),
        json.dumps(called("now").model_dump()).encode() + b"\r\n\r\n",
        json.dumps(called("now").model_dump()).encode() + b"\n" + json.dumps(called("now").model_dump()).encode(),
    ],
    ids=["byte-order mark", "CRLF", "no newline at the end"],
)
def test_files_of_other_systems_are_read(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "calls.jsonl"
    path.write_bytes(content)
    assert read_examples(path, SPECS)[0] == called("now")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("\ufeff{}".encode("utf-16"), "it is not UTF-8"),
        (b"\x89PNG\r\n\x1a\n", "it is not UTF-8"),
        (b'{"question": "What?", "calls": [{"tool": "now"}],}', "line 1 is not JSON"),
        (b'[{"question": "What?", "calls": [{"tool": "now"}]}]', "line 1 is not a JSON object"),
        (b"\xef\xbb\xbf\n", "has no example"),
    ],
    ids=["UTF-16", "binary", "trailing comma", "a JSON list", "a mark alone"],
)
def test_files_in_another_form_are_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "calls.jsonl"
    path.write_bytes(content)
    with pytest.raises(ExampleError, match=said):
        read_examples(path, SPECS)
