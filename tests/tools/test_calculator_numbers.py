"""Numbers are read exactly as people write them, and written under the one rounding rule."""

from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sympy import Rational

from toolken.tools.calculator.answer import decimal_text
from toolken.tools.number_notation import MAX_DIGITS, NumeralError, parse_number


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1,234.5", "2469/2"),
        ("23.8%", "119/500"),
        ("23.8 percent", "119/500"),
        ("$12", "12"),
        ("-$1,000.50", "-2001/2"),
        ("12 €", "12"),
        ("3e5", "300000"),
        ("2E-3", "1/500"),
        ("2/3", "2/3"),
        ("1 1/2", "3/2"),
        (".25", "1/4"),
        ("7.", "7"),
        ("−5", "-5"),
        ("2.5 million", "2500000"),
        ("12,34,567", "1234567"),
        ("10\u202f000.5", "20001/2"),
        ("1 000 000", "1000000"),
        ("1 125/1000", "9/8"),
        ("½", "1/2"),
        ("-1 ¾", "-7/4"),
        ("1½ million", "1500000"),
        ("１，２３４", "1234"),
        (0.1, "1/10"),
        (1e22, "10000000000000000000000"),
        (10**30, "1" + "0" * 30),
        (Fraction(2, 6), "1/3"),
        (Decimal("1.50"), "3/2"),
    ],
)
def test_a_number_is_read_exactly(written, value):
    assert str(parse_number(written)) == value


@pytest.mark.parametrize(
    "written",
    [
        *(
            "",
            "abc",
            "12 apples",
            "12,34",
            "1.234,5",
            "1,2345",
            "--5",
            "2 3",
            "0x10",
            "1_000",
            "2.5½",
            "1 1/2½",
            "1 000/4",
            "12 34",
            "$",
            "%",
            "3e",
            "1/0",
        ),
        *("٣", "1e5e5", "1/2/3", "__import__('os')", float("inf"), float("nan"), True, None, [1], {"a": 1}),
    ],
)
def test_what_is_no_number_is_refused_in_one_sentence(written):
    with pytest.raises(NumeralError) as error:
        parse_number(written)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 200


@pytest.mark.parametrize(
    "written",
    [
        *("9" * 10**6, "1e999999999", "1e" + "9" * 1000, "1e1000", 10**MAX_DIGITS, "0." + "0" * 2000 + "1"),
        *("1/1" + "0" * 1000, " " * 10**6, "1," * 10**5, "1" + " " * 1900 + "x", "1" * 500 + " " * 1000 + "/"),
    ],
)
def test_a_number_beyond_the_limit_is_refused_without_being_built(written):
    with pytest.raises(NumeralError) as error:
        parse_number(written)
    assert len(str(error.value)) < 200


@given(st.integers(-(10**40), 10**40), st.integers(0, 40))
def test_a_decimal_is_read_as_the_decimal_module_reads_it(digits, places):
    value = Decimal(digits).scaleb(-places)
    assert Fraction(str(parse_number(f"{value:f}"))) == Fraction(value)
    assert Fraction(str(parse_number(f"{value:,f}"))) == Fraction(value)
    assert Fraction(str(parse_number(f"{value:e}"))) == Fraction(value)


@given(st.fractions())
def test_the_text_of_a_number_is_within_half_a_unit_of_its_last_digit(value):
    text = decimal_text(Rational(value.numerator, value.denominator))
    written = Fraction(text)
    if written == value:
        return
    assert abs(written - value) <= max(abs(value) / 10**10 * 5, Fraction(1, 10**40))
    assert Fraction(str(parse_number(text))) == written  # and the text is parsed to the same number


@given(st.integers(1, 10**30 - 1), st.integers(0, 25))
def test_rounding_is_half_even_to_ten_digits_or_four_places(digits, places):
    value = Decimal(digits).scaleb(-places)
    if not Decimal("0.000001") <= value < Decimal(10) ** 30:
        return
    keeps = max(4, 9 - value.adjusted())
    with localcontext() as context:
        context.prec = 100
        expected = value if places == 0 else value.quantize(Decimal(1).scaleb(-keeps), rounding=ROUND_HALF_EVEN)
    assert Decimal(decimal_text(Rational(str(value)))) == expected


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Rational(0), "0"),
        (Rational(2, 3), "0.6666666667"),
        (Rational(-1, 3), "-0.3333333333"),
        (Rational("1234567890.25"), "1234567890.25"),
        (Rational(10) ** 29, "1" + "0" * 29),
        (Rational(10) ** 30, "1e30"),
        (Rational(99999999999, 10**11), "1"),
        (Rational(1, 3 * 10**6), "3.333333333e-7"),
        (Rational(99999999996, 10**18), "1e-7"),
    ],
)
def test_the_rounding_rule_at_its_edges(value, text):
    assert decimal_text(value) == text
