"""Exact rationals of bounded size, the numbers that every operation of the calculator takes and returns."""

from typing import Any

from sympy import Rational

from toolken.tools.calculator.errors import CalculationError
from toolken.tools.number_notation import MAX_DIGITS, NumeralError, parse_number

_LIMIT: int = 10**MAX_DIGITS


def rational(value: Any) -> Rational:
    """Read one number with `parse_number`.

    Raises
    ------
    CalculationError
        If `value` is no number, is infinite, divides by zero or has too many digits.
    """
    try:
        number = parse_number(value)
    except NumeralError as error:
        raise CalculationError(str(error)) from error
    return Rational(number.numerator, number.denominator)


def bounded(value: Rational) -> Rational:
    """Return `value` itself if it keeps to `MAX_DIGITS`.

    Raises
    ------
    CalculationError
        If numerator or denominator has more digits.
    """
    if abs(value.p) >= _LIMIT or value.q >= _LIMIT:
        raise CalculationError(f"The result has more than {MAX_DIGITS:,} digits: ask for a smaller calculation.")
    return value
