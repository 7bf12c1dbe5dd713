"""Prompts with tools: the LM's template, and the few-shot prompt where it takes none."""

from copy import copy

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from toolken.benchmarks.function_calling.prompts import (
    FewShotPrompt,
    TemplatePrompt,
    has_tool_template,
    prompt_of,
    template_messages,
)
from toolken.errors import DataFormatError
from toolken.training.lm import FrozenLM
from toolken.training.tool_spec import ToolSpec

TOOLS = (
    "{% for tool in tools %}[{{ tool.function.name }}]{% endfor %}"
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}"
    "{% for c in m.tool_calls or [] %}({{ c.function.name }}){% endfor %}{% endfor %}<assistant>"
)
PLAIN = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"
STRICT = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('alternate') }}"
    "{% endif %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"
)
WEATHER = ToolSpec(name="weather", description="Tell the weather of a city.")
TIMER = ToolSpec(name="timer", description="Start a timer.")


def with_template(lm: FrozenLM, template: str | None) -> FrozenLM:
    """Return the LM with another chat template."""
    found = copy(lm)
    found.tokenizer = copy(lm.tokenizer)
    found.tokenizer.chat_template = template
    return found


def text_of(lm: FrozenLM, ids: list[int]) -> str:
    return str(lm.tokenizer.decode(ids, skip_special_tokens=False))


CONVERSATION = [
    SystemMessage("Be brief."),
    HumanMessage("Oslo?"),
    AIMessage("", tool_calls=[{"name": "weather", "args": {"city": "Oslo"}, "id": "1"}]),
    ToolMessage("snow", tool_call_id="1", name="weather"),
    AIMessage("It snows."),
    HumanMessage("And Rome?"),
]


def test_messages_become_dicts_with_calls_and_results() -> None:
    found = template_messages(CONVERSATION)
    assert [one["role"] for one in found] == ["system", "user", "assistant", "tool", "assistant", "user"]
    assert found[2]["tool_calls"][0]["function"] == {"name": "weather", "arguments": {"city": "Oslo"}}
    assert found[3]["content"] == "snow"


def test_a_template_that_takes_tools_is_used(tiny_lm: FrozenLM) -> None:
    lm = with_template(tiny_lm, TOOLS)
    assert has_tool_template(lm)
    prompt = prompt_of(lm)
    assert isinstance(prompt, TemplatePrompt)
    text = text_of(lm, prompt.ids(CONVERSATION, [WEATHER, TIMER]))
    assert "[weather][timer]" in text
    assert text.endswith("<user>And Rome?<assistant>")


def test_the_shared_part_holds_the_tools_and_not_the_request(tiny_lm: FrozenLM) -> None:
    lm = with_template(tiny_lm, TOOLS)
    prompt = TemplatePrompt(lm)
    shared = prompt.shared_ids(CONVERSATION, [WEATHER])
    assert "[weather]" in text_of(lm, shared)
    assert "Oslo" not in text_of(lm, shared)
    whole = prompt.ids(CONVERSATION, [WEATHER])
    assert whole[: len(shared)] == shared


@pytest.mark.parametrize("template", [None, PLAIN, STRICT])
def test_without_tools_in_the_template_solved_requests_show_the_form(tiny_lm: FrozenLM, template: str | None) -> None:
    lm = with_template(tiny_lm, template)
    prompt = prompt_of(lm)
    assert isinstance(prompt, FewShotPrompt)
    text = text_of(lm, prompt.ids(CONVERSATION, [WEATHER]))
    assert text.count("<tool_call>") >= 4
    assert '"weather"' in text
    assert "Be brief." in text
    assert text.rstrip().endswith("<assistant>" if template else "Assistant:")


def test_a_template_that_refuses_a_conversation_is_an_error_that_names_the_lm(tiny_lm: FrozenLM) -> None:
    lm = with_template(tiny_lm, "{{ raise_exception('no tools today') }}{{ tools }}")
    with pytest.raises(DataFormatError, match=r"no tools today.*leave the method out"):
        TemplatePrompt(lm).ids(CONVERSATION, [WEATHER])
