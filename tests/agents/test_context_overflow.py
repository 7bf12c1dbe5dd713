"""Conversations longer than the LM's context: the oldest exchanges are dropped, or the turn is refused."""

from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from toolken import FrozenLM, ToolkenAgent, ToolkenChatModel
from toolken.agents.context_overflow import fitting_prompt
from toolken.agents.errors import InputError, OptionError
from toolken.errors import PromptTooLongError
from toolken.training.prompts.conversation_format import named_format

pytestmark = pytest.mark.usefixtures("module_background")


@pytest.fixture(scope="module", params=["chat", "question"])
def form_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def native(templated: Any) -> FrozenLM:
    return templated("native")


def conversation(exchanges: int) -> list[BaseMessage]:
    call: Any = {"name": "weather", "args": {"city": "Oslo"}, "id": "one", "type": "tool_call"}
    said: list[BaseMessage] = [SystemMessage("Be brief.")]
    for number in range(exchanges):
        said += [HumanMessage(f"Question {number} about the weather in Oslo?"), AIMessage("", tool_calls=[call])]
        said += [ToolMessage(f"result {number}", tool_call_id="one"), AIMessage(f"The answer is result {number}.")]
    return [*said, HumanMessage("And the last question?")]


def test_the_oldest_exchanges_are_dropped_whole(native: FrozenLM, form_name: str) -> None:
    form = named_format(form_name, native)
    prompt, dropped = fitting_prompt(conversation(40), form, native, max_tokens=20)
    text = str(getattr(prompt.text, "text", prompt.text))
    assert dropped > 0
    assert dropped % 4 == 0
    assert "Be brief." in text
    assert "the last question?" in text
    first = dropped // 4
    assert f"Question {first} " in text
    assert f"result {first}" in text
    assert f"Question {first - 1} " not in text
    assert f"result {first - 1}." not in text
    assert len(native.encode(prompt.text).ids) + 20 <= native.max_length
    # No more is dropped than needed: the exchanges that stay fit, and one more does not.
    assert fitting_prompt(conversation(40 - first - 2), form, native, max_tokens=20)[1] == 0


def test_a_conversation_that_fits_is_left_alone(native: FrozenLM, form_name: str) -> None:
    assert fitting_prompt(conversation(1), named_format(form_name, native), native, max_tokens=20)[1] == 0


def test_the_message_says_how_many_were_dropped(native: FrozenLM, form_name: str) -> None:
    model = ToolkenChatModel(lm=native, format=form_name, max_tokens=4)  # type: ignore[arg-type]
    short, long = model.invoke(conversation(1)), model.invoke(conversation(40))
    assert "dropped_messages" not in short.response_metadata
    assert long.response_metadata["dropped_messages"] % 4 == 0 < long.response_metadata["dropped_messages"]
    assert long.usage_metadata is not None
    assert long.usage_metadata["input_tokens"] <= native.max_length


def test_overflow_error_refuses_the_conversation(native: FrozenLM, form_name: str) -> None:
    model = ToolkenChatModel(lm=native, format=form_name, max_tokens=4, overflow="error")  # type: ignore[arg-type]
    with pytest.raises(PromptTooLongError, match='give `overflow="drop"`'):
        model.invoke(conversation(40))
    assert model.bind(overflow="drop").invoke(conversation(40)).response_metadata["dropped_messages"]


@pytest.mark.parametrize("overflow", ["drop", "error"])
def test_a_last_question_that_is_too_long_is_refused(native: FrozenLM, form_name: str, overflow: Any) -> None:
    model = ToolkenChatModel(lm=native, format=form_name, max_tokens=4, overflow=overflow)  # type: ignore[arg-type]
    for earlier in (conversation(1)[:-1], []):
        with pytest.raises(PromptTooLongError, match=f"takes {native.max_length}"):
            model.invoke([*earlier, HumanMessage("very " * 2000)])


def test_the_agent_drops_and_refuses_as_the_chat_model_does(native: FrozenLM, form_name: str) -> None:
    def weather(city: str) -> str:
        """Tell the weather in a city."""
        return f"fine in {city}"

    form: Any = form_name
    agent = ToolkenAgent(native, None, [weather], format=form, missing="refuse")
    assert agent.invoke(conversation(40)).dropped_messages % 4 == 0
    assert agent.invoke(conversation(40)).dropped_messages > 0
    assert agent.invoke("How is the weather?").dropped_messages == 0
    with pytest.raises(PromptTooLongError):
        ToolkenAgent(native, None, [weather], format=form, overflow="error").invoke(conversation(40))
    with pytest.raises(OptionError, match="'drop' or 'error'"):
        ToolkenAgent(native, None, [weather], overflow="forget")  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["image", "audio", "video", "file"])
def test_blocks_that_the_lm_cannot_read_are_refused(native: FrozenLM, form_name: str, kind: str) -> None:
    block: Any = {"type": kind, "url": "https://example.org/one"}
    model = ToolkenChatModel(lm=native, format=form_name, max_tokens=4)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=kind):
        model.invoke([HumanMessage([{"type": "text", "text": "What is this?"}, block])])
