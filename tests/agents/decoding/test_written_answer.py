"""Answers after a result: in words, with numbers copied whole in any usual notation, and never made up."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolken.agents.decoding.written_answer import WrittenAnswer

SOURCE = "The price is 1,284.07 USD on 2024-05-02 at 07:45, order BK-0123, minus 3.50, 20.0 degrees, 5000 people."


@pytest.mark.parametrize(
    "text",
    [
        "It is 1,284.07 USD.",
        "It is 1284.07 USD.",
        "On May 2, 2024, at 7:45.",
        "Order BK-0123 and 123.",
        "It is -3.50 and 20 degrees",
        "There are 5,000 people.",
        "1. One\n2. Two\n3) Three",
        "No number at all, CO and H.",
    ],
)
def test_copied_numbers_are_accepted(text: str) -> None:
    numbers = WrittenAnswer(SOURCE)
    assert numbers.accepts(text, 0, ended=True)
    for end in range(len(text) + 1):
        assert numbers.accepts(text[:end], 0), text[:end]


@pytest.mark.parametrize(
    "text",
    ["It is 1,284.08.", "It is 1,284 USD", "It is 1285", "3.5 kg", "At 8:45", "In 2025.", "9. Two", "1. One\n3. Three"],
)
def test_other_numbers_are_rejected(text: str) -> None:
    assert not WrittenAnswer(SOURCE).accepts(text, 0, ended=True)


def test_an_unfinished_number_cannot_end() -> None:
    numbers = WrittenAnswer("3.14")
    assert numbers.accepts("It is 3.1", 0)
    assert not numbers.accepts("It is 3.1", 0, ended=True)
    assert not numbers.accepts("It is 3.1 m", 0)
    assert numbers.rests("It is 3.1") == {"4"}
    assert numbers.rests("It is") == set()


def test_accepted_text_is_not_checked_again() -> None:
    numbers = WrittenAnswer("17")
    assert numbers.accepts("In 1999 17", len("In 1999 "))
    assert not numbers.accepts("In 1999 17", 0)


@given(st.lists(st.decimals(0, 10**9, places=2).map(str), min_size=1, max_size=5), st.data())
def test_each_number_of_the_source_can_be_written_and_its_neighbours_cannot(
    values: list[str], data: st.DataObject
) -> None:
    numbers = WrittenAnswer(" and ".join(values))
    value = data.draw(st.sampled_from(values))
    text = f"The result is {value} units"
    assert all(numbers.accepts(text[:end], max(end - 1, 0)) for end in range(len(text) + 1))
    at = data.draw(st.sampled_from([one.start() for one in re.finditer(r"\d", value)]))
    changed = value[:at] + str((int(value[at]) + 5) % 10) + value[at + 1 :]
    known = {variant for one in values for variant in (one, one.lstrip("0"), one.removesuffix(".00"))}
    if not {changed, changed.lstrip("0"), changed.removesuffix(".00")} & known:
        assert not numbers.accepts(f"The result is {changed} units", 0)


@pytest.mark.parametrize("text", ['{"name": "weather"}', " [weather(...)]", "\n<call>", "```json"])
def test_an_answer_does_not_begin_like_a_call(text: str) -> None:
    assert not WrittenAnswer("").accepts(text, 0)
    assert WrittenAnswer(None).accepts(text, 0) == text.startswith("`")
    assert WrittenAnswer("").accepts(f"It is {text}", 0)
    assert WrittenAnswer("").accepts(text, len(text))


def test_without_a_result_any_number_is_accepted() -> None:
    assert WrittenAnswer(None).accepts("It is 1999.", 0, ended=True)
