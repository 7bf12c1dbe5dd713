"""The chat model behaves like LangChain's others, and refuses options that make no sense."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.tools import tool
from pydantic import ValidationError

from toolken import FrozenLM, ToolkenChatModel, ToolkenHead, ToolSpec
from toolken.errors import FingerprintError, HeadError, PromptTooLongError, ToolSpecError


@pytest.fixture
def model(tiny_lm: FrozenLM, tiny_head: ToolkenHead) -> ToolkenChatModel:
    """A chat model over a random LM whose answers end at no line break."""
    tiny_head = replace(tiny_head, prompt=tiny_head.prompt.model_copy(update={"stop": (), "words_preamble": ""}))
    return ToolkenChatModel(lm=tiny_lm, head=tiny_head, max_tokens=10)


@pytest.fixture
def tools(specs: list[ToolSpec]) -> list[dict[str, Any]]:
    """The head's tools in OpenAI's form."""
    return [{"type": "function", "function": spec.model_dump()} for spec in specs]


@tool
def price(product: str) -> str:
    """Look up the price of a product."""
    return "5"


QUESTION = "What is 12 plus 30 in Paris?"


def joined(chunks: list[AIMessageChunk]) -> AIMessageChunk:
    """Add up chunks."""
    total = chunks[0]
    for chunk in chunks[1:]:
        total = total + chunk
    return total


def with_threshold(model: ToolkenChatModel, threshold: float) -> ToolkenChatModel:
    """Return a model with the same LM whose head calls a tool from another probability on."""
    return ToolkenChatModel(lm=model.lm, head=replace(model.head, threshold=threshold), max_tokens=model.max_tokens)


def test_an_answer_carries_text_usage_and_the_reason_it_ended(model: ToolkenChatModel, tiny_lm: FrozenLM) -> None:
    message = model.invoke(QUESTION)
    assert isinstance(message, AIMessage)
    assert message.text.startswith("The answer is")
    assert message.tool_calls == []
    assert message.usage_metadata is not None
    assert message.usage_metadata["input_tokens"] == len(tiny_lm.encode(model.head.prompt.query(QUESTION)).ids)
    assert message.usage_metadata["output_tokens"] <= 10
    usage = message.usage_metadata
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert message.response_metadata["finish_reason"] in {"length", "stop"}
    assert message.response_metadata["model_name"] == tiny_lm.name


@pytest.mark.parametrize("choice", ["any", "none"])
def test_streamed_chunks_add_up_to_the_message(
    model: ToolkenChatModel, tools: list[dict[str, Any]], choice: str
) -> None:
    bound = model.bind_tools(tools, tool_choice=choice, max_tokens=60)
    chunks = [chunk for chunk in bound.stream(QUESTION) if isinstance(chunk, AIMessageChunk)]
    whole, message = joined(chunks), bound.invoke(QUESTION)
    assert len(chunks) > 3
    assert whole.content == message.content
    assert [(c["name"], c["args"]) for c in whole.tool_calls] == [(c["name"], c["args"]) for c in message.tool_calls]
    assert whole.usage_metadata is not None
    assert message.usage_metadata is not None
    assert whole.usage_metadata["total_tokens"] == message.usage_metadata["total_tokens"]
    assert bool(whole.tool_calls) is (choice == "any")
    assert whole.invalid_tool_calls == []
    assert chunks[-1].chunk_position == "last"


async def test_asynchronous_use_gives_the_same(model: ToolkenChatModel) -> None:
    expected = model.invoke(QUESTION).content
    assert (await model.ainvoke(QUESTION)).content == expected
    assert joined([chunk async for chunk in model.astream(QUESTION)]).content == expected


def test_concurrent_questions_give_their_sequential_answers(model: ToolkenChatModel) -> None:
    questions = [f"What is {i} plus {i * 7}?" for i in range(6)]
    together = model.batch([*questions], config={"max_concurrency": 4})
    assert [m.content for m in together] == [model.invoke(question).content for question in questions]


@pytest.mark.parametrize("choice", ["any", "required", True])
def test_a_required_call_is_made_with_valid_arguments(
    model: ToolkenChatModel, tools: list[dict[str, Any]], choice: Any
) -> None:
    message = model.bind_tools(tools, tool_choice=choice, max_tokens=60).invoke(QUESTION)
    (call,) = message.tool_calls
    assert call["name"] in {"add", "weather", "capital"}
    assert call["id"]
    assert message.response_metadata["finish_reason"] == "tool_calls"
    (why,) = message.response_metadata["toolken"]["calls"]
    assert why["tool"] == call["name"]
    assert why["probability"] >= max(why["runners_up"].values())
    assert 0 <= message.response_metadata["toolken"]["call_probability"] <= 1
    json.dumps(message.response_metadata)


@pytest.mark.parametrize("name", ["add", "weather", "capital"])
@pytest.mark.parametrize("form", ["name", "function", "plain"])
def test_a_named_tool_is_called(model: ToolkenChatModel, tools: list[dict[str, Any]], name: str, form: str) -> None:
    choice = {"name": name, "function": {"type": "function", "function": {"name": name}}, "plain": {"name": name}}
    bound = model.bind_tools(tools, tool_choice=choice[form], max_tokens=60)  # type: ignore[arg-type]
    (call,) = bound.invoke(QUESTION).tool_calls
    assert call["name"] == name
    if name == "add":
        assert sorted(call["args"]["numbers"]) == [12, 30]


@pytest.mark.parametrize("choice", [None, "auto", "none"])
def test_without_a_required_call_the_threshold_decides(
    model: ToolkenChatModel, tools: list[dict[str, Any]], choice: Any
) -> None:
    model = with_threshold(model, 1.1)
    assert model.bind_tools(tools, tool_choice=choice).invoke(QUESTION).tool_calls == []
    model = with_threshold(model, 0.0)
    called = model.bind_tools(tools, tool_choice=choice, max_tokens=60).invoke(QUESTION).tool_calls
    assert bool(called) is (choice != "none")


def test_a_choice_of_a_tool_that_is_not_bound_is_refused_at_once(
    model: ToolkenChatModel, tools: list[dict[str, Any]]
) -> None:
    with pytest.raises(ToolSpecError, match=r"'wether': did you mean 'weather'"):
        model.bind_tools(tools, tool_choice="wether")
    with pytest.raises(ToolSpecError, match="no tool is bound"):
        model.bind_tools([], tool_choice="any")
    with pytest.raises(ToolSpecError, match="Two tools are called 'add'"):
        model.bind_tools([tools[0], {"name": "add", "description": "Something else.", "parameters": {}}])
    with pytest.raises(ToolSpecError):
        model.bind_tools(tools, tool_choice={"type": "function"})


def test_a_tool_the_head_has_not_seen_can_be_bound_and_called(
    model: ToolkenChatModel, tools: list[dict[str, Any]]
) -> None:
    bound = model.bind_tools([*tools, price], tool_choice="price", max_tokens=300)
    (call,) = bound.invoke(QUESTION).tool_calls
    assert call["name"] == "price"
    assert set(call["args"]) == {"product"}
    assert model.head.names == ["add", "weather", "capital"]


def test_only_bound_tools_are_called(model: ToolkenChatModel, tools: list[dict[str, Any]]) -> None:
    for one in tools:
        (call,) = model.bind_tools([one], tool_choice="any", max_tokens=60).invoke(QUESTION).tool_calls
        assert call["name"] == one["function"]["name"]


def test_tools_cost_no_prompt_tokens(model: ToolkenChatModel, tools: list[dict[str, Any]]) -> None:
    model = with_threshold(model, 1.1)
    with_tools, without = model.bind_tools([*tools, price]).invoke(QUESTION), model.invoke(QUESTION)
    assert with_tools.usage_metadata == without.usage_metadata


def test_a_conversation_goes_on_after_a_result(model: ToolkenChatModel, tools: list[dict[str, Any]]) -> None:
    bound = model.bind_tools(tools, tool_choice="add", max_tokens=60)
    called = bound.invoke(QUESTION)
    result = ToolMessage("42", tool_call_id=called.tool_calls[0]["id"])
    model = with_threshold(model, 1.1)
    answer = model.bind_tools(tools).invoke([HumanMessage(QUESTION), called, result])
    assert answer.text == "The answer is 42."


def test_stop_texts_of_model_and_call_both_end_an_answer(model: ToolkenChatModel) -> None:
    text = model.invoke(QUESTION).text
    plain = [i for i in range(len("The answer is"), len(text)) if text[i].isascii()]
    stop = text[plain[-1]]
    expected = text[: text.index(stop, len("The answer is"))]
    assert model.invoke(QUESTION, stop=[stop]).text == expected
    assert model.model_copy(update={"stop": [stop]}).invoke(QUESTION).text == expected
    assert model.bind(stop=[stop]).invoke(QUESTION).text == expected


def test_max_tokens_bounds_the_message(model: ToolkenChatModel) -> None:
    for count in (1, 3):
        message = model.invoke(QUESTION, max_tokens=count)
        assert message.usage_metadata is not None
        assert message.usage_metadata["output_tokens"] == count
        assert message.response_metadata["finish_reason"] == "length"


def test_seeds_are_reproducible(model: ToolkenChatModel) -> None:
    drawn = model.model_copy(update={"temperature": 1.5, "seed": 1})
    first = drawn.invoke(QUESTION).text
    assert drawn.invoke(QUESTION).text == first
    assert drawn.invoke(QUESTION, seed=1).text == first
    assert {model.invoke(QUESTION, temperature=1.5, seed=seed).text for seed in range(4)} != {first}


@pytest.mark.parametrize(
    "options",
    [
        {"temprature": 1},
        {"temperature": -1},
        {"top_p": 0},
        {"top_p": 2},
        {"max_tokens": 0},
        {"stop": ""},
        {"stop": [1]},
    ],
    ids=str,
)
def test_unknown_and_invalid_options_are_refused(
    tiny_lm: FrozenLM, tiny_head: ToolkenHead, options: dict[str, Any]
) -> None:
    with pytest.raises(ValidationError, match=next(iter(options))):
        ToolkenChatModel(lm=tiny_lm, head=tiny_head, **options)


@pytest.mark.parametrize(
    "options",
    [{"temprature": 1}, {"temperature": -1}, {"top_p": 0}, {"max_tokens": 0}, {"max_tokens": -3}],
    ids=str,
)
def test_unknown_and_invalid_options_of_a_call_are_refused(model: ToolkenChatModel, options: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError), match=next(iter(options))):
        model.invoke(QUESTION, **options)


def test_two_heads_have_different_cache_keys(model: ToolkenChatModel, tiny_lm: FrozenLM) -> None:
    other = ToolkenChatModel(lm=tiny_lm, head=model.head.with_tools([price], tiny_lm))
    assert model._get_llm_string() != other._get_llm_string()
    assert model._get_llm_string() == model.model_copy()._get_llm_string()


def test_a_model_is_loaded_from_the_folder_of_its_head(
    model: ToolkenChatModel, tiny_lm: FrozenLM, build_lm: Any, tmp_path: Path
) -> None:
    model.head.save_pretrained(tmp_path / "head")
    loaded = ToolkenChatModel.from_pretrained(tmp_path / "head", tiny_lm, max_tokens=10)
    assert loaded.invoke(QUESTION).text == model.invoke(QUESTION).text
    with pytest.raises(FingerprintError):
        ToolkenChatModel.from_pretrained(tmp_path / "head", build_lm(seed=1))
    with pytest.raises(HeadError):
        ToolkenChatModel.from_pretrained(tmp_path / "none", tiny_lm)


def test_a_conversation_longer_than_the_context_is_refused(model: ToolkenChatModel) -> None:
    with pytest.raises(PromptTooLongError, match="takes 512"):
        model.invoke("very " * 2000)


def test_structured_output_is_an_object_of_the_schema(model: ToolkenChatModel) -> None:
    from pydantic import BaseModel

    class Weather(BaseModel):
        """Tell the weather in a city."""

        city: str
        degrees: int

    model.max_tokens = 400
    assert isinstance(model.with_structured_output(Weather).invoke(QUESTION), Weather)
