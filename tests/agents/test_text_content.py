"""Content of messages and results of tools become the text that a person would read in them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from toolken import PromptFormat
from toolken.agents.conversation import to_prompt
from toolken.agents.errors import InputError
from toolken.agents.text_content import blocks_text, message_text, value_text


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("plain", "plain"),
        ([], ""),
        (["What is ", {"type": "text", "text": "2?"}], "What is 2?"),
        ([{"type": "text", "text": "One."}, {"type": "text", "text": "Two."}], "One.\nTwo."),
        ([{"type": "text", "text": "A"}, {"type": "text", "text": ""}, {"type": "text", "text": " B"}], "A B"),
        ([{"type": "text-plain", "text": "A", "mime_type": "text/plain"}], "A"),
        ([{"type": "input_text", "text": "A"}, {"type": "output_text", "text": "B"}], "A\nB"),
        ([{"type": "file", "source_type": "text", "text": "A"}], "A"),
        ([{"type": "document", "source": {"type": "text", "data": "A"}, "title": "T"}], "A"),
        ([{"type": "search_result", "title": "T", "content": [{"type": "text", "text": "A"}]}], "T\nA"),
        ([{"type": "json", "json": {"é": [1, None]}}], '{"é": [1, null]}'),
    ],
)
def test_content_blocks_are_read_as_text(content: Any, text: str) -> None:
    assert message_text(HumanMessage(content)) == text
    assert message_text(ToolMessage(content, tool_call_id="1")) == text


def test_reasoning_and_calls_in_blocks_are_no_text() -> None:
    blocks = [
        {"type": "thinking", "thinking": "hm"},
        {"type": "reasoning", "reasoning": "hm"},
        {"type": "text", "text": "Hello"},
        {"type": "tool_use", "id": "1", "name": "add", "input": {"a": 1}},
    ]
    assert message_text(AIMessage(blocks)) == "Hello"  # type: ignore[arg-type]


def test_anthropics_calls_and_results_are_read() -> None:
    call = {"type": "tool_use", "id": "1", "name": "add", "input": {"a": 1}}
    result = {"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": "42"}]}
    prompt = to_prompt([HumanMessage("Q"), AIMessage([call]), HumanMessage([result])], PromptFormat())
    assert prompt.results == ("42",)
    assert prompt.before == ({"a": 1},)
    assert prompt.ends_with_result
    failed = to_prompt(
        [HumanMessage("Q"), AIMessage([call]), HumanMessage([result | {"is_error": True}])], PromptFormat()
    )
    assert (failed.results, failed.failed) == ((), {"add"})
    after = {"type": "text", "text": "And now?"}
    assert (
        to_prompt([HumanMessage("Q"), AIMessage([call]), HumanMessage([result, after])], PromptFormat()).question
        == "And now?"
    )


@given(st.lists(st.text(max_size=8), max_size=6))
def test_no_character_of_a_text_block_is_lost_and_no_words_are_glued(texts: list[str]) -> None:
    whole = blocks_text([{"type": "text", "text": text} for text in texts], "A message")
    assert "".join(whole.split()) == "".join("".join(texts).split())
    assert whole.split() == " ".join(texts).split()


_DATA = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3) | st.tuples(inner)
    ),
    max_leaves=8,
)


@given(_DATA)
def test_any_data_is_a_text_that_shows_its_strings(data: Any) -> None:
    text = value_text(data)
    assert isinstance(text, str)
    assert bool(text) or data in ("", b"", [""], ("",), [b""]) or not "".join(map(str, data))
    if isinstance(data, int):
        assert text == str(data).lower()


@pytest.mark.parametrize(
    "block", [{"type": "image", "base64": "x"}, {"type": "file", "base64": "x"}, {"type": "audio", "url": "x"}]
)
def test_media_are_an_error_and_data_with_such_a_key_are_not(block: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="The tool's result has a content block of type"):
        value_text([{"type": "text", "text": "see"}, block])
    assert value_text({"type": "document", "pages": 3}) == '{"type": "document", "pages": 3}'
    assert value_text([{"type": "car", "text": "x"}]) == '[{"type": "car", "text": "x"}]'
