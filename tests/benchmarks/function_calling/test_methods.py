"""Methods answer records: toolkens, prompts with all tools, and a retriever's five."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from toolken.benchmarks.function_calling import methods
from toolken.benchmarks.function_calling.methods import methods_for, prompt_tokens, prompted, retrieving, toolkens
from toolken.benchmarks.function_calling.record import CallRecord, ExpectedCall, MadeCall
from toolken.benchmarks.function_calling.reserved_examples import as_example
from toolken.benchmarks.function_calling.scoring import score
from toolken.errors import ToolkenError
from toolken.training.examples import Example
from toolken.training.lm import FrozenLM
from toolken.training.tool_spec import ToolSpec

Scripted = Callable[..., FrozenLM]

CITY = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 8}}, "required": ["city"]}
WEATHER = ToolSpec(name="weather", description="Weather of a city.", parameters=CITY)
MAYOR = ToolSpec(name="mayor", description="Mayor of a city.", parameters=CITY)
IMPOSSIBLE = ToolSpec(
    name="never",
    description="Nothing fits.",
    parameters={"type": "object", "properties": {"a": {"type": "string", "enum": [1]}}, "required": ["a"]},
)
RECORD = CallRecord(
    "1", "c", (HumanMessage("Oslo?"),), (WEATHER, MAYOR), (ExpectedCall("weather", {"city": ("Oslo",)}),)
)
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call>'


class Letters:
    """An encoder whose vectors count letters."""

    name = "letters"

    def __init__(self) -> None:
        self.encoded: list[str] = []

    def encode(self, texts: Sequence[str]) -> torch.Tensor:
        self.encoded += texts
        counts = [[text.lower().count(chr(ord("a") + at)) for at in range(26)] for text in texts]
        return torch.nn.functional.normalize(torch.tensor(counts, dtype=torch.float32))


def test_an_lm_without_a_tool_template_has_few_shot_prompts(scripted: Scripted) -> None:
    assert {"native", "native-constrained"} <= set(methods_for(scripted("marked")))
    assert not {"native", "native-constrained"} & set(methods_for(scripted("plain")))
    assert {"few-shot", "few-shot-constrained"} <= set(methods_for(scripted("plain")))
    assert methods_for(scripted("marked"))[0] == methods_for(scripted("plain"))[0] == "toolken"


@pytest.mark.parametrize("constrained", [False, True])
def test_a_prompt_has_all_tools(scripted: Scripted, constrained: bool) -> None:
    outcome = prompted(scripted("marked", CALL), constrained=constrained)(RECORD)
    assert score(RECORD, outcome)["exact"]


def test_the_retriever_reads_the_nearest_five_tools_of_the_users_last_message(scripted: Scripted) -> None:
    tools = tuple(ToolSpec(name=letter * 3, description=letter * 9, parameters=CITY) for letter in "abcdefg")
    messages = (
        HumanMessage("ccc"),
        AIMessage("", tool_calls=[{"name": "ccc", "args": {"city": "gg"}, "id": "1"}]),
        ToolMessage("fffff", tool_call_id="1"),
    )
    encoder = Letters()
    lm = scripted("marked", "Hello.")
    answer = retrieving(lm, encoder)
    record = replace(RECORD, tools=tools, messages=messages)
    outcome = answer(record)
    assert encoder.encoded[-1] == "ccc"
    assert outcome.read_tokens < prompted(lm, constrained=False)(record).read_tokens
    answer(record)
    assert len(encoder.encoded) == len(tools) + 2  # the tools are encoded once


@pytest.mark.usefixtures("tiny_background")
def test_toolkens_answer_from_descriptions_and_from_examples(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = scripted("marked")
    monkeypatch.setattr(methods, "MAX_TOKENS", 24)
    asked = [as_example(replace(RECORD, messages=(HumanMessage(f"{city}?"),))) for city in ("Oslo", "Rome", "Lima")]
    used: list[CallRecord] = []

    def examples(record: CallRecord) -> list[Example]:
        used.append(record)
        return asked

    answer = toolkens(lm, examples)
    for outcome in (toolkens(lm)(RECORD), answer(RECORD), answer(RECORD)):
        assert outcome.call_probability is not None
        assert 0 <= outcome.call_probability <= 1
        assert (outcome.tool_probability is not None) == bool(outcome.calls)
        assert min(outcome.read_tokens, outcome.cache_bytes, outcome.setup_seconds, outcome.seconds) > 0
    assert len(used) == 1  # one fit per set of tools


@pytest.mark.usefixtures("tiny_background")
@pytest.mark.parametrize(
    ("tool", "reason"),
    [
        (IMPOSSIBLE, "'never' cannot be compiled"),
        (
            ToolSpec(name="climate", description="Weather of a city.", parameters=CITY),
            "description",
        ),  # refused by `fit`
    ],
)
def test_a_tool_that_toolkens_cannot_take_is_a_miss_also_where_no_call_is_right(
    scripted: Scripted, tool: ToolSpec, reason: str
) -> None:
    record = replace(RECORD, tools=(WEATHER, tool))
    examples = [as_example(RECORD)] if reason == "description" else None
    outcome = toolkens(scripted("marked"), (lambda _: examples) if examples else None)(record)
    assert outcome.calls == (MadeCall("", None),)
    assert reason in outcome.text
    assert not any(score(record, outcome).values())
    assert score(replace(record, expected=()), outcome) == {"declined": False, "valid": False}


def test_the_tokens_of_prompts_are_known_before(scripted: Scripted) -> None:
    lm = scripted("marked")
    long = replace(RECORD, messages=(HumanMessage("Oslo? " * 50),))
    needed = prompt_tokens(lm, "native", [RECORD, long, RECORD, RECORD, RECORD])
    assert needed == methods.MAX_TOKENS + prompted(scripted("marked", ""), constrained=False)(long).read_tokens
    assert prompt_tokens(lm, "toolken", [RECORD]) < prompt_tokens(lm, "toolken", [RECORD, long])
    many = replace(RECORD, tools=tuple(ToolSpec(name=f"tool{at}", description=f"{at}") for at in range(40)))
    assert prompt_tokens(lm, "retriever", [many]) < prompt_tokens(lm, "native", [many])
    assert prompt_tokens(lm, "toolken", [many]) == prompt_tokens(lm, "toolken", [RECORD])


def test_a_record_is_an_example_with_the_first_accepted_values() -> None:
    accepted = {"city": ("Oslo", "oslo"), "unit": ("", "C"), "day": ()}
    example = as_example(replace(RECORD, expected=(ExpectedCall("weather", accepted),)))
    assert (example.question, example.calls[0].args) == ("Oslo?", {"city": "Oslo"})
    with pytest.raises(ToolkenError, match="calls no tool"):
        as_example(replace(RECORD, expected=()))
