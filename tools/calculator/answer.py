"""The result of a calculation, and the rounding rule for all numbers."""

from decimal import ROUND_DOWN, Context, Decimal
from fractions import Fraction

from pydantic import BaseModel, ConfigDict, Field
from sympy import Rational

SIGNIFICANT_DIGITS = 10
DECIMAL_PLACES = 4
_PLAIN_FROM, _PLAIN_BELOW = Fraction(1, 10**6), 10**30


class Answer(BaseModel):
    """The result of a calculation: a readable text and the exact value."""

    model_config = ConfigDict(frozen=True)

    text: str = Field(description="The answer as it is shown, numbers under the rounding rule of `decimal_text`.")
    exact: str = Field(description="The exact value: a whole number or fraction such as 2/3, or a form like sqrt(2).")
    rounded: bool = Field(description="Whether the text is a rounded form of the exact value.")


def decimal_text(value: Rational) -> str:
    """Write a number for a reader.

    The rounding rule, the only one: a whole number below 10^30 is written in full. Any other number is rounded
    half-even to 10 significant digits, or to 4 decimal places where that keeps more, and trailing zeros are dropped.
    From 10^30 up and below 0.000001 it is written as 2.432902008e32, with 10 significant digits.

    Parameters
    ----------
    value
        Any rational.

    Returns
    -------
    str
        The text, which `parse_number` reads back.

    Examples
    --------
    >>> decimal_text(Rational(2, 3)), decimal_text(Rational(1234567890, 7)), decimal_text(Rational(1, 35960))
    ('0.6666666667', '176366841.4286', '0.00002780867631')
    """
    exact = Fraction(int(value.p), int(value.q))
    size = abs(exact)
    if size == 0 or (exact.denominator == 1 and size < _PLAIN_BELOW):
        return str(exact.numerator)
    # Rounding down keeps the exponent that of the exact value: 9.99999… stays below 10.
    exponent = (
        Context(prec=1, rounding=ROUND_DOWN).divide(Decimal(size.numerator), Decimal(size.denominator)).adjusted()
    )
    places = SIGNIFICANT_DIGITS - 1 - exponent
    if not _PLAIN_FROM <= size < _PLAIN_BELOW:
        scaled = _shifted(exact, places)
        digits = format(Decimal(scaled), f".{SIGNIFICANT_DIGITS - 1}e")
        mantissa, _, shift = digits.partition("e")
        return f"{_without_zeros(mantissa)}e{int(shift) - places}"
    places = max(places, DECIMAL_PLACES)
    scaled = _shifted(exact, places)
    sign, whole = ("-" if scaled < 0 else ""), str(abs(scaled)).rjust(places + 1, "0")
    return _without_zeros(f"{sign}{whole[:-places]}.{whole[-places:]}")


def _shifted(value: Fraction, places: int) -> int:
    return round(value * Fraction(10) ** places)  # round() of a Fraction is half-even


def _without_zeros(text: str) -> str:
    return text.rstrip("0").rstrip(".")


def exact_answer(value: Rational) -> Answer:
    """Return the answer whose exact value is `value`."""
    text = decimal_text(value)
    return Answer(text=text, exact=str(value), rounded=Fraction(text) != Fraction(int(value.p), int(value.q)))


def irrational_answer(exact: str, approximation: Decimal) -> Answer:
    """Return the answer for an irrational value.

    Parameters
    ----------
    exact
        The value as an expression, `sqrt(2)`.
    approximation
        The value to more digits than the text shows.
    """
    return Answer(text=decimal_text(Rational(*approximation.as_integer_ratio())), exact=exact, rounded=True)
