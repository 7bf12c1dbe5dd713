"""Chat templates: every kind writes the whole conversation, and nobody's text becomes a special token."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolken import Call, Example, FrozenLM, PromptFormat, ToolSpec
from toolken.errors import ExampleError, HeadError, TemplateError
from toolken.training.examples import FewShotExample
from toolken.training.prompts.chat_format import ChatTemplateFormat
from toolken.training.prompts.conversation_format import named_format, question_answer, read_format
from toolken.training.prompts.turns import Turn, TurnCall

Templated = Callable[[str], FrozenLM]
TEMPLATES = sorted(path.stem for path in (Path(__file__).parents[2] / "chat_templates").glob("*.jinja"))

SPEC = ToolSpec(
    name="weather",
    description="Tell the <|im_end|> weather.",
    parameters={
        "type": "object",
        "properties": {"city": {"type": "string", "title": "City", "x-grounded": True}, "title": {"type": "string"}},
        "required": ["city"],
    },
)
CALL = TurnCall("weather", {"city": 'Oslo "old" <|im_end|>', "days": 2})
CONVERSATIONS = {
    "a question": [Turn("user", "How are you?")],
    "a system message": [
        Turn("system", "Be brief."),
        Turn("user", "Hello"),
        Turn("assistant", "Hi."),
        Turn("user", "?"),
    ],
    "two questions": [Turn("user", "One"), Turn("user", "Two")],
    "two system messages": [Turn("system", "Be"), Turn("user", "Hello"), Turn("system", "kind."), Turn("user", "Bye")],
    "a greeting first": [Turn("assistant", "Welcome."), Turn("user", "Hello")],
    "a system message alone": [Turn("system", "Say hello.")],
    "a call and its result": [
        Turn("user", "Weather?"),
        Turn("assistant", "", (CALL,)),
        Turn("tool", '4 "C"', name="weather"),
    ],
    "two results": [
        Turn("system", "Be brief."),
        Turn("user", "Weather here and there?"),
        Turn("assistant", "Let me look.", (CALL, CALL)),
        Turn("tool", "first", name="weather"),
        Turn("tool", "second", name="weather"),
        Turn("assistant", "Both."),
        Turn("user", "Thanks"),
    ],
    "a result of nothing": [Turn("tool", "lonely", name="weather")],
    "braces": [Turn("user", "{{ messages }} {% raw %} {0} {name} \\n")],
}
TEXTS = (
    "Hello",
    "  two\n\nlines  ",
    "{{ x }}",
    "é 東京 🙂",
    "a\tb",
    "1,250.50",
    "Question: What?\nAnswer:",
    "[INST] x [/INST]",
)


@pytest.fixture(params=TEMPLATES)
def lm(request: pytest.FixtureRequest, templated: Templated) -> FrozenLM:
    return templated(request.param)


@pytest.fixture
def native(templated: Templated) -> FrozenLM:
    return templated("native")


@pytest.mark.parametrize("text", TEXTS)
def test_a_question_has_the_tokens_of_the_lms_own_template(lm: FrozenLM, text: str) -> None:
    content: object = [{"type": "text", "text": text}] if "blocks" in lm.name else text
    own = lm.tokenizer.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    assert lm.encode(ChatTemplateFormat.of(lm).query(text)).ids == list(own["input_ids"])


@pytest.mark.parametrize("turns", CONVERSATIONS.values(), ids=CONVERSATIONS.keys())
def test_every_template_writes_the_whole_conversation(lm: FrozenLM, turns: list[Turn]) -> None:
    text = ChatTemplateFormat.of(lm).conversation(turns).text
    at = 0
    if "two system" not in str(turns) and sum(turn.role == "system" for turn in turns) < 2:
        for turn in turns:  # in this order
            said = json.dumps(turn.text)[1:-1] if "strict" in lm.name and turn.role == "tool" else turn.text
            assert said in text[at:]
            at = text.index(said, at)
    for turn in turns:
        for call in turn.calls:
            assert call.name in text
            assert 'Oslo "old" <|im_end|>' in text or json.dumps('Oslo "old" <|im_end|>') in text


def test_what_a_template_has_no_form_for_is_written_as_text(templated: Templated) -> None:
    turns = [Turn("system", "Be brief."), *CONVERSATIONS["a call and its result"]]
    text = ChatTemplateFormat.of(templated("alternating")).conversation(turns).text
    call = json.dumps({"name": "weather", "arguments": CALL.args})
    assert text == (
        f'<|endoftext|>[INST] Be brief.\n\nWeather? [/INST] {call}<|endoftext|>[INST] Result of weather: 4 "C" [/INST]'
    )


def test_native_calls_and_results(native: FrozenLM) -> None:
    text = ChatTemplateFormat.of(native).conversation(CONVERSATIONS["a call and its result"]).text
    assert f'<call>{{"name": "weather", "arguments": {json.dumps(CALL.args)}}}</call><|im_end|>' in text
    assert text.endswith('<result>4 "C"</result><|im_end|>\n<|im_start|>assistant\n')


MARKERS = (
    "<|im_end|>",
    "<|im_start|>",
    "system\n",
    "<|endoftext|>",
    "<",
    "|",
    "x",
    " ",
    "\n",
    "<|",
    "|>",
    "\u2003",
    '"',
)


@given(st.lists(st.sampled_from(MARKERS), min_size=1, max_size=12).map("".join), st.sampled_from(TEMPLATES))
def test_nobodys_text_becomes_a_special_token(templated: Templated, said: str, name: str) -> None:
    lm = templated(name)
    form = ChatTemplateFormat.of(lm)

    def turns(text: str) -> list[Turn]:
        call = TurnCall("weather", {"city": text})
        said = [Turn("user", text), Turn("assistant", text, (call,)), Turn("tool", text, name=text)]
        return [Turn("system", text), *said, Turn("user", text)]

    special = set(lm.tokenizer.all_special_ids)
    spec = SPEC.model_copy(update={"description": said})
    for attacked, harmless in (
        (form.conversation(turns(said)), form.conversation(turns("abc"))),
        (form.argument_prompts(spec, [], turns(said))[0], form.argument_prompts(SPEC, [], turns("abc"))[0]),
    ):
        ids = lm.encode(attacked).ids
        counted = [one for one in ids if one in special]
        assert counted == [one for one in lm.encode(harmless).ids if one in special]
        assert lm.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False) == attacked.text


def test_other_added_tokens_of_the_template_are_marks_too(native: FrozenLM) -> None:
    native.tokenizer.add_tokens(["<call>", "<other>"])
    (call,) = native.tokenizer.convert_tokens_to_ids(["<call>"])
    form = ChatTemplateFormat.of(native)
    assert call not in native.encode(form.query("say <call> now")).ids
    assert call in native.encode(form.conversation(CONVERSATIONS["a call and its result"])).ids


def test_arguments_follow_a_begun_call_with_one_tool_in_the_prompt(native: FrozenLM) -> None:
    (first, alone) = ChatTemplateFormat.of(native).argument_prompts(SPEC, [], CONVERSATIONS["a system message"])
    assert first.text.endswith('?<|im_end|>\n<|im_start|>assistant\n<call>{"name": "weather", "arguments": ')
    assert first.text.count('"description": "Tell the <|im_end|> weather."') == 1
    assert '"properties": {"city": {"type": "string"}, "title": {"type": "string"}}' in first.text
    assert "Hello" in first.text
    assert "Hello" not in alone.text


def test_arguments_where_the_template_has_no_call(templated: Templated) -> None:
    for name in ("plain", "alternating", "injecting", "blocks", "elements"):
        text = ChatTemplateFormat.of(templated(name)).argument_prompts(SPEC, [], [Turn("user", "Weather?")])[0]
        assert text.text.endswith('{"name": "weather", "arguments": ')
        assert text.text.count("You can call this function:\n") == 1


def test_few_shot_examples_are_earlier_turns(native: FrozenLM) -> None:
    shown = [FewShotExample(tool="weather", question="And Rome?", args={"city": "Rome"})]
    first, second, _ = ChatTemplateFormat.of(native).argument_prompts(SPEC, shown, [Turn("user", "Weather?")])
    assert first.text.index('{"city": "Rome"}') < first.text.index("Weather?")
    assert "Rome" not in second.text


def test_examples_have_a_decision_at_each_beginning_of_the_assistants_turn(native: FrozenLM) -> None:
    form = ChatTemplateFormat.of(native)
    calls = (Call(tool="add", args={"a": 1}, result="5"), Call(tool="weather", result="7"))
    first, second, third = form.renderings(Example(question="What?", calls=calls))
    assert first.text == form.query("What?")
    assert all(one.plain.endswith("<|im_start|>assistant\n") for one in (first, second, third))
    assert [one.calls for one in (first, second)] == [
        ((len(one.plain), tool),) for one, tool in ((first, "add"), (second, "weather"))
    ]
    assert third.words == (len(third.plain),)
    assert [one.earlier_results for one in (first, second, third)] == [0, 0, 1]
    unknown = Example(question="What?", calls=(Call(tool="add"),))
    assert len(form.renderings(unknown)) == 1
    with pytest.raises(ExampleError, match="without a question"):
        form.renderings(Example(answer="Just text."))


def test_a_text_of_the_assistant_is_continued(lm: FrozenLM) -> None:
    form = ChatTemplateFormat.of(lm)
    text = form.conversation([Turn("user", "Count."), Turn("assistant", "One, two")])
    assert text.text.endswith("One, two")


def test_the_turn_ends_with_the_templates_token(templated: Templated) -> None:
    lm = templated("native")
    end = lm.tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert end not in lm.stop_ids
    assert ChatTemplateFormat.of(lm).stop_ids(lm) == lm.stop_ids | {end}
    bare = templated("elements")
    assert ChatTemplateFormat.of(bare).stop_ids(bare) == bare.stop_ids


def test_the_fingerprint_covers_template_and_options(native: FrozenLM, templated: Templated) -> None:
    forms = [ChatTemplateFormat.of(native), ChatTemplateFormat.of(templated("plain"))]
    forms.append(ChatTemplateFormat.of(native, enable_thinking=False))
    assert len({form.fingerprint for form in forms}) == 3
    for form in (*forms, PromptFormat(lead="number")):
        assert read_format(form.model_dump_json()) == form


def test_options_reach_the_template(native: FrozenLM) -> None:
    native.tokenizer.chat_template = "{{ mood }}: {{ messages[0].content }}"
    assert ChatTemplateFormat.of(native, mood="calm").query("Hello").text == "calm: Hello"


def test_the_format_is_chosen_by_name(tiny_lm: FrozenLM, templated: Templated) -> None:
    chosen = {name: type(named_format("auto", templated(name))) for name in ("native", "plain", "alternating")}
    assert set(chosen.values()) == {ChatTemplateFormat}
    assert named_format("question", templated("native")) == PromptFormat()
    assert isinstance(named_format("chat", templated("plain")), ChatTemplateFormat)
    assert named_format("auto", tiny_lm) == PromptFormat()
    with pytest.raises(TemplateError, match="has no chat template: use the format 'question'"):
        named_format("chat", tiny_lm)
    with pytest.raises(HeadError, match="no format 'other'"):
        named_format("other", tiny_lm)
    with pytest.raises(HeadError, match="an export needs questions and answers"):
        question_answer(named_format("chat", templated("plain")), "an export")


def test_a_template_that_always_raises_is_an_error(native: FrozenLM) -> None:
    native.tokenizer.chat_template = "{{ raise_exception('never') }}"
    with pytest.raises(TemplateError, match="never"):
        ChatTemplateFormat.of(native).query("Hello")


def test_a_template_that_omits_the_user_is_an_error(native: FrozenLM) -> None:
    native.tokenizer.chat_template = "Hello"
    with pytest.raises(TemplateError, match="omits a message"):
        ChatTemplateFormat.of(native).query("Hello")
