"""The form of calls is read from chat templates: markers, bare JSON, lists."""

from collections.abc import Callable

import pytest

from toolken.benchmarks.function_calling.call_form import CallForm, read_call_form
from toolken.benchmarks.function_calling.prompts import CALL, CALL_END, prompt_of
from toolken.training.lm import FrozenLM

Scripted = Callable[..., FrozenLM]


@pytest.mark.parametrize(
    ("template", "form"),
    [
        ("marked", CallForm("<tool_call>\n", "\n</tool_call>")),
        ("bare", CallForm("", "", arguments_key="parameters")),
        ("list", CallForm("[TOOL_CALLS] ", "", is_list=True)),
        ("functions", None),
        ("plain", CallForm(CALL, CALL_END)),
    ],
)
def test_the_form_of_calls_follows_from_the_template(scripted: Scripted, template: str, form: CallForm | None) -> None:
    assert prompt_of(scripted(template)).call_form == form


def test_a_template_that_refuses_calls_has_no_form() -> None:
    def refuses(messages: list[dict[str, object]], generation: bool) -> str:
        raise ValueError("no calls")

    assert read_call_form(refuses) is None


def test_thoughts_and_the_end_of_the_turn_are_not_part_of_a_call() -> None:
    def render(messages: list[dict[str, object]], generation: bool) -> str:
        text = "<user>Probe.<assistant>"
        if len(messages) > 1:
            said = (
                messages[1]["content"]
                or '{"type": "function", "function": {"name": "probe_tool", "arguments": {"probe_key": "probe value"}}}'
            )
            text += f"<think>\n\n</think>\n\n{said}<end>\n"
        return text

    assert read_call_form(render) == CallForm('{"type": "function", "function": ', "}")


def test_a_call_begins_after_its_marker_or_with_its_json() -> None:
    marked, bare = CallForm("<call> ", "</call>"), CallForm("", "")
    assert marked.begins("Hm. <call>{", 0) == (10, " ")
    assert marked.begins("Hm. <call>{", 5) is None
    assert bare.begins('So {"name": "x', 0) == (3, "")
    assert bare.begins('{"names": 1}', 0) is None
    assert CallForm("", "", is_list=True).begins('a [ {"name":', 0) == (2, "")
