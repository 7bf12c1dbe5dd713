"""Spelt-out numbers are read with their values."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolken.tools.number_words import number_words_in

_UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
UNITS, TENS = _UNITS.split(), _TENS.split()


def spelt(number: int) -> str:
    """Return a number below a million in words."""
    if number < 20:
        return UNITS[number]
    if number < 100:
        return TENS[number // 10 - 2] + (f"-{UNITS[number % 10]}" if number % 10 else "")
    if number < 1000:
        return f"{UNITS[number // 100]} hundred" + (f" and {spelt(number % 100)}" if number % 100 else "")
    return f"{spelt(number // 1000)} thousand" + (f" {spelt(number % 1000)}" if number % 1000 else "")


@given(st.integers(0, 999_999))
def test_every_number_below_a_million_is_read(number: int) -> None:
    text = f"for {spelt(number)} people"
    assert [value for _, _, value in number_words_in(text)] == [number]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("a dozen eggs and two dozen rolls", [12, 24]),
        ("half a dozen", [6]),
        ("five and nine", [5, 9]),
        ("two and a half hours", [2.5]),
        ("a hundred", [100]),
        ("someone phoned Eleventh Street often", []),
        ("seven thirty", [7, 30]),
    ],
)
def test_a_text_has_numbers(text: str, values: list[float]) -> None:
    assert [value for _, _, value in number_words_in(text)] == values
