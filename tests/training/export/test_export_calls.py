"""Calls in the form of a checkpoint, and synthetic calls to fit it on."""

import json
from typing import Any

import pytest
from transformers.utils.chat_parsing.content_parsers import parse_content

from toolken import ToolSpec
from toolken.training.examples import FewShotExample
from toolken.training.export.call_text import DELIMITERS, without_spaces, write_arguments
from toolken.training.export.synthetic_calls import synthetic_calls, with_other_values

ARGUMENTS: list[dict[str, Any]] = [
    {},
    {"city": "Rio de Janeiro"},
    {"numbers": [1, 2.5], "unit": "m"},
    {"names": ["Ada", "Grace"], "deep": {"of": "all, of it: yes"}},
    {"text": 'she said "no"', "path": "a\\b", "empty": "", "led": " x"},
    {"flag": True, "none": None},
]


@pytest.mark.parametrize("args", ARGUMENTS)
def test_the_space_before_a_value_is_removed_when_read(args: dict[str, Any]) -> None:
    written = write_arguments(args)
    plain = without_spaces(written)
    if args.get("led") is None:
        assert json.loads(plain) == args
    # Each prefix of a stream is read as a prefix of the whole.
    for length in range(len(written)):
        assert plain.startswith(without_spaces(written[:length]))


@pytest.mark.parametrize("args", ARGUMENTS[:4])
def test_transformers_reads_the_same(args: dict[str, Any]) -> None:
    assert parse_content(write_arguments(args), "json", {"string_delims": DELIMITERS}) == args


def test_values_follow_a_space_as_in_the_question() -> None:
    assert write_arguments({"city": "Oslo"}) == '{"city": " Oslo"}'


def _spec(**properties: dict[str, Any]) -> ToolSpec:
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    return ToolSpec(name="convert", description="Convert an amount.", parameters=parameters)


def test_few_shot_examples_are_varied_where_their_values_stand() -> None:
    shown = [
        FewShotExample(tool="convert", question="How much are 20 euros in Rome?", args={"amount": 20, "place": "Rome"}),
        FewShotExample(tool="convert", question="What is it worth at the bank?", args={"amount": 1, "place": "bank"}),
    ]
    found = with_other_values(shown, 12)
    assert len(found) == 12
    assert len({one.question for one in found}) > 8
    for at, one in enumerate(found):
        assert str(one.args["place"]) in one.question
        assert one.args["place"].islower() == shown[at % 2].args["place"].islower()
        assert (str(one.args["amount"]) in one.question) == (at % 2 == 0)
    # Values that the question does not contain are unchanged.
    assert {one.args["amount"] for one in found[1::2]} == {1}
    assert with_other_values(shown, 12) == found


def test_tools_without_examples_get_calls_with_values_of_their_types() -> None:
    spec = _spec(
        amount={"type": "number"},
        place={"type": "string"},
        unit={"enum": ["m", "ft"]},
        exact={"type": "boolean"},
        parts={"type": "array", "items": {"type": "integer"}},
    )
    requests = [
        "Tell me what 12 hours and 4 minutes in Oslo mean.",
        "What is the time?",
        "Is it true that 7 people and 30 dogs live in Kyoto?",
    ]
    found = synthetic_calls(spec, requests, 8)
    assert [one.question for one in found[4:]] == [requests[0], requests[2]]
    assert found[4].args["place"] == "Oslo"
    for one in found:
        assert one.args["unit"] in ("m", "ft")
        assert isinstance(one.args["exact"], bool)
        for value in (one.args["amount"], one.args["place"], *one.args["parts"]):
            assert str(value) in one.question
