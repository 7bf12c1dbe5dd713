"""Numerals in running text are read with the right value or not at all, and never as a part of a longer one."""

import itertools
import re
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolken.tools.number_notation import NumeralError, parse_number
from toolken.tools.numerals import numbers_in, numerals_in


def values(text: str) -> list[Fraction | None]:
    return [one.value for one in numerals_in(text)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("3 bags of 2.5kg", ["3", "2.5"]),
        ("0.75L and 1.5L", ["0.75", "1.5"]),
        ("98.6F or 37°C", ["98.6", "37"]),
        ("$1.2M, 1.2M€, $5k and 3bn", ["1200000", "1200000", "5000", "3000000000"]),
        ("1,200.50kg", ["1200.50"]),
        ("1.5 million and 2 million", ["1500000", "2000000"]),
        ("a 1.5-million-dollar house, 3 hundred thousand people", ["1500000", "300000"]),
        ("2 lakh, 3 crore", ["200000", "30000000"]),
        ("½ and ¼", ["0.5", "0.25"]),
        ("3½ plus 1", ["3.5", "1"]),
        ("-½, ⅓ and ½%", ["-0.5", '"1/3"', '"0.5%"']),
        ("1 1/2 and 3/4 and 2/3", ["1.5", "0.75", '"2/3"']),
        ("24/6, 10-5, 3x4, 3:1, 2^10, 3+4", ["24", "6", "10", "5", "3", "4", "3", "1", "2", "10", "3", "4"]),
        ("-$5, $-6, $5-$3, (7), 5 -3", ["-5", "-6", "5", "3", "7", "5", "-3"]),
        ("5 percent, 5 %, 12%. 17 % 5, 17%5", ['"5%"', '"5%"', '"12%"', "17", "5", "17", "5"]),
        ("1'000'000, 1\u2009000, 1 000, 1 234 567", ["1000000", "1000", "1000", "1234567"]),
        ("3 250g bags, 5 100-watt bulbs", ["3", "250", "5", "100"]),
        ("10 200 35", ["10", "200", "35"]),
        ("5m2 of 10cm3", ["5", "10"]),
        ("6.02e23 and 1e-3mol", ["6.02e23", "1e-3"]),
        ("5 million-6 million, 5kg-6kg", ["5000000", "6000000", "5", "6"]),
        ("5% (of 3)", ['"5%"', "3"]),
        ("the ratio 7:11", ["7", "11"]),
        ("１，２３４ and −5", ["1234", "-5"]),
    ],
)
def test_a_numeral_is_read_with_all_that_belongs_to_it(text: str, found: list[str]) -> None:
    assert numbers_in(text) == found


@pytest.mark.parametrize(
    "text",
    [
        *("1,5", "1.234,56", "1.234,5", "20,5%", "-1,5", "12,30", "1,2345", "1,234,5", "1.000.000", "1 000,5"),
        *(
            "12 345",
            "10:30",
            "9:05",
            "1.2.3",
            "10.0.0.1",
            "2024-05-01",
            "5/6/2024",
            "01-02",
            "555-1234",
            "+1-555-0100",
            "+44 20 7946 0958",
        ),
        *("1st", "2nd", "3rd", "11th", "5-th", "5º", "v2", "x1", "COVID-19", "0x10", "1_000", "10²", "6'2", "1990s"),
        *("5K", "5k", "5M", "5 M", "$5mm", "5 thousandths", "1e5e5", "1e999999", "9" * 1001, "1/0", "--5", "3 100/4"),
        *("1-1/2", "5a4", "5..6"),
    ],
)
def test_what_can_be_read_in_two_ways_is_declined(text: str) -> None:
    for before, after in (("", ""), ("take ", " of it"), ("(", ")"), ("see ", ".")):
        assert numbers_in(before + text + after) == []


def test_a_span_holds_the_whole_numeral() -> None:
    text = "It cost -$1.2M, 5 percent of 1½ million, on 2024-05-01."
    assert [one.text for one in numerals_in(text)] == ["-$1.2M", "5 percent", "1½ million", "2024-05-01"]
    assert all(text[one.start : one.end] == one.text for one in numerals_in(text))


decimals = st.tuples(st.integers(0, 10**7), st.integers(0, 4)).map(lambda pair: Fraction(pair[0], 10 ** pair[1]))
units = st.sampled_from(["", "kg", "L", "F", "°C", " apples", "m2", "-watt", " km/h", "€", "%", " percent"])


def written(value: Fraction, grouping: str) -> str:
    whole, decimals = f"{Decimal(value.numerator) / value.denominator:,.4f}".split(".")
    return whole.replace(",", grouping) + ("." + decimals.rstrip("0") if decimals.strip("0") else "")


@given(st.lists(st.tuples(decimals, st.sampled_from(["", ",", "'", "\u2009", "\u202f"]), units), max_size=5))
def test_numbers_are_found_however_they_are_grouped_and_whatever_unit_follows(parts) -> None:
    text = " and ".join(written(value, grouping) + unit for value, grouping, unit in parts)
    expected = [value / 100 if unit in ("%", " percent") else value for value, _, unit in parts]
    assert values(text) == expected


@given(decimals, st.sampled_from(["hundred", "thousand", "million", "billion"]), st.sampled_from(["", "$", "-", "€ "]))
def test_a_scale_word_belongs_to_its_number(value: Fraction, scale: str, lead: str) -> None:
    factor = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9}[scale]
    assert values(f"{lead}{written(value, ',')} {scale} of them") == [(-value if lead == "-" else value) * 10**factor]


@given(st.integers(0, 99), st.integers(1, 99), st.integers(2, 100))
def test_a_mixed_fraction_is_one_number(whole: int, upper: int, lower: int) -> None:
    text = f"{whole} {upper}/{lower}"
    if upper < lower:
        assert values(f"take {text} of it") == [whole + Fraction(upper, lower)]
    else:
        assert values(text) == [None]


pieces = st.lists(
    st.sampled_from([*"0123456789", *".,:'/-+ %$€½x", "12", "345", "000", "million", "k", "e5", "\u2009"])
)


@given(pieces.map("".join))
@settings(max_examples=500)
def test_any_text_is_read_without_cutting_a_numeral(text: str) -> None:
    found = numerals_in(text)
    for before, after in itertools.pairwise(found):
        assert before.end <= after.start
    for one in found:
        assert one.text == text[one.start : one.end]
        # No digit or decimal comma is next to the text that was read.
        if one.value is not None:
            assert not re.match(r"[0-9]|[.,'][0-9]{1,2}(?![0-9,])$", text[one.end :])
            assert not _is_alone(one.text) or one.value == parse_number(one.text)


def _is_alone(text: str) -> bool:
    try:
        parse_number(text)
    except NumeralError:
        return False
    return True


@given(st.text(max_size=60))
def test_no_text_is_too_strange(text: str) -> None:
    for one in numerals_in(text):
        assert one.value is None or isinstance(one.value, Fraction)


def test_a_long_text_takes_linear_time() -> None:
    for text in ("1 " * 20_000, "1," * 20_000, "9" * 40_000, "1 000 " * 10_000, "million " * 10_000, " " * 50_000):
        numerals_in(text)
