"""Conversations in a chat template: plain chat as the LM's own, calls and results in many turns, answers in words."""

import copy
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from toolken import Example, FrozenLM, PromptFormat, ToolkenAgent, ToolkenChatModel, ToolkenHead, ToolSpec, fit
from toolken.agents.chat_conversation import MAX_RESULT, conversation_prompt, to_turns
from toolken.agents.decoding.arguments import prompt_ids
from toolken.agents.decoding.decoder import DecodingOptions
from toolken.agents.errors import OptionError
from toolken.errors import FingerprintError
from toolken.training.lm.prefix_cache import PrefixCache
from toolken.training.prompts.chat_format import ChatTemplateFormat
from toolken.training.prompts.few_shot import FewShotExamples
from toolken.training.prompts.turns import Turn, TurnCall

Templated = Callable[[str], FrozenLM]
TEMPLATES = sorted(path.stem for path in (Path(__file__).parents[1] / "chat_templates").glob("*.jinja"))
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
SAID: Any = {"name": "weather", "args": {"city": "Oslo"}, "id": "one", "type": "tool_call"}
ASKED = [HumanMessage("How is the weather in Oslo?"), AIMessage("", tool_calls=[SAID])]
ANSWERED = [*ASKED, ToolMessage("fine, 17 degrees", tool_call_id="one")]

pytestmark = pytest.mark.usefixtures("module_background")


@pytest.fixture(scope="module")
def native(templated: Templated) -> FrozenLM:
    return templated("native")


@pytest.fixture(scope="module")
def head(native: FrozenLM, specs: list[ToolSpec], examples: list[Example], module_background: None) -> ToolkenHead:
    return fit(native, specs, examples, prompt="chat")


@pytest.fixture
def model(native: FrozenLM, head: ToolkenHead) -> ToolkenChatModel:
    return ToolkenChatModel(lm=native, head=replace(head, threshold=1.1), max_tokens=40)


def always(head: ToolkenHead) -> ToolkenHead:
    return replace(head, threshold=0.0)


@pytest.mark.parametrize("name", TEMPLATES)
def test_plain_chat_has_the_tokens_of_the_lms_own_generate(templated: Templated, name: str) -> None:
    lm = templated(name)
    form = ChatTemplateFormat.of(lm)
    model = ToolkenChatModel(lm=lm, format="chat", max_tokens=12)
    for text in ("Hello", "What is the sum\n\nof 12 and 30?", " Where? ", "Tell me about Paris.", "7, 8, 9"):
        content: Any = [{"type": "text", "text": text}] if name == "blocks" else text
        read = lm.tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, return_tensors="pt"
        )
        with torch.no_grad():
            ids = lm.model.generate(
                read["input_ids"],
                attention_mask=torch.ones_like(read["input_ids"]),
                max_new_tokens=12,
                do_sample=False,
                eos_token_id=sorted(form.stop_ids(lm)),
                pad_token_id=lm.tokenizer.pad_token_id,
            )[0, read["input_ids"].shape[1] :].tolist()
        own = lm.decode(ids)
        message = model.invoke(text)
        assert message.text == own or (not own.strip() and message.text == own + "I have no answer.")
        assert message.usage_metadata is not None
        assert message.usage_metadata["output_tokens"] == len(ids)


def test_a_hundred_plain_chats_have_the_tokens_of_generate(native: FrozenLM) -> None:
    form = ChatTemplateFormat.of(native)
    model = ToolkenChatModel(lm=native, format="chat", max_tokens=8)
    words = ["What", "is", "the", "sum", "of", "Oslo", "and", "17", "?", "\n", "Hello", "é", "…"]
    prompts = [
        " ".join(words[(number * step) % len(words)] for step in range(1, 4 + number % 7)) for number in range(100)
    ]
    for number, text in enumerate(prompts):
        text = f"{number}: {text}"
        read = native.tokenizer.apply_chat_template(
            [{"role": "user", "content": text}], add_generation_prompt=True, return_tensors="pt"
        )
        with torch.no_grad():
            ids = native.model.generate(
                read["input_ids"],
                attention_mask=torch.ones_like(read["input_ids"]),
                max_new_tokens=8,
                do_sample=False,
                eos_token_id=sorted(form.stop_ids(native)),
                pad_token_id=native.tokenizer.pad_token_id,
            )[0, read["input_ids"].shape[1] :].tolist()
        message = model.invoke(text)
        own = native.decode(ids)
        assert message.text == own or (not own.strip() and message.text == own + "I have no answer.")
        assert message.usage_metadata is not None
        assert message.usage_metadata["output_tokens"] == len(ids)


def test_messages_become_turns() -> None:
    messages = [
        SystemMessage("Be brief."),
        *ASKED,
        ToolMessage("fine\nand\x00 dry", tool_call_id="one"),
        AIMessage(
            [{"type": "text", "text": "Look: "}, {"type": "tool_use", "id": "2", "name": "add", "input": {"a": 1}}]
        ),
        HumanMessage([{"type": "tool_result", "tool_use_id": "2", "content": "3"}, {"type": "text", "text": "go on"}]),
        ToolMessage("x" * (MAX_RESULT + 5), tool_call_id="?", name="other"),
    ]
    turns = to_turns(messages)
    assert turns[:4] == [
        Turn("system", "Be brief."),
        Turn("user", "How is the weather in Oslo?"),
        Turn("assistant", "", (TurnCall("weather", {"city": "Oslo"}),)),
        Turn("tool", "fine\nand  dry", name="weather"),
    ]
    assert turns[4:7] == [
        Turn("assistant", "Look: ", (TurnCall("add", {"a": 1}),)),
        Turn("tool", "3", name="add"),
        Turn("user", "go on"),
    ]
    assert turns[7].name == "other"
    assert len(turns[7].text) == MAX_RESULT


def test_what_is_known_of_the_last_question(native: FrozenLM) -> None:
    form = ChatTemplateFormat.of(native)
    failed = ToolMessage("No such city.", tool_call_id="one", status="error")
    prompt = conversation_prompt(
        [SystemMessage("Customer 4711."), *ANSWERED, HumanMessage("And"), HumanMessage("now?")], form
    )
    assert (prompt.question, prompt.results, prompt.calls, prompt.ends_with_result) == ("And\nnow?", (), 0, False)
    assert all(one in prompt.context for one in ("4711", "Oslo", "17 degrees"))
    prompt = conversation_prompt(ANSWERED, form)
    assert (prompt.results, prompt.calls, prompt.ends_with_result) == (("fine, 17 degrees",), 1, True)
    assert prompt.answered == {("weather", '{"city": "Oslo"}')}
    prompt = conversation_prompt([*ASKED, failed], form)
    assert (prompt.results, prompt.failed, prompt.errors) == ((), {"weather"}, (("weather", "No such city."),))
    assert not prompt.ends_with_result


def test_a_head_keeps_its_format(native: FrozenLM, head: ToolkenHead, tiny_head: ToolkenHead, tmp_path: Path) -> None:
    assert isinstance(head.prompt, ChatTemplateFormat)
    head.save_pretrained(tmp_path / "head")
    loaded = ToolkenHead.from_pretrained(tmp_path / "head", native)
    assert loaded.prompt == head.prompt
    with pytest.raises(FingerprintError, match="another prompt format"):
        loaded.check(native, PromptFormat())
    with pytest.raises(OptionError, match="fitted with the format 'chat'"):
        ToolkenChatModel(lm=native, head=head, format="question").invoke("Hello")
    with pytest.raises(OptionError, match="fitted with the format 'question'"):
        ToolkenChatModel(lm=native, head=tiny_head, format="chat").invoke("Hello")
    with pytest.raises(ValueError, match="format"):
        ToolkenChatModel(lm=native, format="other")
    assert ToolkenChatModel(lm=native, head=tiny_head).invoke("Hello", max_tokens=3).text.startswith("The answer is")


def test_the_states_of_a_fit_are_those_of_a_decision(native: FrozenLM, head: ToolkenHead) -> None:
    from toolken.training.features.decision_states import decisions

    calls = (
        Example.model_validate(
            {
                "question": "How is the weather in Oslo?",
                "calls": [{"tool": "weather", "args": {"city": "Oslo"}, "result": "fine, 17 degrees"}],
            }
        ),
    )
    (states,) = decisions(native, head.prompt, calls, head.names)
    assert states.results.tolist() == [0, 1]
    for messages, hidden in zip((ANSWERED[:1], ANSWERED), states.hidden, strict=True):
        read = native.encode(conversation_prompt(messages, head.prompt).decision).ids
        assert torch.allclose(native.start().feed(read)[0], hidden, atol=1e-4)


def test_a_conversation_of_many_turns(native: FrozenLM, head: ToolkenHead, specs: list[ToolSpec]) -> None:
    model = ToolkenChatModel(lm=native, head=always(head), max_tokens=60).bind_tools(specs)
    messages: list[BaseMessage] = [SystemMessage("Be brief.")]
    cached = []
    for number in range(2):
        messages.append(HumanMessage(f"How is the weather in Oslo on day {number}?"))
        message = model.invoke(messages)
        (call,) = message.tool_calls
        assert message.text == ""
        streamed = list(model.stream(messages))
        whole = streamed[0]
        for chunk in streamed[1:]:
            whole += chunk
        assert [(one["name"], one["args"]) for one in whole.tool_calls] == [(call["name"], call["args"])]
        assert message.usage_metadata is not None
        cached.append(message.usage_metadata["input_token_details"]["cache_read"])
        messages += [message, ToolMessage(f"fine, {number}", tool_call_id=call["id"])]
        answer = model.invoke(messages, tool_choice="none")
        assert not answer.tool_calls
        assert answer.text.strip()
        messages.append(answer)
    assert cached[1] > 0


def test_batches_answer_as_single_calls(native: FrozenLM, head: ToolkenHead, specs: list[ToolSpec]) -> None:
    model = ToolkenChatModel(lm=native, head=head, max_tokens=30).bind_tools(specs)
    inputs = [[HumanMessage(text)] for text in ("Hello", "What is 12 plus 30?", "How is the weather in Rome?")] + [
        ANSWERED
    ]
    for one, other in zip(model.batch(inputs), map(model.invoke, inputs), strict=True):
        assert one.text == other.text
        assert [call["args"] for call in one.tool_calls] == [call["args"] for call in other.tool_calls]


def test_parallel_calls(native: FrozenLM, head: ToolkenHead, specs: list[ToolSpec]) -> None:
    model = ToolkenChatModel(lm=native, head=always(head), max_tokens=120, parallel_tool_calls=True).bind_tools(specs)
    message = model.invoke("What is 12 plus 30? How is the weather in Rome?")
    assert len(message.tool_calls) == 2


@pytest.mark.parametrize("seed", range(6))
def test_answers_have_the_numbers_of_the_conversation_only(model: ToolkenChatModel, seed: int) -> None:
    options = {"temperature": 3.0, "seed": seed, "max_tokens": 60}
    text = model.invoke(ANSWERED, **options).text
    assert set(NUMBER.findall(text)) <= {"17"}
    free = model.invoke(ANSWERED[:1], **options).text
    assert seed or NUMBER.findall(free)  # without results nothing is masked


def test_the_results_alone_are_an_answer_on_request(model: ToolkenChatModel) -> None:
    assert model.invoke(ANSWERED, answer="results").text == "fine, 17 degrees"
    assert replace_answer(model, "results").invoke(ANSWERED).text == "fine, 17 degrees"
    assert model.invoke(ANSWERED).text != "fine, 17 degrees"
    with pytest.raises(OptionError, match="answer"):
        model.invoke(ANSWERED, answer="other")


def replace_answer(model: ToolkenChatModel, answer: Any) -> ToolkenChatModel:
    return model.model_copy(update={"answer": answer})


def test_questions_and_answers_may_write_too(tiny_lm: FrozenLM, tiny_head: ToolkenHead) -> None:
    model = ToolkenChatModel(lm=tiny_lm, head=replace(tiny_head, threshold=1.1), max_tokens=20, stop=["\x00"])
    assert model.invoke(ANSWERED).text == "The answer is fine, 17 degrees."
    written = model.invoke(ANSWERED, answer="write").text
    assert written.startswith("The answer is fine, 17 degrees")
    assert set(NUMBER.findall(written)) <= {"17"}


def silent(lm: FrozenLM) -> FrozenLM:
    """Return an LM that ends every text at once."""
    tokenizer = copy.deepcopy(lm.tokenizer)
    quiet = FrozenLM(lm.model, tokenizer, "silent")
    quiet.__dict__["stop_ids"] = frozenset(range(lm.vocab_size))
    return quiet


def test_an_lm_that_says_nothing_still_answers(native: FrozenLM, tiny_lm: FrozenLM) -> None:
    chat, question = (ToolkenChatModel(lm=silent(lm), format="auto", max_tokens=20) for lm in (native, tiny_lm))
    failed = [*ASKED, ToolMessage("No such city.", tool_call_id="one", status="error")]
    assert chat.invoke("Hello").text == "I have no answer."
    assert chat.invoke(ANSWERED).text == "fine, 17 degrees"
    assert chat.invoke(failed).text == "The call of weather failed. No such city."
    assert question.invoke("Hello").text == "The answer is unknown."
    assert question.invoke(failed).text == "The answer is unknown: The call of weather failed. No such city."


@pytest.mark.parametrize("kind", ["chat", "question"])
def test_an_invalid_call_says_so(
    kind: str, native: FrozenLM, head: ToolkenHead, tiny_lm: FrozenLM, tiny_head: ToolkenHead, specs: list[ToolSpec]
) -> None:
    lm, fitted = (native, head) if kind == "chat" else (tiny_lm, tiny_head)
    model = ToolkenChatModel(lm=lm, head=always(fitted), max_tokens=1).bind_tools(specs, tool_choice="add")
    message = model.invoke("How is it?")
    assert not message.tool_calls
    assert message.invalid_tool_calls
    assert message.text.startswith("The call of add failed. The arguments are not complete JSON")
    chunks = list(model.stream("How is it?"))
    assert "".join(str(chunk.text) for chunk in chunks) == message.text


def test_the_agent_runs_in_a_chat_template(native: FrozenLM, head: ToolkenHead) -> None:
    def weather(city: str) -> str:
        """Tell the weather in a city."""
        return "fine, 17 degrees"

    options = DecodingOptions(max_tokens=80)
    agent = ToolkenAgent(native, always(head), [weather], options=options, max_calls=1, grounded=True)
    for one in (agent, copy.deepcopy(agent)):
        answer = one.invoke("How is the weather in Oslo?")
        assert [step.tool for step in answer.steps] == ["weather"]
        assert not answer.text.startswith("The answer is")
        assert set(NUMBER.findall(answer.text)) <= {"17"}
    options = replace(options, answer="results")
    results = ToolkenAgent(native, always(head), [weather], options=options, max_calls=1, grounded=True)
    assert results.invoke("How is the weather in Oslo?").text == "fine, 17 degrees"
    described = ToolkenAgent(native, None, [weather], options=options, format="chat")
    assert isinstance(described.decoder.toolset.prompt, ChatTemplateFormat)


def test_arguments_begin_at_a_border_of_the_lms_own_tokens(
    native: FrozenLM, head: ToolkenHead, specs: list[ToolSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[list[int]] = []
    prefill = PrefixCache.prefill

    def recorded(cache: PrefixCache, ids: list[int], **options: Any) -> Any:
        read.append(list(ids))
        return prefill(cache, ids, **options)

    monkeypatch.setattr(PrefixCache, "prefill", recorded)
    bare = replace(always(head), few_shot=FewShotExamples())
    ToolkenChatModel(lm=native, head=bare, max_tokens=60).bind_tools(specs, tool_choice="weather").invoke(ASKED[:1])
    (begun,) = [ids for ids in read if '"arguments":' in native.decode(ids)]
    prompt = ChatTemplateFormat.of(native).argument_prompts(specs[1], [], to_turns(ASKED[:1]))[0]
    whole = native.tokenizer(prompt.text + '{"city": "Oslo"}', add_special_tokens=False)["input_ids"]
    assert begun == whole[: len(begun)]
    assert len(begun) >= len(native.encode(prompt).ids)


def test_a_token_may_span_the_border_of_prompt_and_arguments(templated: Templated, specs: list[ToolSpec]) -> None:
    lm = templated("native")
    lm.tokenizer.add_tokens([' {"'])
    (spanning,) = lm.tokenizer.convert_tokens_to_ids([' {"'])
    prompts = ChatTemplateFormat.of(lm).argument_prompts(specs[1], [], to_turns(ASKED[:1]))
    begun = '{"city": "'
    assert spanning in prompt_ids(lm, prompts, begun, [1, 2, 3], 10)
    assert spanning not in prompt_ids(lm, [prompts[0].text], begun, lm.encode(begun).ids, 10)[-12:]


def test_tokens_of_a_conversation_are_counted_in_the_template(model: ToolkenChatModel, native: FrozenLM) -> None:
    counted = model.get_num_tokens_from_messages(ANSWERED)
    assert counted == len(native.encode(conversation_prompt(ANSWERED, ChatTemplateFormat.of(native)).text).ids)


def test_more_tokens_fit_a_chat(native: FrozenLM, tiny_lm: FrozenLM) -> None:
    for lm, longest in ((native, 400), (tiny_lm, 256)):
        lengths = [
            ToolkenChatModel(lm=lm, format="auto", temperature=1.0, seed=seed, stop=["\x00"]).invoke("Hi")
            for seed in range(4)
        ]
        counts = [one.usage_metadata["output_tokens"] for one in lengths if one.usage_metadata]
        assert max(counts) <= 512
        assert all(count <= longest or lm is native for count in counts)
