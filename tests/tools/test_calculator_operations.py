"""The thirteen operations agree with Python's own exact arithmetic and say what is undefined."""

import math
from decimal import Context, Decimal
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from toolken.tools.calculator import OPERATIONS, arithmetic, keyword_arguments
from toolken.tools.calculator.errors import CalculationError
from toolken.tools.number_notation import MAX_DIGITS

numbers = st.one_of(
    st.integers(-(10**12), 10**12), st.fractions(max_denominator=10**9), st.decimals(-(10**9), 10**9, places=4)
)
lists = st.lists(numbers, min_size=2, max_size=8)
counts = st.integers(0, 60)


def exact(answer):
    return Fraction(answer.exact)


@given(lists)
def test_sums_differences_and_products_are_exact(values):
    fractions = [Fraction(value) for value in values]
    assert exact(arithmetic.add(values)) == sum(fractions)
    assert exact(arithmetic.subtract(values)) == fractions[0] - sum(fractions[1:])
    assert exact(arithmetic.multiply(values)) == math.prod(fractions)


@given(lists)
def test_quotients_are_exact_and_refused_for_zero(values):
    fractions = [Fraction(value) for value in values]
    if 0 in fractions[1:]:
        with pytest.raises(CalculationError, match="zero"):
            arithmetic.divide(values)
    else:
        assert exact(arithmetic.divide(values)) == fractions[0] / math.prod(fractions[1:])


@given(numbers, numbers)
def test_a_remainder_completes_a_whole_division(dividend, divisor):
    assume(divisor != 0)
    left = exact(arithmetic.remainder(dividend, divisor))
    assert 0 <= left < abs(Fraction(divisor))
    assert ((Fraction(dividend) - left) / Fraction(divisor)).denominator == 1


@given(st.fractions(-50, 50, max_denominator=50), st.integers(-20, 20))
def test_whole_powers_are_exact(base, exponent):
    assume(base != 0 or exponent >= 0)
    assert exact(arithmetic.power(base, exponent)) == base**exponent


@given(st.fractions(0, 10**6, max_denominator=1000), st.integers(2, 7))
def test_a_root_of_a_perfect_power_is_exact(root, order):
    assert exact(arithmetic.power(root**order, Fraction(1, order))) == root
    if order == 2:
        assert exact(arithmetic.sqrt(root**2)) == root


@given(st.integers(2, 10**9), st.fractions(-20, 20, max_denominator=7))
def test_irrational_powers_agree_with_decimal(base, exponent):
    answer = arithmetic.power(base, exponent)
    context = Context(prec=40)
    expected = context.power(Decimal(base), context.divide(Decimal(exponent.numerator), Decimal(exponent.denominator)))
    assert math.isclose(Decimal(answer.text), expected, rel_tol=1e-9)


@given(st.decimals("0.000001", 10**9, places=6))
def test_logarithms_agree_with_decimal(value):
    context = Context(prec=40)
    assert math.isclose(Decimal(arithmetic.log(value).text), context.log10(value), rel_tol=1e-9, abs_tol=1e-30)
    assert math.isclose(Decimal(arithmetic.ln(value).text), context.ln(value), rel_tol=1e-9, abs_tol=1e-30)


@given(
    st.fractions(min_value=Fraction(1, 30), max_value=30, max_denominator=30), st.fractions(-6, 6, max_denominator=4)
)
def test_a_rational_logarithm_is_exact(base, exponent):
    assume(base != 1)
    value = arithmetic.power(base, exponent)
    if "^" not in value.exact:
        assert exact(arithmetic.log(value.exact, base)) == exponent


@given(st.lists(st.integers(-(10**6), 10**6), min_size=1, max_size=6))
def test_multiples_and_divisors_agree_with_math(values):
    assert exact(arithmetic.lcm(values)) == math.lcm(*values)
    assert exact(arithmetic.gcd(values)) == math.gcd(*values)


@given(counts, counts)
def test_counts_agree_with_math(total, part):
    assert exact(arithmetic.choose(total, part)) == math.comb(total, part)
    assert exact(arithmetic.permutate(total, part)) == math.perm(total, part)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: arithmetic.divide([5, 0]), "Division by zero"),
        (lambda: arithmetic.remainder(5, 0), "zero"),
        (lambda: arithmetic.sqrt(-4), "square root of the negative number -4"),
        (lambda: arithmetic.power(-4, "1/2"), "-4 to the power 1/2 is an even root"),
        (lambda: arithmetic.power(-8, "0.25"), "even root"),
        (lambda: arithmetic.power(0, -1), "Zero to a negative power"),
        (lambda: arithmetic.log(0), "logarithm of zero"),
        (lambda: arithmetic.log(-3), "logarithm of the negative number -3"),
        (lambda: arithmetic.log(3, 1), "base 1"),
        (lambda: arithmetic.log(3, -2), "base -2"),
        (lambda: arithmetic.ln(-0.5), "negative number -0.5"),
        (lambda: arithmetic.lcm([2.5, 5]), "2.5 is not one"),
        (lambda: arithmetic.choose(-1, 2), "-1 is negative"),
        (lambda: arithmetic.permutate(3, "2.5"), "2.5 is not one"),
        (lambda: arithmetic.add([]), "at least one number"),
        (lambda: arithmetic.subtract([1]), "at least 2 numbers"),
    ],
)
def test_what_is_undefined_is_said(call, says):
    with pytest.raises(CalculationError, match=says):
        call()


def test_an_odd_root_of_a_negative_number_is_the_real_one():
    assert arithmetic.power(-8, "1/3").text == "-2"
    assert arithmetic.power(-8, "2/3").text == "4"
    assert arithmetic.power(-2, "1/3").text == "-1.25992105"


@pytest.mark.parametrize(
    "call",
    [
        lambda: arithmetic.power(9, 9**9),
        lambda: arithmetic.power("1e900", "1e900"),
        lambda: arithmetic.power("0.5", "1e12"),
        lambda: arithmetic.multiply(["9" * 600] * 2),
        lambda: arithmetic.multiply(["9" * 999] * 50),
        lambda: arithmetic.add([f"1/{'9' * 600}", f"1/{'7' * 601}"]),
        lambda: arithmetic.lcm(["9" * 999, "7" * 998]),
        lambda: arithmetic.choose(10**9, 10**8),
        lambda: arithmetic.choose("1e900", "1e899"),
        lambda: arithmetic.permutate(10**8, 10**8),
        lambda: arithmetic.permutate("1e999", 500),
    ],
)
def test_a_result_beyond_the_limit_is_refused_before_it_is_computed(call):
    with pytest.raises(CalculationError, match=f"more than {MAX_DIGITS:,} digits"):
        call()


def test_a_power_whose_exact_form_is_too_long_is_still_computed():
    answer = arithmetic.power("7301/7300", 3650)
    assert (answer.text, answer.exact, answer.rounded) == ("1.648664814", "(7301/7300)^3650", True)
    assert arithmetic.power("1." + "0" * 900 + "1", "1e901").text == "2.718281828"


def test_positional_operands_get_the_names_of_the_tool():
    assert [list(keyword_arguments(name, ["1"])) for name in ("add", "sqrt", "ln")] == [
        ["numbers"],
        ["number"],
        ["number"],
    ]
    assert keyword_arguments("log", ["8", "2"]) == {"number": "8", "base": "2"}
    assert keyword_arguments("choose", ["7", "2"]) == {"total": "7", "chosen": "2"}
    assert keyword_arguments("remainder", ["7", "2"]) == {"dividend": "7", "divisor": "2"}
    with pytest.raises(CalculationError, match="at most 2"):
        keyword_arguments("power", ["1", "2", "3"])
    with pytest.raises(CalculationError, match="no operation"):
        keyword_arguments("evaluate", ["1"])
    assert len(OPERATIONS) == 13
