"""`parse_number` reads one number in any notation that the tools accept, exactly.

What can be read in two ways, such as `1,5`, has no value.
"""

import re
import unicodedata
from decimal import Decimal
from fractions import Fraction
from numbers import Rational
from typing import Any

from toolken.errors import ToolkenError
from toolken.tools.quotation import quoted

MAX_DIGITS = 1000
"""Numerator and denominator of every number, read or computed, have at most this many decimal digits.

Each operation of the calculator refuses longer operands and results, and its intermediate values have a few times as
many digits at most. So it takes microseconds on everyday numbers, well under a second on the longest, and kilobytes of
memory: with this bound arithmetic needs no worker process.
"""
_LIMIT: int = 10**MAX_DIGITS

_SCALES = {
    **{"hundred": 2, "thousand": 3, "lakh": 5, "million": 6, "crore": 7, "billion": 9, "trillion": 12},
    **{"mn": 6, "bn": 9, "tn": 12},
}
#: Letters that scale an amount of money: $1.2M. Without a currency sign, 5M or 5K may be a unit and has no value.
_MONEY_SCALES = {"k": 3, "m": 6, "b": 9, "t": 12}
#: Currency signs.
CURRENCY = "$€£¥₹₩₽₺₪₫₱₴₦"
#: Replaces typographic characters one by one, so that positions in a text stay the same.
PLAIN_CHARACTERS = str.maketrans(
    {
        "−": "-",
        "–": "-",
        "\u2011": "-",
        "’": "'",
        "\u2009": "\u00a0",
        "\u202f": "\u00a0",
        "％": "%",
        "，": ",",
        "．": ".",
    }
    | {chr(0xFF10 + digit): str(digit) for digit in range(10)}
)
#: Fractions that are one character, with their texts: ½ and 1/2.
FRACTION_TEXTS = {
    character: unicodedata.normalize("NFKC", character).replace("\u2044", "/") for character in "¼½¾⅐⅑⅒⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"
}
FRACTION_CHARACTERS = "".join(FRACTION_TEXTS)
FRACTION = re.compile(rf"(?<![0-9.,])(?P<whole>[0-9]*)\s?(?P<fraction>[{FRACTION_CHARACTERS}])")
"""A fraction written as one character, as in 1½ or ¾."""
#: 1,234,567 or 12,34,567 or 1'234'567 or 1 234 567 or 1234567
GROUPED = (
    r"(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]{1,2}(?:,[0-9]{2})+,[0-9]{3}|[0-9]{1,3}(?:'[0-9]{3})+"
    r"|[0-9]{1,3}(?:[ \u00a0][0-9]{3})+(?![0-9])|[0-9]+)"
)
EXPONENT = r"(?:[eE][+-]?[0-9]+)?"
_DECIMAL = rf"(?:{GROUPED}(?:\.[0-9]*)?|\.[0-9]+){EXPONENT}"
SCALE_WORDS = "|".join(sorted(_SCALES, key=len, reverse=True))
_NUMERAL = re.compile(
    rf"""(?P<sign>[+-]?)\s*(?P<currency>[{CURRENCY}]?)\s*(?P<inner_sign>[+-]?)
    (?:(?P<whole>[0-9]+)\s+(?=[0-9]+\s*/))?     # the 1 of 1 1/2
    (?P<numerator>{_DECIMAL})
    (?:\s*/\s*(?P<denominator>{_DECIMAL}))?
    (?P<scales>(?:[\s-]*(?:{SCALE_WORDS})s?)*)
    (?:(?<=[0-9.])\s?(?P<letter>[kmbt]))?
    \s*(?P<percent>%|percent|per\ cent)?\s*(?P<trailing>[{CURRENCY}]?)""",
    re.VERBOSE | re.IGNORECASE,
)


class NumeralError(ToolkenError):
    """A value is not a number, is ambiguous, or is too long.

    Write the number with digits and one decimal point, such as 1234.5; the message names what is wrong with it.
    """


def parse_number(value: Any) -> Fraction:
    """Read one number exactly.

    Parameters
    ----------
    value
        An int, float, Decimal or fraction, or text such as `1,234.5`, `23.8%`, `$12`, `$1.2M`, `3e5`, `2/3`, `1 1/2`,
        `1½`, `10 000`, `1'000`, `2.5 million`. A float stands for the shortest decimal that denotes it: 0.1 is one
        tenth. A decimal comma is refused.

    Returns
    -------
    Fraction
        The exact value; numerator and denominator have at most `MAX_DIGITS` digits.

    Raises
    ------
    NumeralError
        If `value` is no number, is infinite, divides by zero or has too many digits.
    """
    if isinstance(value, bool):
        raise NumeralError(f"{value} is not a number: give a number such as 12, 1,234.5, 23.8% or 2/3.")
    # sympy registers its integers and rationals as numbers.Rational.
    if isinstance(value, Rational):
        numerator, denominator = value.numerator, value.denominator
        for one in (numerator, denominator):
            _check_size(int(one))
        return Fraction(int(numerator), int(denominator))
    if isinstance(value, (float, Decimal)):
        return _parse_text(repr(value) if isinstance(value, float) else str(value))
    if isinstance(value, str):
        return _parse_text(value)
    raise NumeralError(f"{quoted(value)} is not a number: give one number such as 12, 1,234.5, 23.8% or 2/3.")


def fraction_parts(match: re.Match[str]) -> tuple[str, str]:
    """Return the whole number, perhaps empty, and the fraction of a match of `FRACTION`: ("1", "1/2") for 1½."""
    return match["whole"], FRACTION_TEXTS[match["fraction"]]


def _check_size(value: int) -> None:
    # Compared, never printed: Python refuses to print integers of more than 4,300 digits.
    if abs(value) >= _LIMIT:
        raise NumeralError(f"A number has more than {MAX_DIGITS:,} digits: give a shorter one.")


def _parse_text(text: str) -> Fraction:
    if len(text) > 2 * MAX_DIGITS + 40:  # before the pattern sees it, whose cost grows with the length
        raise NumeralError(f"{quoted(text)} is too long for a number: give one of at most {MAX_DIGITS:,} digits.")
    # Runs of spaces become one: the pattern's optional spaces would backtrack over a run in cubic time.
    plain = FRACTION.sub(lambda match: " ".join(fraction_parts(match)), text.translate(PLAIN_CHARACTERS))
    match = _NUMERAL.fullmatch(" ".join(unicodedata.normalize("NFKC", plain).split()))
    if match is None or not _is_consistent(match):
        raise NumeralError(
            f"{quoted(text)} is not a number: give the number alone, written like 12, 1,234.5, 23.8%, $12, 3e5 or 2/3."
        )
    value = _decimal(match["numerator"], text)
    if match["denominator"] is not None:
        denominator = _decimal(match["denominator"], text)
        if denominator == 0:
            raise NumeralError(f"{quoted(text)} divides by zero, which is undefined: give another denominator.")
        value /= denominator
    if match["whole"] is not None:
        value += int(match["whole"])
    for scale in re.findall(SCALE_WORDS, match["scales"].lower()):
        value *= 10 ** _SCALES[scale]
    if match["letter"]:
        value *= 10 ** _MONEY_SCALES[match["letter"].lower()]
    if match["percent"]:
        value /= 100
    if "-" in (match["sign"], match["inner_sign"]):
        value = -value
    _check_size(value.numerator)
    _check_size(value.denominator)
    return value


def _is_consistent(match: re.Match[str]) -> bool:
    if match["sign"] and match["inner_sign"]:
        return False
    if match["letter"] and not (match["currency"] or match["trailing"]):
        return False
    return match["whole"] is None or _is_mixed(match)


def _is_mixed(match: re.Match[str]) -> bool:
    """Tell whether 1 1/2 was matched, and not 1 250/4, a number above 1,000 that is divided."""
    numerator, denominator = match["numerator"], match["denominator"]
    is_grouped = len(numerator) == 3 and (
        numerator[0] == "0" or int(numerator) >= float(re.sub("[, ']", "", denominator))
    )
    return numerator.isdecimal() and not is_grouped


def _decimal(digits: str, text: str) -> Fraction:
    mantissa, _, exponent = re.sub(r"[,'\s]", "", digits).lower().partition("e")
    whole, _, decimals = mantissa.partition(".")
    # The exponent is judged as text first, so that 1e999999999 never becomes a number.
    if len(exponent.lstrip("+-").lstrip("0")) > len(str(MAX_DIGITS)) or abs(int(exponent or 0)) > MAX_DIGITS:
        raise NumeralError(f"{quoted(text)} has more than {MAX_DIGITS:,} digits: give a shorter number.")
    if len(whole) > MAX_DIGITS or len(decimals) > MAX_DIGITS:
        raise NumeralError(f"{quoted(text)} has more than {MAX_DIGITS:,} digits: give a shorter number.")
    shift = int(exponent or 0) - len(decimals)
    value = int(whole + decimals)
    return Fraction(value * 10**shift) if shift >= 0 else Fraction(value, 10**-shift)
