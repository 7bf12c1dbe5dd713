"""Answers of batches, threads and coroutines equal the sequential answers."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import torch
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.tools import StructuredTool

from toolken import DecodingOptions, FrozenLM, ToolkenAgent, ToolkenChatModel, ToolkenHead, ToolSpec
from toolken.errors import PromptTooLongError

QUESTIONS = [f"What is {i} plus {i * 7}{' and more' * (i % 5)} in Paris?" for i in range(32)]


@pytest.fixture
def model(tiny_lm: FrozenLM, tiny_head: ToolkenHead) -> ToolkenChatModel:
    """A chat model over a random LM whose answers end at no line break."""
    tiny_head = replace(tiny_head, prompt=tiny_head.prompt.model_copy(update={"stop": ()}))
    return ToolkenChatModel(lm=tiny_lm, head=tiny_head, max_tokens=12)


@pytest.fixture
def tools(specs: list[ToolSpec]) -> list[dict[str, Any]]:
    """The head's tools in OpenAI's form."""
    return [{"type": "function", "function": spec.model_dump()} for spec in specs]


@pytest.fixture
def runs(tiny_lm: FrozenLM, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The shapes of the LM's runs."""
    seen: list[tuple[int, int]] = []
    whole = tiny_lm.forward

    def counted(ids: torch.Tensor, *arguments: Any, **options: Any) -> Any:
        seen.append((ids.shape[0], ids.shape[1]))
        return whole(ids, *arguments, **options)

    monkeypatch.setattr(tiny_lm, "forward", counted)
    return seen


def content(message: Any) -> tuple[str, list[tuple[str, Any]]]:
    """Return what a message says, without its ids."""
    return message.text, [(call["name"], call["args"]) for call in message.tool_calls]


#: Tokens of an answer in words, which is cut, and of a call, which is not.
LENGTH = {"none": 8, "any": 40}


def alone(model: ToolkenChatModel, tools: list[dict[str, Any]], choice: str) -> list[Any]:
    """Return the answers of a model that is asked one question after another."""
    bound = model.bind_tools(tools, tool_choice=choice, max_tokens=LENGTH[choice])
    return [content(bound.invoke(question)) for question in QUESTIONS]


@pytest.mark.parametrize("choice", ["none", "any"])
def test_a_batch_gives_what_each_question_gives_alone(
    model: ToolkenChatModel, tools: list[dict[str, Any]], choice: str
) -> None:
    expected = alone(model, tools, choice)
    bound = model.model_copy().bind_tools(tools, tool_choice=choice, max_tokens=LENGTH[choice])
    assert [content(message) for message in bound.batch([*QUESTIONS])] == expected


def test_a_batch_runs_the_lm_once_per_step(model: ToolkenChatModel, runs: list[tuple[int, int]]) -> None:
    messages = model.batch([*QUESTIONS[:16]])
    steps = [rows for rows, width in runs if width == 1]
    written = [message.usage_metadata["output_tokens"] for message in messages if message.usage_metadata]
    assert len(steps) < sum(written) / 4
    assert max(steps) >= 8
    assert model.batch([]) == []


def test_max_concurrency_bounds_the_answers_decoded_at_once(
    model: ToolkenChatModel, runs: list[tuple[int, int]]
) -> None:
    expected = [message.text for message in model.batch([*QUESTIONS[:6]])]
    runs.clear()
    assert [m.text for m in model.batch([*QUESTIONS[:6]], config={"max_concurrency": 2})] == expected
    assert max(rows for rows, _ in runs) <= 2


async def test_an_asynchronous_batch_is_one_batch_too(
    model: ToolkenChatModel, tools: list[dict[str, Any]], runs: list[tuple[int, int]]
) -> None:
    expected = alone(model, tools, "any")
    runs.clear()
    bound = model.bind_tools(tools, tool_choice="any", max_tokens=40)
    assert [content(message) for message in await bound.abatch([*QUESTIONS])] == expected
    assert max(rows for rows, _ in runs) >= 8


def test_one_bad_question_of_a_batch_does_not_spoil_the_others(model: ToolkenChatModel) -> None:
    questions = [*QUESTIONS[:3], "very " * 2000, *QUESTIONS[3:6]]
    answers: list[Any] = model.batch([*questions], return_exceptions=True)
    assert isinstance(answers[3], PromptTooLongError)
    good = [answers[at].text for at in (0, 1, 2, 4, 5, 6)]
    assert good == [model.invoke(question).text for question in QUESTIONS[:6]]
    with pytest.raises(PromptTooLongError):
        model.batch([*questions])
    assert model.invoke(QUESTIONS[0]).text == good[0]


def test_a_callback_may_ask_the_model_while_a_batch_is_written(model: ToolkenChatModel) -> None:
    class Asking(BaseCallbackHandler):
        asked: str = ""

        def on_llm_new_token(self, *_: Any, **__: Any) -> None:
            if not self.asked:
                self.asked = str(model.invoke("Who?").text)

    handler = Asking()
    answers = model.batch([*QUESTIONS[:4]], config={"callbacks": [handler]})
    assert [message.text for message in answers] == [model.invoke(question).text for question in QUESTIONS[:4]]
    assert handler.asked


@pytest.mark.parametrize("choice", ["none", "any"])
def test_threads_that_share_a_model_get_the_sequential_answers(
    model: ToolkenChatModel, tools: list[dict[str, Any]], choice: str
) -> None:
    expected = alone(model, tools, choice)
    fresh = ToolkenChatModel(lm=model.lm, head=model.head)
    bound = fresh.bind_tools(tools, tool_choice=choice, max_tokens=LENGTH[choice])
    with ThreadPoolExecutor(32) as threads:
        assert [content(message) for message in threads.map(bound.invoke, QUESTIONS)] == expected


@pytest.mark.parametrize("choice", ["none", "any"])
async def test_coroutines_that_share_a_model_get_the_sequential_answers(
    model: ToolkenChatModel, tools: list[dict[str, Any]], choice: str
) -> None:
    expected = alone(model, tools, choice)
    bound = model.bind_tools(tools, tool_choice=choice, max_tokens=LENGTH[choice])

    async def streamed(question: str) -> Any:
        chunks = [chunk async for chunk in bound.astream(question)]
        whole: Any = chunks[0]
        for chunk in chunks[1:]:
            whole = whole + chunk
        return content(whole)

    asked = [bound.ainvoke(question) for question in QUESTIONS]
    assert [content(message) for message in await asyncio.gather(*asked)] == expected
    assert list(await asyncio.gather(*(streamed(question) for question in QUESTIONS))) == expected


async def test_an_answer_that_is_cancelled_stops_running_the_lm(
    model: ToolkenChatModel, runs: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = model.invoke(QUESTIONS[0]).text
    runs.clear()
    lm: Any = model.lm
    stepped, whole = threading.Event(), lm.forward

    def told(*arguments: Any, **options: Any) -> Any:
        stepped.set()
        return whole(*arguments, **options)

    monkeypatch.setattr(lm, "forward", told)
    long = model.model_copy(update={"max_tokens": 400})
    answer = asyncio.ensure_future(long.ainvoke(QUESTIONS[1]))
    await asyncio.to_thread(stepped.wait)
    answer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await answer
    with lm.lock:
        done = len(runs)
    # A run that has begun is finished, and one more may have begun before the thread was told.
    await asyncio.sleep(0.2)
    assert len(runs) <= done + 1
    assert (await model.ainvoke(QUESTIONS[0])).text == expected


def test_an_abandoned_stream_does_not_affect_the_next(model: ToolkenChatModel, tools: list[dict[str, Any]]) -> None:
    bound = model.bind_tools(tools, tool_choice="any", max_tokens=40)
    expected = content(bound.invoke(QUESTIONS[0]))
    for taken in (1, 2, 3, 5):
        stream = bound.stream(QUESTIONS[0])
        for _ in range(taken):
            next(stream)
        stream.close()  # type: ignore[attr-defined]
        assert content(bound.invoke(QUESTIONS[0])) == expected


async def test_an_abandoned_asynchronous_stream_ends(model: ToolkenChatModel) -> None:
    expected = model.invoke(QUESTIONS[0]).text
    async for _ in model.astream(QUESTIONS[0]):
        break
    assert (await model.ainvoke(QUESTIONS[0])).text == expected


Build = Callable[..., ToolkenAgent]


@pytest.fixture
def agent(tiny_lm: FrozenLM, tiny_head: ToolkenHead, specs: list[ToolSpec]) -> ToolkenAgent:
    """An agent that calls a tool wherever it may."""
    tiny_head = replace(tiny_head, threshold=0.0)
    runnable = [
        StructuredTool.from_function(
            lambda **_: "42", name=spec.name, description=spec.description, args_schema=spec.parameters
        )
        for spec in specs
    ]
    return ToolkenAgent(tiny_lm, tiny_head, runnable, max_calls=2, options=DecodingOptions(max_tokens=40))


def test_an_agents_batch_is_written_together(agent: ToolkenAgent, runs: list[tuple[int, int]]) -> None:
    expected = [agent.invoke(question) for question in QUESTIONS[:8]]
    runs.clear()
    answers = agent.batch([*QUESTIONS[:8]])
    assert [answer.text for answer in answers] == [answer.text for answer in expected]
    assert [s.arguments for a in answers for s in a.steps] == [s.arguments for a in expected for s in a.steps]
    assert max(rows for rows, _ in runs) >= 4


async def test_an_agents_coroutines_give_the_sequential_answers(agent: ToolkenAgent) -> None:
    expected = [agent.invoke(question).text for question in QUESTIONS[:8]]
    asked = [agent.ainvoke(question) for question in QUESTIONS[:8]]
    assert [answer.text for answer in await asyncio.gather(*asked)] == expected
    assert [answer.text for answer in await agent.abatch([*QUESTIONS[:8]])] == expected
