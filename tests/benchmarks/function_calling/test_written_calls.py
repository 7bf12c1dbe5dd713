"""Calls as instruct models of several families write them, and texts that are none."""

import pytest

from toolken.benchmarks.function_calling.record import MadeCall
from toolken.benchmarks.function_calling.written_calls import written_calls

NAMES = ["get_weather", "send"]
OSLO = MadeCall("get_weather", {"city": "Oslo"})


@pytest.mark.parametrize(
    "text",
    [
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>',
        '<tool_call>{"name": "get_weather", "arguments": {"city": "Oslo"}}',
        "<tool_call>{'name': 'get_weather', 'arguments': {'city': 'Oslo'}}</tool_call>",
        '<function=get_weather>{"city": "Oslo"}</function>',
        '[TOOL_CALLS] [{"name": "get_weather", "arguments": {"city": "Oslo"}}]',
        '<|python_tag|>{"name": "get_weather", "parameters": {"city": "Oslo"}}',
        'functools[{"name": "get_weather", "arguments": {"city": "Oslo"}}]',
        'Sure:\n```json\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n```',
        '{"name": "get_weather", "parameters": {"city": "Oslo"}}',
        '{"type": "function", "function": {"name": "get_weather", "arguments": "{\\"city\\": \\"Oslo\\"}"}}',
        '[get_weather(city="Oslo")]',
        "get_weather(city='Oslo')",
    ],
)
def test_a_call_in_any_usual_form_is_read(text: str) -> None:
    assert written_calls(text, NAMES)[0] == [OSLO]


def test_several_calls_keep_their_order() -> None:
    text = (
        '<tool_call>\n{"name": "send", "arguments": {"to": "Ann"}}\n</tool_call>\n'
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>'
    )
    assert written_calls(text, NAMES)[0] == [MadeCall("send", {"to": "Ann"}), OSLO]
    assert written_calls('[send(to="Ann"), get_weather(city="Oslo")]', NAMES)[0] == [
        MadeCall("send", {"to": "Ann"}),
        OSLO,
    ]


def test_text_beside_a_call_is_kept() -> None:
    text = 'Let me look.\n<tool_call>{"name": "get_weather", "arguments": {"city": "Oslo"}}</tool_call>'
    assert written_calls(text, NAMES) == ([OSLO], "Let me look.")


@pytest.mark.parametrize(
    "text",
    [
        "Which city do you mean?",
        "The set {1, 2} has two elements.",
        '{"city": "Oslo"}',
        "f(x) = 2x is a line.",
        "unknown_tool(city='Oslo')",
        "",
    ],
)
def test_a_text_without_a_call_stays_text(text: str) -> None:
    assert written_calls(text, NAMES) == ([], text)


def test_a_marked_call_that_is_no_json_counts_as_a_call() -> None:
    assert written_calls("<tool_call>weather of Oslo</tool_call>", NAMES)[0] == [MadeCall("", None)]


def test_an_unfinished_call_is_read_as_far_as_it_goes() -> None:
    found, _ = written_calls('<tool_call>{"name": "get_weather", "arguments": {"city": "Oslo", "days": 3', NAMES)
    assert found == [MadeCall("get_weather", {"city": "Oslo", "days": 3})]


def test_arguments_that_are_no_object_are_none() -> None:
    assert written_calls('{"name": "get_weather", "arguments": ["Oslo"]}', NAMES)[0] == [MadeCall("get_weather", None)]


def test_a_response_parser_of_the_tokenizer_comes_first() -> None:
    class Tokenizer:
        response_template = "any"

        def parse_response(self, text: str) -> dict[str, object]:
            call = {"function": {"name": "send", "arguments": {"to": text}}}
            return {"content": "Sent.", "tool_calls": [call]}

    assert written_calls("Ann", NAMES, Tokenizer()) == ([MadeCall("send", {"to": "Ann"})], "Sent.")
