"""Examples become the text that the decoder produces, with the same decision positions."""

from typing import Any

import pytest

from toolken import Call, Example, FrozenLM, PromptFormat, ToolSpec
from toolken.training.examples import FewShotExample
from toolken.training.features.decision_states import NO_CALL, DecisionPosition, decision_positions

ASKED = "Question: What is 2 plus 3?\nAnswer:"
ADD = Call(tool="add", args={"numbers": [2, 3]}, result="5")
DOUBLE = Call(tool="double", args={"of": 5}, result="10")


def before(text: str, offsets: Any) -> list[str]:
    """Return the text up to each offset."""
    return [text[:offset] for offset in offsets]


def test_a_call_is_decided_after_the_opening_and_its_end_after_the_result() -> None:
    rendered = PromptFormat().render(Example(question=" What is 2 plus 3? ", calls=(ADD,)))
    assert rendered.text == f"{ASKED} The answer is 5, then"
    assert [(rendered.text[:at], tool) for at, tool in rendered.calls] == [(f"{ASKED} The answer is", "add")]
    assert before(rendered.text, rendered.words) == [rendered.text]
    assert not rendered.everywhere


def test_a_chain_is_decided_after_each_result() -> None:
    rendered = PromptFormat().render(Example(question="What is 2 plus 3?", calls=(ADD, DOUBLE)))
    assert rendered.text == f"{ASKED} The answer is 5, then 10, then"
    assert [(rendered.text[:at], tool) for at, tool in rendered.calls] == [
        (f"{ASKED} The answer is", "add"),
        (f"{ASKED} The answer is 5, then", "double"),
    ]
    assert before(rendered.text, rendered.words) == [rendered.text]


def test_nothing_is_decided_after_a_result_that_is_not_known() -> None:
    rendered = PromptFormat().render(Example(question="What is 2 plus 3?", calls=(Call(tool="add"), DOUBLE)))
    assert rendered.text == f"{ASKED} The answer is"
    assert [tool for _, tool in rendered.calls] == ["add"]
    assert rendered.words == ()


def test_a_lead_is_part_of_the_text_only_at_the_decision_on_the_question() -> None:
    prompt = PromptFormat(lead="number")
    led, rest = prompt.renderings(Example(question="What is 1,250.5 plus 3?", calls=(ADD, DOUBLE)))
    asked = "Question: What is 1,250.5 plus 3?\nAnswer: The answer is"
    assert prompt.query("What is 1,250.5 plus 3?") == led.text == f"{asked} 1,250.5"
    assert [(led.text[:at], tool) for at, tool in led.calls] == [(led.text, "add")]
    assert rest.text == f"{asked} 5, then 10, then"
    assert [(rest.text[:at], tool) for at, tool in rest.calls] == [(f"{asked} 5, then", "double")]
    assert before(rest.text, rest.words) == [rest.text]
    (worded,) = prompt.renderings(Example(question="Who won in 1998?", answer="The answer is France."))
    assert before(worded.text, worded.words) == ["Question: Who won in 1998?\nAnswer: The answer is 1998"]


@pytest.mark.parametrize(
    "example",
    [
        Example(question="Who wrote it?", calls=(Call(tool="add", result="5"),)),
        Example(question="", answer="2 and 3 make 5.", calls=(ADD.model_copy(update={"start": 13}),)),
        Example(question="What is 2 plus 3?", answer="It is 5.", calls=(ADD.model_copy(update={"start": 6}),)),
    ],
)
def test_a_lead_needs_a_number_and_the_opening(example: Example) -> None:
    assert PromptFormat(lead="number").renderings(example) == [PromptFormat().render(example)]


def test_defaults_of_newer_fields_do_not_change_the_fingerprint() -> None:
    assert PromptFormat().fingerprint == PromptFormat(lead="", joint=" ").fingerprint
    assert PromptFormat().fingerprint != PromptFormat(lead="number").fingerprint


@pytest.mark.parametrize("answer", ["The answer is 5.", "The answer is 5", " The answer is 5. "])
def test_an_answer_of_results_alone_becomes_the_text_that_the_decoder_produces(answer: str) -> None:
    call = ADD.model_copy(update={"start": answer.index("5")})
    prompt = PromptFormat()
    natural = Example(question="What is 2 plus 3?", calls=(call,), answer=answer)
    assert prompt.render(natural) == prompt.render(Example(question="What is 2 plus 3?", calls=(ADD,)))


def test_a_natural_answer_stands_as_it_is() -> None:
    answer = "Two and three make 5, twice which is 10 in all."
    calls = tuple(call.model_copy(update={"start": answer.index(call.result)}) for call in (ADD, DOUBLE))
    rendered = PromptFormat().render(Example(question="What is 2 plus 3?", calls=calls, answer=answer))
    assert rendered.text == f"{ASKED} {answer}"
    assert [(rendered.text[:at], tool) for at, tool in rendered.calls] == [
        (f"{ASKED} Two and three make", "add"),
        (f"{ASKED} Two and three make 5, twice which is", "double"),
    ]
    assert [rendered.text[a:b] for a, b in rendered.given] == [" 5", " 10"]


def test_text_is_decided_after_the_opening_of_an_answer_without_a_call() -> None:
    rendered = PromptFormat().render(Example(question="What is a young dog?", answer="The answer is a puppy."))
    assert before(rendered.text, rendered.words) == ["Question: What is a young dog?\nAnswer: The answer is"]
    assert rendered.calls == ()


def test_an_answer_with_another_opening_counts_only_its_question() -> None:
    rendered = PromptFormat().render(Example(question="What is a young dog?", answer="It is a puppy."))
    assert rendered.text == "Question: What is a young dog?\nAnswer: The answer is"
    assert rendered.words == (len(rendered.text),)


def test_running_text_contains_no_text_of_the_format_and_is_decided_everywhere() -> None:
    call = Call(tool="add", result="5", start=13)
    rendered = PromptFormat(preamble="Hello. ").render(Example(answer="2 and 3 make 5 apples.", calls=(call,)))
    assert rendered.text == "2 and 3 make 5 apples."
    assert rendered.everywhere
    assert [(rendered.text[:at], tool) for at, tool in rendered.calls] == [("2 and 3 make", "add")]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("He has 2.5. He needs 7 - 2.5 = ", "He needs 7 - 2.5 ="),
        ("one line\nanother 3*4 =", "another 3*4 ="),
        ("It is 5", "It is 5"),
        ("", ""),
    ],
)
def test_the_recent_text_is_the_last_sentence(text: str, sentence: str) -> None:
    assert PromptFormat.recent(text) == sentence


def test_braces_in_a_question_stay_as_they_are() -> None:
    assert PromptFormat().prompt("What is {question} or {x}?") == "Question: What is {question} or {x}?\nAnswer:"


def test_the_text_decided_on_is_the_same_for_examples_questions_and_the_prompt() -> None:
    prompt = PromptFormat(preamble="Some words first.\n\n")
    rendered = prompt.render(Example(question="What is 2 plus 3?", calls=(ADD,)))
    assert rendered.text[: rendered.begin] == prompt.query("What is 2 plus 3?")


def test_different_formats_have_different_fingerprints() -> None:
    formats = [
        PromptFormat(),
        PromptFormat(opening=" It is"),
        PromptFormat(stop=("\n", "Q:")),
        PromptFormat(everywhere=True),
    ]
    assert len({prompt.fingerprint for prompt in formats}) == len(formats)
    assert PromptFormat().fingerprint == PromptFormat().fingerprint
    with pytest.raises(ValueError, match="openning"):
        PromptFormat(openning=" It is")  # type: ignore[call-arg]


def test_the_prompt_for_arguments_has_few_shot_examples_or_else_the_description() -> None:
    spec = ToolSpec(name="add", description="Add numbers.")
    shown = FewShotExample(tool="add", question="1 and 1?", results=("7",), args={"numbers": [1, 1]})
    prompt = PromptFormat()
    text = prompt.argument_prompt(spec, [shown], "What is 2 plus 3?", ["8", "9"])
    assert text == (
        'Question: 1 and 1?\nKnown: 7\nArguments:\n{"numbers": [1, 1]}\n\n'
        "Question: What is 2 plus 3?\nKnown: 8, 9\nArguments:\n"
    )
    assert prompt.argument_prompt(spec, [], "Q", []) == "Add numbers.\n\nQuestion: Q\nArguments:\n"


def with_bytes() -> Any:
    """Return a tokenizer whose tokens are single bytes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = {char: i for i, char in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    characters = Tokenizer(models.BPE(vocab=alphabet, merges=[]))
    characters.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    characters.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=characters, eos_token="!")


def with_word_marks() -> Any:
    """Return a tokenizer like SentencePiece's: a mark precedes each word, and unknown characters become bytes."""
    from tokenizers import Tokenizer, decoders, models, normalizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"<unk>": 0, **{f"<0x{i:02X}>": i + 1 for i in range(256)}}
    for piece in ("▁The", "▁answer", "▁is", "▁5", ",", "▁then", "▁1", "0", "▁", "Question", ":", "What", "5", "T"):
        vocabulary.setdefault(piece, len(vocabulary))
    pieces = Tokenizer(models.BPE(vocab=vocabulary, merges=[], byte_fallback=True, unk_token="<unk>"))
    pieces.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    pieces.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=pieces, eos_token="<unk>")


@pytest.fixture(params=["byte-level BPE", "bytes", "word marks"])
def lm(request: pytest.FixtureRequest, tiny_lm: FrozenLM) -> FrozenLM:
    """An LM with one of several kinds of tokenizer, of which only the tokenizer is used."""
    if request.param == "byte-level BPE":
        return tiny_lm
    return FrozenLM(tiny_lm.model, with_bytes() if request.param == "bytes" else with_word_marks(), request.param)


def texts_at(lm: FrozenLM, example: Example, prompt: PromptFormat) -> list[tuple[str, int, bool]]:
    """Return the decoded text up to each decision position, the label there, and whether a result precedes it."""
    rendered = prompt.render(example)
    encoding = lm.encode(rendered.text)
    places: list[DecisionPosition] = decision_positions(encoding, rendered, {"add": 0, "double": 1})
    return [(lm.decode(encoding.ids[: p.position + 1]).strip(), p.label, bool(p.results)) for p in places]


def test_the_decision_position_is_the_last_token_before_the_call(lm: FrozenLM) -> None:
    example = Example(question="What is 2 plus 3?", calls=(ADD, DOUBLE))
    assert texts_at(lm, example, PromptFormat()) == [
        (f"{ASKED} The answer is", 0, False),
        (f"{ASKED} The answer is 5, then", 1, True),
        (f"{ASKED} The answer is 5, then 10, then", NO_CALL, True),
    ]


def test_natural_answers_are_decided_before_the_results(lm: FrozenLM) -> None:
    answer = "Two — three make 5, twice which is 10 in all."
    calls = tuple(call.model_copy(update={"start": answer.index(call.result)}) for call in (ADD, DOUBLE))
    example = Example(question="What is 2 plus 3?", calls=calls, answer=answer)
    found = [(text, label) for text, label, _ in texts_at(lm, example, PromptFormat()) if label != NO_CALL]
    assert found == [
        (f"{ASKED} Two — three make", 0),
        (f"{ASKED} Two — three make 5, twice which is", 1),
    ]


def test_in_running_text_every_token_is_a_decision_except_those_of_results(lm: FrozenLM) -> None:
    answer = "The sum is 55 in all."
    example = Example(answer=answer, calls=(Call(tool="add", result="55", start=answer.index("55")),))
    found = texts_at(lm, example, PromptFormat())
    labels = {text: label for text, label, _ in found}
    assert labels["The sum is"] == 0
    assert list(labels.values()).count(0) == 1
    assert "The sum is 5" not in labels
    assert labels["The sum is 55 in"] == NO_CALL
    assert labels[answer] == NO_CALL


def test_with_calls_everywhere_there_is_no_decision_after_the_question(lm: FrozenLM) -> None:
    answer = "The answer is a sum: 5."
    call = ADD.model_copy(update={"start": answer.index("5")})
    found = texts_at(
        lm, Example(question="What is 2 plus 3?", calls=(call,), answer=answer), PromptFormat(everywhere=True)
    )
    assert all(text.startswith(f"{ASKED} The answer is") for text, _, _ in found)
    assert [text for text, label, _ in found if label == 0] == [f"{ASKED} The answer is a sum:"]
