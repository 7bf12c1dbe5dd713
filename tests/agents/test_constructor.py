"""The chat model is built, copied, pickled and asked for token counts as LangChain's others are."""

import copy
import pickle
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage, trim_messages
from langchain_core.rate_limiters import InMemoryRateLimiter
from pydantic import ValidationError

from toolken import FrozenLM, ToolkenAgent, ToolkenChatModel, ToolkenError, ToolkenHead
from toolken.agents.errors import InputError, OptionError
from toolken.errors import ServerError

QUESTION = "What is 12 plus 30 in Paris?"


@pytest.fixture
def folder(tiny_lm: FrozenLM, tmp_path: Path) -> Path:
    """The folder of the tiny LM."""
    tiny_lm.model.save_pretrained(tmp_path / "lm")
    tiny_lm.tokenizer.save_pretrained(tmp_path / "lm")
    return tmp_path / "lm"


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch, tiny_lm: FrozenLM) -> list[tuple[Any, dict[str, Any]]]:
    """What was loaded, with the options of loading."""
    calls: list[tuple[Any, dict[str, Any]]] = []

    def load(name: Any = None, **options: Any) -> FrozenLM:
        calls.append((name, options))
        return tiny_lm

    monkeypatch.setattr(FrozenLM, "from_pretrained", load)
    return calls


def weather(city: str) -> str:
    """Tell the weather in a city."""
    return "fine"


@pytest.mark.parametrize("name", ["model", "model_name", "lm"])
@pytest.mark.parametrize("kind", [str, Path])
def test_an_lm_is_named_in_any_of_three_ways(loaded: list[Any], name: str, kind: Any) -> None:
    model = ToolkenChatModel(**{name: kind("some/model")}, max_tokens=3)
    assert model.model_name == "some/model"
    model.invoke(QUESTION)
    assert loaded == [("some/model", {"backend": "transformers"})]


def test_device_dtype_and_further_options_are_passed_on(loaded: list[Any]) -> None:
    options = {"device": "cuda:1", "dtype": "bfloat16", "model_kwargs": {"revision": "main"}}
    ToolkenChatModel(model="some/model", **options, max_tokens=3).invoke(QUESTION)
    expected = {"device": "cuda:1", "dtype": torch.bfloat16, "revision": "main", "backend": "transformers"}
    assert loaded == [("some/model", expected)]
    assert ToolkenChatModel(dtype=torch.float16).dtype is torch.float16


def test_model_and_lm_may_not_differ(tiny_lm: FrozenLM) -> None:
    assert ToolkenChatModel(lm=tiny_lm, model=tiny_lm.name).model_name == tiny_lm.name
    for options in ({"lm": tiny_lm, "model": "other"}, {"model": "a", "model_name": "b"}, {"model": tiny_lm}):
        with pytest.raises(ValidationError, match="give"):
            ToolkenChatModel(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temprature": 1}, "'temprature': did you mean 'temperature'"),
        ({"max_new_tokens": 5}, "did you mean 'max_tokens'"),
        ({"torch_dtype": "float32"}, "did you mean 'dtype'"),
        ({"device_map": "auto"}, "model_kwargs"),
        ({"zzzz": 1}, "the options are"),
        ({"dtype": "float31"}, "'float31': give a number format"),
        ({"dtype": "nn"}, "give a number format"),
        ({"max_retries": -1}, "max_retries"),
        ({"stop": ""}, "at least one character"),
        ({"base_url": "http://x/v1", "device": "cuda"}, "exclude each other"),
    ],
    ids=str,
)
def test_a_wrong_option_is_refused_with_a_suggestion(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ToolkenChatModel(**options)


def test_an_lm_in_memory_takes_no_options_of_loading(tiny_lm: FrozenLM) -> None:
    with pytest.raises(ValidationError, match=r"FrozenLM\.from_pretrained"):
        ToolkenChatModel(lm=tiny_lm, device="cuda")


def test_a_wrong_option_of_a_call_is_a_toolken_error(tiny_lm: FrozenLM) -> None:
    model = ToolkenChatModel(lm=tiny_lm, max_tokens=3)
    for options in ({"temprature": 1}, {"temperature": -1}, {"model": "other"}):
        with pytest.raises(OptionError, match=next(iter(options))):
            model.invoke(QUESTION, **options)  # type: ignore[arg-type]
    assert model.invoke(QUESTION, model=tiny_lm.name).text


def test_a_single_stop_text_is_not_split_into_characters(tiny_lm: FrozenLM, tiny_head: ToolkenHead) -> None:
    prompt = tiny_head.prompt.model_copy(update={"stop": (), "words_preamble": ""})
    tiny_head = replace(tiny_head, prompt=prompt)
    model = ToolkenChatModel(lm=tiny_lm, head=tiny_head, max_tokens=20)
    text = model.invoke(QUESTION).text
    opening = tiny_head.prompt.opening.strip()
    stop = text[len(opening) + 3 :][:3]
    expected = opening + text[len(opening) :].split(stop)[0]
    assert expected != text
    for one in (
        ToolkenChatModel(lm=tiny_lm, head=tiny_head, max_tokens=20, stop=stop),
        ToolkenChatModel(lm=tiny_lm, head=tiny_head, max_tokens=20, stop=[stop]),
        model.bind(stop=stop),
    ):
        assert one.invoke(QUESTION).text == expected
    assert model.invoke(QUESTION, stop=stop).text == expected  # type: ignore[arg-type]


def test_binding_tools_reads_nothing(loaded: list[Any], tmp_path: Path) -> None:
    ToolkenChatModel(head=tmp_path / "none").bind_tools([weather])
    ToolkenChatModel(model="some/model").bind_tools([weather], tool_choice="weather")
    ToolkenChatModel(model="some/model").with_structured_output({"title": "A", "description": "B", "properties": {}})
    assert loaded == []


def test_cache_keys_hash_a_head_once(
    tiny_lm: FrozenLM, tiny_head: ToolkenHead, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[int] = []
    monkeypatch.setattr(
        "toolken.agents.decoding.lazy_model._update", lambda digest, value: hashed.append(1) or digest.update(b"x")
    )
    model = ToolkenChatModel(lm=tiny_lm, head=tiny_head, max_tokens=2)
    keys = {model._get_llm_string() for _ in range(3)} | {copy.deepcopy(model)._get_llm_string()}
    model.bind_tools([weather]).invoke(QUESTION)
    assert len(keys) == len(hashed) == 1


def test_heads_that_decide_differently_have_different_keys(tiny_lm: FrozenLM, tiny_head: ToolkenHead) -> None:
    def key(head: ToolkenHead | None, **options: Any) -> str:
        return ToolkenChatModel(lm=tiny_lm, head=head, **options)._get_llm_string()

    keys = [key(None), key(tiny_head)]
    opening = replace(tiny_head.gate.opening, weight=tiny_head.gate.opening.weight + 1)
    shown = replace(tiny_head.few_shot, shown=[])
    vectors = tiny_head.estimate.known_as(tiny_head.output_embeddings, tiny_head.biases + 1)
    others = (
        replace(tiny_head, gate=replace(tiny_head.gate, opening=opening)),
        replace(tiny_head, threshold=0.123),
        replace(tiny_head, few_shot=shown),
        replace(tiny_head, estimate=vectors),
    )
    keys += map(key, others)
    keys += [key(tiny_head, **option) for option in ({"top_p": 0.5}, {"max_calls": 1}, {"parallel_tool_calls": False})]
    assert len(set(keys)) == len(keys)
    assert key(copy.deepcopy(tiny_head)) == key(tiny_head)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda model: model.model_copy(deep=True)])
def test_copies_share_what_is_loaded(tiny_lm: FrozenLM, tiny_head: ToolkenHead, copied: Any) -> None:
    limiter = InMemoryRateLimiter(requests_per_second=100)
    model = ToolkenChatModel(lm=tiny_lm, head=tiny_head, max_tokens=3, rate_limiter=limiter, api_key="secret")
    expected = model.invoke(QUESTION).text
    other = copied(model)
    assert other.lm is tiny_lm
    assert other.head is tiny_head
    assert other._lazy is model._lazy
    assert other.invoke(QUESTION).text == expected
    other.temperature = 0.7
    assert model.temperature == 0.0


def test_bound_tools_can_be_copied(tiny_lm: FrozenLM, tiny_head: ToolkenHead) -> None:
    bound: Any = ToolkenChatModel(lm=tiny_lm, head=tiny_head, max_tokens=400).bind_tools([weather], tool_choice="any")
    other = copy.deepcopy(bound)
    assert other.bound.lm is tiny_lm
    assert other.kwargs["tools"].names == ["weather"]
    assert other.invoke(QUESTION).tool_calls[0]["args"] == bound.invoke(QUESTION).tool_calls[0]["args"]


def test_a_model_given_by_path_can_be_pickled(folder: Path, tiny_head: ToolkenHead, tmp_path: Path) -> None:
    tiny_head.save_pretrained(tmp_path / "head")
    for options in ({}, {"head": tmp_path / "head"}):
        model = ToolkenChatModel(model=str(folder), dtype="float32", max_tokens=3, **options)  # type: ignore[arg-type]
        before = pickle.loads(pickle.dumps(model))
        expected = model.invoke(QUESTION).text
        for other in (before, pickle.loads(pickle.dumps(model))):
            assert other.invoke(QUESTION).text == expected
            assert (other.max_tokens, other.model) == (3, str(folder))
            assert isinstance(other._lock, type(threading.Lock()))
    bound = pickle.loads(pickle.dumps(ToolkenChatModel(model=str(folder)).bind_tools([weather])))
    assert bound.kwargs["tools"].names == ["weather"]


def test_an_lm_in_memory_cannot_be_pickled(tiny_lm: FrozenLM, tiny_head: ToolkenHead) -> None:
    with pytest.raises(ToolkenError, match="folder or name"):
        pickle.dumps(ToolkenChatModel(lm=tiny_lm))
    with pytest.raises(ToolkenError, match="folder or name"):
        pickle.dumps(ToolkenAgent(tiny_lm, tiny_head, [weather]))


def test_agents_are_copied_and_pickled_as_well(folder: Path, tiny_lm: FrozenLM, tiny_head: ToolkenHead) -> None:
    agent = ToolkenAgent(tiny_lm, tiny_head, [weather], max_calls=1)
    for other in (copy.copy(agent), copy.deepcopy(agent)):
        assert other.decoder is agent.decoder
        assert other.invoke(QUESTION).text == agent.invoke(QUESTION).text
    by_path = ToolkenAgent(folder, tiny_head, [weather], max_calls=1)
    other = pickle.loads(pickle.dumps(by_path))
    assert other.max_calls == 1
    assert other.invoke(QUESTION).text == by_path.invoke(QUESTION).text


def test_tokens_are_counted_by_the_lms_tokenizer(tiny_lm: FrozenLM, tiny_head: ToolkenHead) -> None:
    model = ToolkenChatModel(lm=tiny_lm, head=tiny_head, max_tokens=3)
    assert model.get_token_ids("Hello, Paris") == tiny_lm.encode("Hello, Paris").ids
    assert model.get_num_tokens("Hello") == len(tiny_lm.encode("Hello").ids) > 0
    message = model.invoke(QUESTION)
    assert model.get_num_tokens_from_messages([HumanMessage(QUESTION)]) == message.usage_metadata["input_tokens"]
    assert model.get_num_tokens_from_messages([]) == 0
    own = ToolkenChatModel(lm=tiny_lm, custom_get_token_ids=lambda text: [7] * len(text))
    assert own.get_num_tokens("abc") == 3


def test_messages_are_trimmed_to_a_number_of_tokens(tiny_lm: FrozenLM) -> None:
    model = ToolkenChatModel(lm=tiny_lm)
    history = [SystemMessage("Be brief.")]
    for number in range(6):
        history += [HumanMessage(f"What is {number} plus 3?"), AIMessage(f"The answer is {number + 3}.")]
    history.append(HumanMessage("And 5?"))
    whole = model.get_num_tokens_from_messages(history)
    for bound in (whole // 3, whole // 2, 2 * whole):
        kept = trim_messages(history, max_tokens=bound, token_counter=model, include_system=True, start_on="human")
        assert kept[-1].text == "And 5?"
        assert model.get_num_tokens_from_messages(kept) <= bound
        assert (len(kept) == len(history)) is (bound > whole)


def test_the_tokens_of_a_server_are_not_guessed() -> None:
    model = ToolkenChatModel(base_url="http://127.0.0.1:1/v1", model="mine")
    for count in (lambda: model.get_num_tokens("a"), lambda: model.get_num_tokens_from_messages([HumanMessage("a")])):
        with pytest.raises(ServerError, match="approximate"):
            count()


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}


@pytest.mark.parametrize(
    "block",
    [
        IMAGE,
        {"type": "image", "base64": "AA==", "mime_type": "image/png"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}},
        {"type": "input_image", "image_url": "https://example.com/x.png"},
        {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
        {"type": "audio", "base64": "AA==", "mime_type": "audio/wav"},
        {"type": "file", "base64": "AA==", "mime_type": "application/pdf"},
        {"type": "file", "file": {"file_id": "x"}},
        {"type": "document", "source": {"type": "url", "url": "https://example.com/x.pdf"}},
        {"type": "video", "url": "https://example.com/x.mp4"},
        {"type": "media", "data": b""},
        {"type": "something_new"},
        {"image": "AA=="},
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "form",
    [
        lambda content: HumanMessage(content),
        lambda content: {"role": "user", "content": content},
        lambda content: ("user", content),
        lambda content: SystemMessage(content),
        lambda content: AIMessage(content),
        lambda content: ToolMessage(content, tool_call_id="1"),
        lambda content: HumanMessage([{"type": "tool_result", "tool_use_id": "1", "content": content}]),
    ],
    ids=["human", "dict", "tuple", "system", "ai", "tool", "tool_result"],
)
def test_content_that_is_not_text_is_refused(tiny_lm: FrozenLM, block: Any, form: Any) -> None:
    messages = [HumanMessage("Q"), form([{"type": "text", "text": "What is this?"}, block])]
    if isinstance(messages[1], ToolMessage) and block.get("type") in (None, "something_new"):
        return  # data of the tool's own, which is JSON
    with pytest.raises(InputError, match="reads text only"):
        ToolkenChatModel(lm=tiny_lm, max_tokens=3).invoke(messages)
