"""`Decoder` decodes turns of text, calls and arguments, and caching changes no result."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from toolken import DecodingOptions, FrozenLM, PromptFormat, ToolkenHead, ToolSpec, fit
from toolken.agents.bound_tools import BoundTools
from toolken.agents.conversation import Prompt, canonical, to_prompt
from toolken.agents.decoding.decoder import Decoder
from toolken.agents.decoding.events import ArgumentsPiece, CallFinished, CallStarted, Event, Finished, TextPiece
from toolken.agents.decoding.lazy_model import LazyModel
from toolken.agents.grammar.copy_limits import CopyLimits
from toolken.errors import FingerprintError, PromptTooLongError, ToolSpecError
from toolken.training.features.decision_states import query_states

BuildLM = Callable[..., FrozenLM]

WORDS = DecodingOptions(max_tokens=12)
TOOLS = DecodingOptions(tools=("add", "weather", "capital"), max_tokens=300)


@pytest.fixture(scope="module")
def readable_lm(build_lm: BuildLM) -> FrozenLM:
    """A random LM that writes printable characters only."""
    lm = build_lm(seed=5)
    hidden = torch.zeros(lm.vocab_size)
    for token in range(lm.vocab_size):
        text = lm.tokenizer.decode([token])
        if not (text.isascii() and text.isprintable() and text) or token in lm.tokenizer.all_special_ids:
            hidden[token] = -100.0
    lm.model.get_output_embeddings().register_forward_hook(lambda _module, _arguments, logits: logits + hidden)
    return lm


def without_stops(head: ToolkenHead) -> ToolkenHead:
    """Return a head whose answers end at no text, and whose words have nothing but the conversation before them."""
    return replace(head, prompt=head.prompt.model_copy(update={"stop": (), "words_preamble": ""}))


def decoder_of(lm: FrozenLM, head: ToolkenHead) -> Decoder:
    """Return a decoder of all the head's tools, with nothing read before."""
    return LazyModel(lm, head).decoder(BoundTools.of(head.specs))


def head_of(decoder: Decoder) -> ToolkenHead:
    """Return the decoder's head, the test's own to change."""
    assert decoder.toolset.head is not None
    return decoder.toolset.head


@pytest.fixture
def decoder(tiny_lm: FrozenLM, tiny_head: ToolkenHead) -> Decoder:
    """A decoder of any bytes."""
    return decoder_of(tiny_lm, without_stops(tiny_head))


@pytest.fixture
def readable(readable_lm: FrozenLM, specs: list[ToolSpec], tiny_background: object) -> Decoder:
    """A decoder of printable text."""
    return decoder_of(readable_lm, without_stops(fit(readable_lm, specs)))


def asked(question: str = "What is 12 plus 30?", prompt: PromptFormat | None = None) -> Prompt:
    """Return the prompt of a question."""
    return to_prompt([HumanMessage(question)], prompt or PromptFormat())


def answered(*results: str) -> Prompt:
    """Return the prompt after calls with results."""
    messages: list[HumanMessage | AIMessage | ToolMessage] = [HumanMessage("What is 12 plus 30?")]
    for number, result in enumerate(results):
        messages.append(AIMessage("", tool_calls=[{"name": "add", "args": {}, "id": str(number)}]))
        messages.append(ToolMessage(result, tool_call_id=str(number)))
    return to_prompt(messages, PromptFormat())


def text_of(events: list[Event]) -> str:
    """Join the pieces of text."""
    return "".join(event.text for event in events if isinstance(event, TextPiece))


def finished(events: list[Event]) -> Finished:
    """Return the last event."""
    assert isinstance(events[-1], Finished)
    return events[-1]


def likeliest(lm: FrozenLM, text: str, count: int) -> list[int]:
    """Continue a text by the model's own full passes, without any cache."""
    ids, written = lm.encode(text).ids, list[int]()
    while len(written) < count:
        with torch.no_grad():
            token = int(lm.model(torch.tensor([ids + written])).logits[0, -1].argmax())
        if token in lm.stop_ids:
            break
        written.append(token)
    return written


def test_text_equals_the_models_own_generation(decoder: Decoder, tiny_lm: FrozenLM) -> None:
    events = list(decoder.decode(asked(), WORDS))
    expected = likeliest(tiny_lm, asked().text, WORDS.max_tokens)
    assert text_of(events) == tiny_lm.decode(expected)
    assert finished(events).output_tokens == len(expected)
    assert finished(events).input_tokens == len(tiny_lm.encode(asked().text).ids)


def test_the_words_preamble_is_read_first(tiny_lm: FrozenLM, tiny_head: ToolkenHead) -> None:
    form = tiny_head.prompt.model_copy(update={"stop": (), "words_preamble": "The sum is fine.\n\n"})
    events = list(decoder_of(tiny_lm, replace(tiny_head, prompt=form)).decode(asked(), WORDS))
    expected = likeliest(tiny_lm, form.words_preamble + asked().text, WORDS.max_tokens)
    assert text_of(events) == tiny_lm.decode(expected)


def test_an_answer_is_cut_at_its_bound(decoder: Decoder, tiny_lm: FrozenLM) -> None:
    events = list(decoder.decode(asked(), replace(WORDS, max_tokens=3)))
    assert finished(events) == Finished("length", len(tiny_lm.encode(asked().text).ids), 3)


def test_caching_changes_no_text(decoder: Decoder) -> None:
    questions = ["What is 12 plus 30?", "What is 12 plus 31?", "Where is the capital?", "What is 12 plus 30?"] * 3
    for question in questions:
        for options in (WORDS, replace(TOOLS, tools=("add",), must_call=True)):
            warm = list(decoder.decode(asked(question), options))
            cold = list(decoder_of(decoder.texts.lm, head_of(decoder)).decode(asked(question), options))
            assert warm[1:] == cold[1:]
            assert text_of(warm) == text_of(cold)


def test_an_abandoned_turn_does_not_affect_the_next(decoder: Decoder) -> None:
    expected = list(decoder.decode(asked(), WORDS))
    for taken in range(1, 4):
        events = decoder.decode(asked(), WORDS)
        for _ in range(taken):
            next(events)
        events.close()  # type: ignore[attr-defined]
        assert list(decoder.decode(asked(), WORDS)) == expected


def test_a_called_tool_has_arguments_probability_and_runners_up(decoder: Decoder) -> None:
    events = list(decoder.decode(asked(), replace(TOOLS, must_call=True)))
    started, call = events[0], events[-2]
    assert isinstance(started, CallStarted)
    assert isinstance(call, CallFinished)
    assert call.name == started.name
    assert call.error is None
    assert "".join(event.text for event in events if isinstance(event, ArgumentsPiece)) == call.text
    assert finished(events).reason == "tool_calls"
    shares = [started.probability, *(share for _, share in started.runners_up)]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(1, abs=1e-4)
    assert {started.name, *(name for name, _ in started.runners_up)} == set(TOOLS.tools)


def test_the_decision_follows_the_lead_which_is_then_removed(tiny_lm: FrozenLM, tiny_head: ToolkenHead) -> None:
    head = without_stops(tiny_head)
    led = replace(head, prompt=head.prompt.model_copy(update={"lead": "number"}))
    question = "What is 17 plus 4?"
    probabilities = []
    for one in (head, led):
        decoder = decoder_of(tiny_lm, one)
        prompt = to_prompt([HumanMessage(question)], one.prompt)
        assert prompt.text == head.prompt.query(question)
        *_, finished = decoder.decode(prompt, TOOLS)
        assert isinstance(finished, Finished)
        probabilities.append(finished.call_probability)
        state = query_states(tiny_lm, one.prompt, [question]).hidden[0]
        assert finished.call_probability == pytest.approx(
            float(decoder.toolset.decide(state, TOOLS.tools, results=0).call_probability), abs=1e-4
        )
    assert probabilities[0] != probabilities[1]


@pytest.mark.parametrize("name", ["add", "weather", "capital"])
def test_only_tools_that_are_offered_are_called(decoder: Decoder, name: str) -> None:
    events = list(decoder.decode(asked("12 and 30 in Paris"), replace(TOOLS, tools=(name,), must_call=True)))
    assert isinstance(events[0], CallStarted)
    assert (events[0].name, events[0].runners_up) == (name, ())


def test_grounded_arguments_are_copied_from_the_question(decoder: Decoder) -> None:
    for options in (TOOLS, replace(TOOLS, temperature=2.0, seed=1)):
        events = list(decoder.decode(asked("12 and 30"), replace(options, tools=("add",), must_call=True)))
        (call,) = (event for event in events if isinstance(event, CallFinished))
        assert sorted(call.arguments["numbers"]) == [12, 30]


def test_a_copy_rule_limits_the_numbers_of_a_later_call(decoder: Decoder) -> None:
    given = []

    def rule(tool: str, results: Sequence[str], before: Sequence[Mapping[str, Any]]) -> CopyLimits:
        given.append((tool, tuple(results), tuple(before)))
        return CopyLimits(unavailable=(12.0, 30.0), one_of=frozenset({42.0}))

    prompt = replace(answered("42"), context="12, 30 and 8\n42", before=({"numbers": [12, 30]},))
    options = replace(TOOLS, tools=("add",), must_call=True, temperature=2.0)
    for seed in range(5):
        limited = replace(options, seed=seed, copy_rule=rule)
        (call,) = (one for one in decoder.decode(prompt, limited) if isinstance(one, CallFinished))
        assert 42 in call.arguments["numbers"]
        assert set(call.arguments["numbers"]) <= {8, 42}
    assert all(one == ("add", ("42",), ({"numbers": [12, 30]},)) for one in given)


def test_without_a_copy_rule_a_later_call_may_copy_every_number(decoder: Decoder) -> None:
    prompt = replace(answered("42"), context="12 and 30", before=({"numbers": [12, 30]},))
    options = replace(TOOLS, tools=("add",), must_call=True)
    (call,) = (one for one in decoder.decode(prompt, options) if isinstance(one, CallFinished))
    assert sorted(call.arguments["numbers"]) == [12, 30]


def test_the_threshold_decides_between_text_and_a_call(decoder: Decoder) -> None:
    decoder = decoder_of(decoder.texts.lm, replace(head_of(decoder), threshold=0.0))
    assert isinstance(next(decoder.decode(asked(), TOOLS)), CallStarted)
    decoder = decoder_of(decoder.texts.lm, replace(head_of(decoder), threshold=1.1))
    few = replace(TOOLS, max_tokens=3)
    assert not any(isinstance(event, CallStarted) for event in decoder.decode(asked(), few))
    decoder = decoder_of(decoder.texts.lm, replace(head_of(decoder), threshold=0.0))
    assert not any(isinstance(event, CallStarted) for event in decoder.decode(asked(), WORDS))


def test_after_results_the_formats_closing_ends_the_answer(decoder: Decoder) -> None:
    for options in (WORDS, TOOLS):
        events = list(decoder.decode(answered("42"), options))
        assert text_of(events) == "."
        assert finished(events).reason == "stop"


def test_after_a_result_another_call_may_follow(decoder: Decoder) -> None:
    decoder = decoder_of(decoder.texts.lm, replace(head_of(decoder), threshold=0.0))
    assert isinstance(next(decoder.decode(answered("42"), TOOLS)), CallStarted)
    assert isinstance(next(decoder.decode(answered("42", "17"), TOOLS)), CallStarted)


def test_too_few_tokens_for_the_arguments_are_an_error_of_the_call(decoder: Decoder) -> None:
    question = "one two three four five six seven eight nine"
    options = replace(TOOLS, tools=("weather",), must_call=True, max_tokens=1)
    events = list(decoder.decode(asked(question), options))
    (call,) = (event for event in events if isinstance(event, CallFinished))
    assert call.error is not None
    assert "allow more tokens" in call.error
    assert call.arguments == {}


def test_stop_texts_end_the_answer_and_are_not_part_of_it(readable: Decoder) -> None:
    whole = text_of(list(readable.decode(asked(), WORDS)))
    for length in (1, 2, 5):
        for at in (0, 4, 9):
            stop = whole[at : at + length]
            events = list(readable.decode(asked(), replace(WORDS, stop=(stop, "never written"))))
            assert text_of(events) == whole[: whole.index(stop)]
            assert finished(events).reason == "stop"


def test_text_that_only_begins_like_a_stop_text_is_emitted(readable: Decoder) -> None:
    whole = text_of(list(readable.decode(asked(), WORDS)))
    stop = (whole[-3:] + "never", whole[5:8] + "never")
    assert text_of(list(readable.decode(asked(), replace(WORDS, stop=stop)))) == whole


def test_an_empty_stop_text_stops_nothing(decoder: Decoder) -> None:
    assert list(decoder.decode(asked(), replace(WORDS, stop=("",)))) == list(decoder.decode(asked(), WORDS))


def test_a_seed_gives_the_same_draw_again_and_another_one_another(decoder: Decoder) -> None:
    options = replace(WORDS, temperature=1.5, seed=3)
    first = list(decoder.decode(asked(), options))
    assert list(decoder.decode(asked(), options)) == first
    assert {text_of(list(decoder.decode(asked(), replace(options, seed=seed)))) for seed in range(5)} != {
        text_of(first)
    }


def test_without_a_seed_draws_differ(decoder: Decoder) -> None:
    options = replace(WORDS, temperature=1.5)
    assert len({text_of(list(decoder.decode(asked(), options))) for _ in range(5)}) > 1


def test_a_small_top_p_takes_the_most_likely_token(decoder: Decoder) -> None:
    drawn = replace(WORDS, temperature=1.0, top_p=1e-6, seed=0)
    assert text_of(list(decoder.decode(asked(), drawn))) == text_of(list(decoder.decode(asked(), WORDS)))


def test_a_low_temperature_nearly_takes_the_most_likely_token(decoder: Decoder) -> None:
    drawn = replace(WORDS, temperature=1e-4, seed=0)
    assert text_of(list(decoder.decode(asked(), drawn))) == text_of(list(decoder.decode(asked(), WORDS)))


def test_no_piece_of_text_has_half_a_character(decoder: Decoder, monkeypatch: pytest.MonkeyPatch) -> None:
    def emoji(*_: object) -> int:
        return next(bytes_left)

    ids = decoder.texts.lm.encode("é😀漢").ids
    bytes_left = iter(ids)
    monkeypatch.setattr("toolken.agents.decoding.sampling.Sampler.token", emoji)
    events = list(decoder.decode(asked(), replace(WORDS, max_tokens=len(ids))))
    assert len(ids) == 9
    assert [event.text for event in events if isinstance(event, TextPiece)] == ["é", "😀", "漢"]


def test_a_conversation_longer_than_the_context_is_refused(
    build_lm: BuildLM, specs: list[ToolSpec], tiny_background: object
) -> None:
    lm = build_lm(context=128)
    decoder = decoder_of(lm, fit(lm, specs))
    for options in (WORDS, TOOLS, replace(TOOLS, must_call=True)):
        with pytest.raises(PromptTooLongError, match="takes 128"):
            list(decoder.decode(asked("very " * 200), options))


def test_an_answer_that_reaches_the_end_of_the_context_is_cut_like_any_other(
    build_lm: BuildLM, specs: list[ToolSpec], tiny_background: object
) -> None:
    lm = build_lm(context=160)
    decoder = decoder_of(lm, without_stops(fit(lm, specs)))
    events = list(decoder.decode(asked("Why?"), replace(WORDS, max_tokens=500)))
    assert finished(events).reason in {"length", "stop"}
    assert text_of(events)


def test_a_tool_that_is_not_in_the_head_is_refused(decoder: Decoder) -> None:
    with pytest.raises(ToolSpecError, match=r"'ad': did you mean 'add'"):
        list(decoder.decode(asked(), replace(TOOLS, tools=("ad",), must_call=True)))


def test_a_head_of_another_lm_is_refused(build_lm: BuildLM, tiny_head: ToolkenHead) -> None:
    with pytest.raises(FingerprintError):
        decoder_of(build_lm(seed=1), tiny_head)


def test_calls_in_running_text_can_follow_any_token(
    tiny_lm: FrozenLM, specs: list[ToolSpec], tiny_background: object
) -> None:
    prompt = PromptFormat(everywhere=True, stop=(), words_preamble="")
    head = fit(tiny_lm, specs, prompt=prompt)
    decoder = decoder_of(tiny_lm, replace(head, threshold=1.1))
    words = list(decoder.decode(asked(prompt=prompt), WORDS))
    assert text_of(list(decoder.decode(asked(prompt=prompt), replace(WORDS, tools=TOOLS.tools)))) == text_of(words)
    decoder = decoder_of(tiny_lm, replace(head, threshold=0.0))
    assert isinstance(next(decoder.decode(asked(prompt=prompt), TOOLS)), CallStarted)


def test_a_call_in_running_text_copies_numbers_of_the_text_before_it(
    tiny_lm: FrozenLM, specs: list[ToolSpec], tiny_background: object
) -> None:
    prompt = PromptFormat(everywhere=True, stop=(), words_preamble="")
    head = fit(tiny_lm, specs, prompt=prompt)
    head = replace(head, threshold=0.0)
    made = replace(asked("How many?", prompt=prompt), answer=" It is done. They are 31 + 57 =")
    options = replace(TOOLS, tools=("add",))
    (call,) = (one for one in decoder_of(tiny_lm, head).decode(made, options) if isinstance(one, CallFinished))
    assert sorted(call.arguments["numbers"]) == [31, 57]


def test_the_embedded_lm_decodes_sensible_text(embedded_lm: FrozenLM, specs: list[ToolSpec]) -> None:
    decoder = decoder_of(embedded_lm, fit(embedded_lm, specs))
    events = list(decoder.decode(asked("What is the colour of a ripe banana?"), DecodingOptions(max_tokens=20)))
    # Which colour is up to the LM, and one this small is often wrong; that it names one is what the decoder must keep.
    assert text_of(events).strip(" .").lower() in {"yellow", "green", "brown", "red", "orange", "golden"}
    assert finished(events).reason == "stop"


def test_the_embedded_lm_calls_a_tool_with_the_numbers_of_the_question(
    embedded_lm: FrozenLM, specs: list[ToolSpec], examples: list[object]
) -> None:
    decoder = decoder_of(embedded_lm, fit(embedded_lm, specs, examples))  # type: ignore[arg-type]
    events = list(decoder.decode(asked("What is 17 plus 25?"), TOOLS))
    (call,) = (event for event in events if isinstance(event, CallFinished))
    assert call.name == "add"
    assert sorted(call.arguments["numbers"]) == [17, 25]


def test_text_before_a_repeated_call_in_running_text_is_kept(
    tiny_lm: FrozenLM, specs: list[ToolSpec], tiny_background: object
) -> None:
    form = PromptFormat(everywhere=True, stop=(), words_preamble="")
    head = fit(tiny_lm, specs, prompt=form)
    head = replace(head, threshold=1.1)
    options = replace(TOOLS, tools=("add",), max_tokens=40)
    words = text_of(list(decoder_of(tiny_lm, head).decode(asked(prompt=form), replace(options, tools=()))))
    head = replace(head, threshold=0.0)
    first = list(decoder_of(tiny_lm, head).decode(asked(prompt=form), options))
    (call,) = (event for event in first if isinstance(event, CallFinished))
    made = asked(prompt=form)
    repeated = replace(made, answered=frozenset({("add", canonical(call.arguments))}))
    # A stop text of which only beginnings stand in the words has to be held back again and again.
    held = replace(options, stop=(words[3:6] + "never",))
    events = list(decoder_of(tiny_lm, head).decode(repeated, held))
    written = text_of(events)
    assert written
    assert words.startswith(written)
