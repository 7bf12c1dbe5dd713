"""Decisions by a pretrained prior in the chat model and the agent."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool

from toolken import DecodingOptions, FrozenLM, ToolkenAgent, ToolkenChatModel, ToolkenHead
from toolken.agents.errors import OptionError
from toolken.errors import FingerprintError, HeadError
from toolken.training.prior.pretrained import PretrainedPrior


@tool
def sport_tennis() -> str:
    """Handles the tennis."""
    return "tennis is on"


@tool
def sport_stadium() -> str:
    """Handles the stadium."""
    return "the stadium is open"


TOOLS = [sport_tennis, sport_stadium]


@pytest.fixture
def model(tiny_lm: FrozenLM, tiny_prior: PretrainedPrior) -> ToolkenChatModel:
    """A chat model that calls the nearest tool, however sure it is."""
    return ToolkenChatModel(lm=tiny_lm, prior=tiny_prior, min_probability=0.0, max_tokens=8)


def called(message: AIMessage) -> list[str]:
    return [call["name"] for call in message.tool_calls]


@pytest.mark.parametrize(("word", "name"), [("tennis", "sport_tennis"), ("stadium", "sport_stadium")])
def test_the_tool_with_the_nearest_description_is_called(model: ToolkenChatModel, word: str, name: str) -> None:
    assert called(model.bind_tools(TOOLS).invoke(f"I want the {word}")) == [name]


def test_no_call_follows_a_result(model: ToolkenChatModel) -> None:
    call = AIMessage("", tool_calls=[{"name": "sport_tennis", "args": {}, "id": "1"}])
    messages = [HumanMessage("I want the tennis"), call, ToolMessage("tennis is on", tool_call_id="1")]
    assert model.bind_tools(TOOLS).invoke(messages).tool_calls == []


def test_min_probability_declines_for_all_tools_or_by_name(model: ToolkenChatModel) -> None:
    asked = "I want the tennis"
    assert called(model.bind_tools(TOOLS, min_probability=1.0).invoke(asked)) == []
    assert called(model.bind_tools(TOOLS, min_probability={"sport_tennis": 1.0}).invoke(asked)) == []
    assert called(model.bind_tools(TOOLS, min_probability={"sport_stadium": 1.0}).invoke("I want the stadium")) == []
    # Names add to the threshold of the prior, and a required call is never declined.
    sure = model.bind_tools(TOOLS, min_probability=1.0, tool_choice="any")
    assert called(sure.invoke(asked)) == ["sport_tennis"]


@pytest.mark.parametrize("wrong", [-0.1, 1.5, {"sport_tennis": 2.0}])
def test_a_wrong_min_probability_is_refused(model: ToolkenChatModel, tiny_lm: FrozenLM, wrong: Any) -> None:
    with pytest.raises(OptionError, match="from 0 to 1"):
        model.bind_tools(TOOLS, min_probability=wrong).invoke("I want the tennis")
    with pytest.raises(OptionError, match="from 0 to 1"):
        ToolkenAgent(tiny_lm, None, TOOLS, min_probability=wrong)


def test_an_agent_names_unknown_tools_of_min_probability(tiny_lm: FrozenLM, tiny_prior: PretrainedPrior) -> None:
    with pytest.raises(OptionError, match="none of the tools"):
        ToolkenAgent(tiny_lm, None, TOOLS, prior=tiny_prior, min_probability={"tennis": 0.5})


def test_the_agent_decides_alike(tiny_lm: FrozenLM, tiny_prior: PretrainedPrior) -> None:
    agent = ToolkenAgent(tiny_lm, None, TOOLS, prior=tiny_prior, min_probability=0.0)
    answer = agent.invoke("I want the stadium")
    assert [step.tool for step in answer.steps] == ["sport_stadium"]
    declined = ToolkenAgent(tiny_lm, None, TOOLS, prior=tiny_prior, min_probability=1.0, options=DecodingOptions())
    assert declined.invoke("I want the stadium").steps == ()


def test_a_description_is_read_once(
    model: ToolkenChatModel, tiny_prior: PretrainedPrior, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    found = PretrainedPrior.output_embeddings

    def counting(self: PretrainedPrior, lm: FrozenLM, specs: Any, **options: Any) -> torch.Tensor:
        read.append(len(specs))
        return found(self, lm, specs, **options)

    monkeypatch.setattr(PretrainedPrior, "output_embeddings", counting)
    model.bind_tools(TOOLS[:1]).invoke("I want the tennis")
    assert called(model.bind_tools(TOOLS).invoke("I want the stadium")) == ["sport_stadium"]
    assert read == [1, 1]


def test_a_folder_is_read_at_the_first_call(tiny_lm: FrozenLM, tiny_prior: PretrainedPrior, tmp_path: Path) -> None:
    tiny_prior.save_pretrained(tmp_path / "prior")
    model = ToolkenChatModel(lm=tiny_lm, prior=tmp_path / "prior", min_probability=0.0)
    assert called(model.bind_tools(TOOLS).invoke("I want the tennis")) == ["sport_tennis"]
    broken = ToolkenChatModel(lm=tiny_lm, prior=tmp_path / "nothing")
    with pytest.raises(HeadError, match="holds no prior"):
        broken.bind_tools(TOOLS).invoke("I want the tennis")


def test_a_prior_of_another_lm_is_refused(
    build_lm: Callable[..., FrozenLM], tiny_prior: PretrainedPrior, tmp_path: Path
) -> None:
    other = build_lm(seed=9)
    tiny_prior.save_pretrained(tmp_path)
    for prior in (tiny_prior, tmp_path):
        with pytest.raises(FingerprintError, match="another one"):
            ToolkenChatModel(lm=other, prior=prior).bind_tools(TOOLS).invoke("I want the tennis")


def test_head_and_prior_exclude_each_other(
    tiny_lm: FrozenLM, tiny_head: ToolkenHead, tiny_prior: PretrainedPrior
) -> None:
    with pytest.raises(OptionError, match="exclude each other"):
        ToolkenChatModel(lm=tiny_lm, head=tiny_head, prior=tiny_prior).invoke("Hello")


def test_caches_tell_priors_apart(tiny_lm: FrozenLM, tiny_prior: PretrainedPrior) -> None:
    without = ToolkenChatModel(lm=tiny_lm, prior=False)
    assert without._identifying_params != ToolkenChatModel(lm=tiny_lm, prior=tiny_prior)._identifying_params
    # No prior comes with toolken for this LM.
    assert without._identifying_params == ToolkenChatModel(lm=tiny_lm)._identifying_params


def test_streams_and_batches_decide_like_single_calls(model: ToolkenChatModel) -> None:
    bound = model.bind_tools(TOOLS)
    asked = [f"I want the {word}" for word in ("tennis", "stadium", "tennis")]
    alone = [called(bound.invoke(text)) for text in asked]
    assert [called(answer) for answer in bound.batch(asked)] == alone
    chunks = list(bound.stream(asked[0]))
    total = chunks[0]
    for chunk in chunks[1:]:
        total += chunk
    assert [call["name"] for call in total.tool_calls] == alone[0]


def test_a_follow_up_is_decided_after_the_turns_before(
    model: ToolkenChatModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    found = PretrainedPrior.request

    def noted(self: PretrainedPrior, lm: FrozenLM, conversation: Any) -> torch.Tensor:
        asked.append(list(conversation))
        return found(self, lm, conversation)

    monkeypatch.setattr(PretrainedPrior, "request", noted)
    call = AIMessage("", tool_calls=[{"name": "sport_tennis", "args": {}, "id": "1"}])
    result = ToolMessage("tennis is on", tool_call_id="1")
    model.bind_tools(TOOLS).invoke(
        [HumanMessage("I want the tennis"), call, result, AIMessage("It is."), HumanMessage("more")]
    )
    (question, answer), last = asked[0]
    assert (question, last) == ("I want the tennis", ("more", ""))
    assert answer.endswith("It is.")


def test_tools_that_cannot_be_told_apart_are_named_once(
    model: ToolkenChatModel, caplog: pytest.LogCaptureFixture
) -> None:
    twin = {"name": "sport_tennis", "description": "Handles the tennis.", "parameters": {"type": "object"}}
    named = {"name": "sport_Tennis", "description": "Handles the tennis.", "parameters": {"type": "object"}}
    with caplog.at_level("WARNING", logger="toolken"):
        for _ in range(2):
            model.bind_tools([twin, named]).invoke("I want the tennis")
    assert [record.getMessage() for record in caplog.records if "told apart" in record.getMessage()] == [
        "The tools 'sport_tennis' and 'sport_Tennis' can hardly be told apart by their descriptions: say in each what "
        "the other does not do."
    ]
    caplog.clear()
    model.bind_tools(TOOLS).invoke("I want the tennis")
    assert not caplog.records
