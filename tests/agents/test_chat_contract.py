"""What LangChain expects of a chat model besides answers: laziness, caches, callbacks, profiles, limits."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler, UsageMetadataCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk
from langchain_core.rate_limiters import BaseRateLimiter
from langchain_core.runnables import RunnableBinding
from langchain_core.tools import tool

from toolken import FrozenLM, ToolkenChatModel, ToolkenHead, ToolSpec
from toolken.agents.bound_tools import BoundTools
from toolken.errors import FingerprintError, HeadError, LMNotFoundError

QUESTION = "What is 12 plus 30 in Paris?"


@pytest.fixture
def model(tiny_lm: FrozenLM, tiny_head: ToolkenHead) -> ToolkenChatModel:
    """A chat model over a random LM whose answers end at no line break."""
    tiny_head = replace(tiny_head, prompt=tiny_head.prompt.model_copy(update={"stop": (), "words_preamble": ""}))
    return ToolkenChatModel(lm=tiny_lm, head=tiny_head, max_tokens=10)


@pytest.fixture
def tools(specs: list[ToolSpec]) -> list[dict[str, Any]]:
    """The head's tools in OpenAI's form."""
    return [{"type": "function", "function": spec.model_dump()} for spec in specs]


@pytest.fixture
def no_loading(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """Names of LMs that something tried to load."""
    asked: list[str | None] = []

    def refuse(name: str | None = None, **_: Any) -> FrozenLM:
        asked.append(name)
        raise LMNotFoundError(f"{name} is not to be loaded in this test.")

    monkeypatch.setattr(FrozenLM, "from_pretrained", refuse)
    return asked


def test_making_a_model_loads_nothing(model: ToolkenChatModel, no_loading: list[str | None], tmp_path: Path) -> None:
    model.head.save_pretrained(tmp_path / "head")
    made = [
        ToolkenChatModel(),
        ToolkenChatModel(lm="some/model", head=tmp_path / "head"),
        ToolkenChatModel.from_pretrained(tmp_path / "head"),
        ToolkenChatModel.from_pretrained(tmp_path / "head", "some/model"),
    ]
    assert no_loading == []
    for one in made:
        with pytest.raises(LMNotFoundError):
            one.invoke(QUESTION)
    assert no_loading == [None, "some/model", model.head.lm_name, "some/model"]


def test_lazily_loaded_heads_and_lms_are_checked(
    model: ToolkenChatModel, build_lm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.head.save_pretrained(tmp_path / "head")
    monkeypatch.setattr(FrozenLM, "from_pretrained", lambda *_, **__: build_lm(seed=1))
    with pytest.raises(FingerprintError):
        ToolkenChatModel.from_pretrained(tmp_path / "head").invoke(QUESTION)
    with pytest.raises(HeadError):
        ToolkenChatModel(head=tmp_path / "none").invoke(QUESTION)


def test_the_lm_is_loaded_once_by_all_copies(
    model: ToolkenChatModel, tiny_lm: FrozenLM, monkeypatch: pytest.MonkeyPatch, tools: list[dict[str, Any]]
) -> None:
    loaded: list[Any] = []

    def load(name: str | None = None, **_: Any) -> FrozenLM:
        loaded.append(name)
        return tiny_lm

    monkeypatch.setattr(FrozenLM, "from_pretrained", load)
    lazy = ToolkenChatModel(lm="tiny", head=model.head, max_tokens=10)
    first = lazy.model_copy(update={"temperature": 0.0})
    first.invoke(QUESTION)
    lazy.bind_tools(tools).invoke(QUESTION)
    lazy.with_config(tags=["x"]).invoke(QUESTION)
    assert loaded == ["tiny"]


def test_without_a_head_every_tool_is_known_by_its_description(
    tiny_lm: FrozenLM, tools: list[dict[str, Any]], tiny_background: Path
) -> None:
    model = ToolkenChatModel(lm=tiny_lm, max_tokens=60)
    assert model.invoke("Who?", max_tokens=3).text.startswith("The answer is")
    for choice in ("any", "weather"):
        (call,) = model.bind_tools(tools, tool_choice=choice).invoke(QUESTION).tool_calls
        assert call["name"] in {"add", "weather", "capital"}
    assert model.invoke("Who?", max_tokens=3).tool_calls == []


def test_tools_that_are_bound_again_are_not_read_again(
    model: ToolkenChatModel, tiny_lm: FrozenLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [{"name": f"tool_{i}", "description": f"Do the thing number {i}.", "parameters": {}} for i in range(30)]
    model._lazy.decoder(BoundTools.of(many))
    monkeypatch.setattr(tiny_lm, "forward", None)
    model.bind_tools(many)
    model.bind_tools([dict(one) for one in many])
    # Some of them make another head, whose output embeddings come from the descriptions read before.
    few = BoundTools.of(many[5:25])
    assert model._lazy.decoder(few).toolset.head.names[-20:] == few.names
    new = BoundTools.of([*many, {"name": "new", "description": "Do something new.", "parameters": {}}])
    with pytest.raises(TypeError):
        model._lazy.decoder(new)


def test_bound_tools_are_plain_dicts(model: ToolkenChatModel, tools: list[dict[str, Any]]) -> None:
    bound = model.bind_tools(tools, tool_choice="add", stop=["x"])
    assert isinstance(bound, RunnableBinding)
    assert bound.kwargs["tools"] == tools
    assert bound.kwargs["tool_choice"] == "add"
    # As plain dicts, such as a tracer returns.
    copied = model.bind(tools=[dict(one) for one in bound.kwargs["tools"]], tool_choice="add", max_tokens=60)
    assert copied.invoke(QUESTION).tool_calls[0]["name"] == "add"
    assert model.invoke(QUESTION, tools=tools, tool_choice="add", max_tokens=60).tool_calls


def test_misspelt_options_are_refused_by_bind_tools(model: ToolkenChatModel, tools: list[dict[str, Any]]) -> None:
    with pytest.raises(ValueError, match="temprature"):
        model.bind_tools(tools, temprature=1)
    with pytest.raises(ValueError, match="tool_chioce"):
        model.bind_tools(tools, tool_chioce="any")


def test_the_profile_says_what_the_model_can(model: ToolkenChatModel) -> None:
    assert model.profile is not None
    assert model.profile["max_input_tokens"] == 512
    assert model.profile["tool_calling"] is True
    assert model.profile["tool_choice"] is True
    # With it, `create_agent` would ask for JSON in the text.
    assert "structured_output" not in model.profile
    assert ToolkenChatModel(lm="some/model").profile is not None


def test_traces_name_the_provider_the_lm_and_the_options(model: ToolkenChatModel) -> None:
    params = model._get_ls_params(stop=["x"])
    assert params["ls_provider"] == "toolken"
    assert params["ls_model_name"] == model.model_name == "tiny-llama-0"
    assert params["ls_model_type"] == "chat"
    assert params["ls_temperature"] == 0.0
    assert params["ls_max_tokens"] == 10
    assert params["ls_stop"] == ["x"]
    assert model._get_ls_params(model="other")["ls_model_name"] == "other"


@pytest.mark.parametrize(
    "change",
    [{"temperature": 0.5}, {"top_p": 0.5}, {"seed": 7}, {"max_tokens": 11}, {"stop": ["x"]}],
    ids=str,
)
def test_a_cached_answer_is_given_for_the_same_question_and_options_only(
    model: ToolkenChatModel, change: dict[str, Any], tools: list[dict[str, Any]]
) -> None:
    cached = model.model_copy(update={"cache": InMemoryCache()})
    first = cached.invoke(QUESTION)
    assert cached.invoke(QUESTION).id == first.id
    assert cached.invoke("Who?").id != first.id
    assert cached.model_copy(update=change).invoke(QUESTION).id != first.id
    assert cached.bind_tools(tools, tool_choice="none").invoke(QUESTION).id != first.id
    assert cached.bind_tools(tools[:1], tool_choice="none").invoke(QUESTION).id != first.id
    shown = {"tool": "weather", "question": "Who?", "args": {"city": "Oslo"}}
    without, with_it = (cached.bind_tools(tools, few_shot=some).invoke("Why?").id for some in ([], [shown]))
    assert without != with_it


def test_callbacks_receive_every_piece(model: ToolkenChatModel, tools: list[dict[str, Any]]) -> None:
    class Listening(BaseCallbackHandler):
        def __init__(self) -> None:
            self.pieces: list[Any] = []
            self.ended: list[Any] = []

        def on_llm_new_token(self, token: str, *, chunk: Any = None, **_: Any) -> None:
            self.pieces.append(chunk.message)

        def on_llm_end(self, response: Any, **_: Any) -> None:
            self.ended.append(response)

    for choice in ("none", "any"):
        handler, usage = Listening(), UsageMetadataCallbackHandler()
        bound = model.bind_tools(tools, tool_choice=choice, max_tokens=40)
        message = bound.invoke(QUESTION, config={"callbacks": [handler, usage]})
        whole: AIMessageChunk = handler.pieces[0]
        for piece in handler.pieces[1:]:
            whole = whole + piece
        assert whole.content == message.content
        assert [c["args"] for c in whole.tool_calls] == [c["args"] for c in message.tool_calls]
        assert len(handler.ended) == 1
        assert usage.usage_metadata["tiny-llama-0"]["total_tokens"] == message.usage_metadata["total_tokens"]


def test_a_rate_limiter_is_asked_before_each_answer(model: ToolkenChatModel) -> None:
    class Counting(BaseRateLimiter):
        asked = 0

        def acquire(self, *, blocking: bool = True) -> bool:
            self.asked += 1
            return True

        async def aacquire(self, *, blocking: bool = True) -> bool:
            return self.acquire()

    limiter = Counting()
    limited = model.model_copy(update={"rate_limiter": limiter})
    limited.batch([QUESTION, "Who?"])
    list(limited.stream(QUESTION))
    assert limiter.asked == 3


def test_an_answer_that_takes_too_long_is_given_up(model: ToolkenChatModel, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = model.invoke(QUESTION).text
    clock = iter(range(0, 10_000, 10))
    monkeypatch.setattr("toolken.agents.decoding.stepping.time.monotonic", lambda: next(clock))
    with pytest.raises(TimeoutError, match="within 30 seconds"):
        model.invoke(QUESTION, timeout=30)
    with pytest.raises(TimeoutError):
        list(model.model_copy(update={"timeout": 30.0}).stream(QUESTION))
    monkeypatch.undo()
    assert time.monotonic() > 0
    assert model.invoke(QUESTION, timeout=1e6).text == expected


def test_the_usage_reports_cached_tokens(model: ToolkenChatModel) -> None:
    first = model.invoke(QUESTION).usage_metadata
    again = model.invoke(QUESTION).usage_metadata
    assert first is not None
    assert again is not None
    assert first["input_token_details"]["cache_read"] == 0
    assert 0 < again["input_token_details"]["cache_read"] <= again["input_tokens"]


@pytest.mark.parametrize("disable", [True, "tool_calling"])
def test_streaming_can_be_switched_off(model: ToolkenChatModel, tools: list[dict[str, Any]], disable: Any) -> None:
    quiet = model.model_copy(update={"disable_streaming": disable})
    bound = quiet.bind_tools(tools, tool_choice="any", max_tokens=40)
    assert len([chunk for chunk in bound.stream(QUESTION) if chunk.tool_calls]) == 1


def test_langchains_standard_parameters_are_taken(tiny_lm: FrozenLM, tiny_head: ToolkenHead) -> None:
    model: BaseChatModel = ToolkenChatModel(
        lm=tiny_lm, head=tiny_head, temperature=0, max_tokens=5, timeout=60, stop=[], max_retries=2, api_key="secret"
    )
    assert "secret" not in repr(model)
    assert model.invoke(QUESTION).text


@tool
def price(product: str) -> str:
    """Look up the price of a product."""
    return "5"


def test_a_hundred_tools_are_bound_again_from_memory(model: ToolkenChatModel) -> None:
    model.bind_tools([price])
    spec = BoundTools.of([price]).specs[0]
    assert BoundTools.of([price]).specs[0] is spec
    decoder = model._lazy.decoder(BoundTools.of([price]))
    assert model._lazy.decoder(BoundTools.of([price])).toolset.head is decoder.toolset.head
