"""Numbers as people write them, read into exact rationals of bounded size."""

import re
import unicodedata
from decimal import Decimal
from fractions import Fraction
from typing import Any

from sympy import Integer, Rational

from toolken.tools.calculator.errors import CalculationError
from toolken.tools.quotation import quoted

MAX_DIGITS = 1000
"""Numerator and denominator of every number, read or computed, have at most this many decimal digits.

Each operation refuses an operand or a result beyond it, and what it computes on the way has a few times as many digits
at most. So it takes microseconds on everyday numbers, well under a second on the longest, and kilobytes of memory:
that is the bound which lets arithmetic run without a worker process.
"""
_LIMIT: int = 10**MAX_DIGITS

_SCALES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_CURRENCY = "$€£¥₹"
# The minus signs and the spaces that word processors put into numbers.
_TYPOGRAPHY = str.maketrans({"−": "-", "–": "-", "\u00a0": " ", "\u2009": " ", "\u202f": " "})
_FRACTIONS = {
    character: unicodedata.normalize("NFKC", character).replace("\u2044", "/") for character in "¼½¾⅐⅑⅒⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"
}
FRACTION = re.compile(rf"(?<![0-9.,])(?P<whole>[0-9]*)\s?(?P<fraction>[{''.join(_FRACTIONS)}])")
"""A fraction written as one character, as in 1½ or ¾."""
# 1,234,567 or 12,34,567 or 1 234 567 or 1234567
_DIGITS = r"(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]{1,2}(?:,[0-9]{2})+,[0-9]{3}|[0-9]{1,3}(?:\ [0-9]{3})+(?![0-9])|[0-9]+)"
_DECIMAL = rf"(?:{_DIGITS}(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_NUMERAL = re.compile(
    rf"""(?P<sign>[+-]?)\s*[{_CURRENCY}]?\s*(?P<inner_sign>[+-]?)
    (?:(?P<whole>[0-9]+)\s+(?=[0-9]+\s*/))?     # the 1 of 1 1/2
    (?P<numerator>{_DECIMAL})
    (?:\s*/\s*(?P<denominator>{_DECIMAL}))?
    \s*(?P<scale>{"|".join(_SCALES)})?
    \s*(?P<percent>%|percent|per\ cent)?\s*[{_CURRENCY}]?""",
    re.VERBOSE | re.IGNORECASE,
)


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


def fraction_parts(match: re.Match[str]) -> tuple[str, str]:
    """Return the whole number, perhaps empty, and the fraction of a match of `FRACTION`: ("1", "1/2") for 1½."""
    return match["whole"], _FRACTIONS[match["fraction"]]


def parse_number(value: Any) -> Rational:
    """Read one number exactly.

    Parameters
    ----------
    value
        An int, float, Decimal or fraction, or text such as `1,234.5`, `23.8%`, `$12`, `3e5`, `2/3`, `1 1/2`, `1½`,
        `10 000`, `2.5 million`. A float stands for the shortest decimal that denotes it: 0.1 is one tenth.

    Returns
    -------
    Rational
        The exact value; numerator and denominator have at most `MAX_DIGITS` digits.

    Raises
    ------
    CalculationError
        If `value` is no number, is infinite, divides by zero or has too many digits.
    """
    if isinstance(value, bool):
        raise CalculationError(f"{value} is not a number: give a number such as 12, 1,234.5, 23.8% or 2/3.")
    if isinstance(value, (int, Integer)):
        _check_size(value)
        return Integer(value)
    if isinstance(value, (Fraction, Rational)):
        _check_size(value.numerator)
        _check_size(value.denominator)
        return Rational(value.numerator, value.denominator)
    if isinstance(value, (float, Decimal)):
        return _parse_text(repr(value) if isinstance(value, float) else str(value))
    if isinstance(value, str):
        return _parse_text(value)
    raise CalculationError(f"{quoted(value)} is not a number: give one number such as 12, 1,234.5, 23.8% or 2/3.")


def _check_size(value: int | Integer) -> None:
    # Compared, never printed: Python refuses to print integers of more than 4,300 digits.
    if abs(value) >= _LIMIT:
        raise CalculationError(f"A number has more than {MAX_DIGITS:,} digits: give a shorter one.")


def _parse_text(text: str) -> Rational:
    if len(text) > 2 * MAX_DIGITS + 40:  # before the pattern sees it, whose cost grows with the length
        raise CalculationError(f"{quoted(text)} is too long for a number: give one of at most {MAX_DIGITS:,} digits.")
    # Runs of spaces become one: the pattern's optional spaces would backtrack over a run in cubic time.
    plain = FRACTION.sub(lambda match: " ".join(fraction_parts(match)), text.translate(_TYPOGRAPHY))
    match = _NUMERAL.fullmatch(" ".join(unicodedata.normalize("NFKC", plain).split()))
    if match is None or (match["sign"] and match["inner_sign"]) or (match["whole"] and not _is_mixed(match)):
        raise CalculationError(
            f"{quoted(text)} is not a number: give the number alone, written like 12, 1,234.5, 23.8%, $12, 3e5 or 2/3."
        )
    value = _decimal(match["numerator"], text)
    if match["denominator"] is not None:
        denominator = _decimal(match["denominator"], text)
        if denominator == 0:
            raise CalculationError(f"{quoted(text)} divides by zero, which is undefined: give another denominator.")
        value = value / denominator
    if match["whole"] is not None:
        value = value + int(match["whole"])
    if match["scale"]:
        value = value * 10 ** _SCALES[match["scale"].lower()]
    if match["percent"]:
        value = value / 100
    if "-" in (match["sign"], match["inner_sign"]):
        value = -value
    _check_size(value.p)
    _check_size(value.q)
    return value


def _is_mixed(match: re.Match[str]) -> bool:
    """Whether 1 1/2 was matched, and not 1 250/4, a number above 1,000 that is divided."""
    numerator, denominator = match["numerator"], match["denominator"]
    is_grouped = len(numerator) == 3 and (
        numerator[0] == "0" or int(numerator) >= float(re.sub("[, ]", "", denominator))
    )
    return numerator.isdecimal() and not is_grouped


def _decimal(digits: str, text: str) -> Rational:
    mantissa, _, exponent = digits.replace(",", "").replace(" ", "").lower().partition("e")
    whole, _, decimals = mantissa.partition(".")
    # The exponent is judged as text first, so that 1e999999999 never becomes a number.
    if len(exponent.lstrip("+-").lstrip("0")) > len(str(MAX_DIGITS)) or abs(int(exponent or 0)) > MAX_DIGITS:
        raise CalculationError(f"{quoted(text)} has more than {MAX_DIGITS:,} digits: give a shorter number.")
    if len(whole) > MAX_DIGITS or len(decimals) > MAX_DIGITS:
        raise CalculationError(f"{quoted(text)} has more than {MAX_DIGITS:,} digits: give a shorter number.")
    shift = int(exponent or 0) - len(decimals)
    value = int(whole + decimals)
    return Rational(value * 10**shift) if shift >= 0 else Rational(value, 10**-shift)
