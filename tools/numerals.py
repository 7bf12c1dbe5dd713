"""`parse_number` reads one number, `numerals_in` finds the numbers of a text: the project's one reader of numbers.

A number is never cut out of a longer one. What can be read in two ways, such as `1,5`, has no value.
"""

import json
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
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
_CURRENCY = "$€£¥₹₩₽₺₪₫₱₴₦"
_GROUP_SPACES = "\u00a0\u2009\u202f"
# One character for one, so that positions in a text stay.
_CHARACTERS = str.maketrans(
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
_FRACTIONS = {
    character: unicodedata.normalize("NFKC", character).replace("\u2044", "/") for character in "¼½¾⅐⅑⅒⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"
}
_VULGAR = "".join(_FRACTIONS)
FRACTION = re.compile(rf"(?<![0-9.,])(?P<whole>[0-9]*)\s?(?P<fraction>[{_VULGAR}])")
"""A fraction written as one character, as in 1½ or ¾."""
# 1,234,567 or 12,34,567 or 1'234'567 or 1 234 567 or 1234567
_GROUPED = (
    r"(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]{1,2}(?:,[0-9]{2})+,[0-9]{3}|[0-9]{1,3}(?:'[0-9]{3})+"
    r"|[0-9]{1,3}(?:[ \u00a0][0-9]{3})+(?![0-9])|[0-9]+)"
)
_EXPONENT = r"(?:[eE][+-]?[0-9]+)?"
_DECIMAL = rf"(?:{_GROUPED}(?:\.[0-9]*)?|\.[0-9]+){_EXPONENT}"
_SCALE_WORDS = "|".join(sorted(_SCALES, key=len, reverse=True))
_NUMERAL = re.compile(
    rf"""(?P<sign>[+-]?)\s*(?P<currency>[{_CURRENCY}]?)\s*(?P<inner_sign>[+-]?)
    (?:(?P<whole>[0-9]+)\s+(?=[0-9]+\s*/))?     # the 1 of 1 1/2
    (?P<numerator>{_DECIMAL})
    (?:\s*/\s*(?P<denominator>{_DECIMAL}))?
    (?P<scales>(?:[\s-]*(?:{_SCALE_WORDS})s?)*)
    (?:(?<=[0-9.])\s?(?P<letter>[kmbt]))?
    \s*(?P<percent>%|percent|per\ cent)?\s*(?P<trailing>[{_CURRENCY}]?)""",
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
    return match["whole"], _FRACTIONS[match["fraction"]]


def _check_size(value: int) -> None:
    # Compared, never printed: Python refuses to print integers of more than 4,300 digits.
    if abs(value) >= _LIMIT:
        raise NumeralError(f"A number has more than {MAX_DIGITS:,} digits: give a shorter one.")


def _parse_text(text: str) -> Fraction:
    if len(text) > 2 * MAX_DIGITS + 40:  # before the pattern sees it, whose cost grows with the length
        raise NumeralError(f"{quoted(text)} is too long for a number: give one of at most {MAX_DIGITS:,} digits.")
    # Runs of spaces become one: the pattern's optional spaces would backtrack over a run in cubic time.
    plain = FRACTION.sub(lambda match: " ".join(fraction_parts(match)), text.translate(_CHARACTERS))
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
    for scale in re.findall(_SCALE_WORDS, match["scales"].lower()):
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


@dataclass(frozen=True)
class Numeral:
    """A number as a text writes it.

    Attributes
    ----------
    start, end
        Its span in the text, with sign, currency, percent sign and scale; a unit is not part of it.
    text
        What stands there.
    json
        A JSON value that `parse_number` reads: `1200` for 1,200, `"5%"` for 5%, `"1/3"` for ⅓, `1500000` for 1.5
        million. None where the numeral is declined: it can be read in several ways, or is no number (a date, a time).
    """

    start: int
    end: int
    text: str
    json: str | None

    @property
    def value(self) -> Fraction | None:
        """The exact value; None where the numeral is declined."""
        return None if self.json is None else parse_number(json.loads(self.json, parse_float=str, parse_int=str))


# Digits joined without a space, the sign of an exponent included, and the spaces of groups; read as a whole.
_PIECE = r"\.?[0-9]+(?:[eE][+-]?[0-9]+)?"
_SPACED = r"(?<![0-9] )[0-9]{1,3}(?: [0-9]{3})+(?![0-9])(?:[.,'/:x-][0-9]+)*(?! [0-9])"
_CLUSTER = re.compile(
    rf"(?P<phone>\+[0-9]{{1,3}}(?:[ -][0-9]{{2,6}})+[ -][0-9]{{4,6}}|\([0-9]{{3}}\) ?[0-9]{{3}}-[0-9]{{4}})"
    rf"|(?P<mixed>[0-9]+ [0-9]+/[0-9]+(?![0-9/]))|(?P<spaced>{_SPACED})"
    rf"|(?P<vulgar>(?:[0-9]+\s?)?[{_VULGAR}])|(?P<digits>{_PIECE}(?:(?:[.,:'/_x×-]|\u00a0(?=[0-9]{{3}}(?![0-9]))){_PIECE})*)"
)
_LEAD = re.compile(rf"(?P<sign>[-+]?)(?:(?P<currency>[{_CURRENCY}])\s?)?(?P<inner>[-+]?)\Z")
# Before digits: a letter, or a word and a hyphen, but not the unit or scale of another number, as in 5kg-6kg.
_NAME = re.compile(rf"(?:[\w.]|(?<![0-9a-z])(?!(?:{_SCALE_WORDS}|percent)s?-)[^\W\d_]+-)\Z", re.IGNORECASE)
_LITERAL = re.compile(rf"(?:{_GROUPED}(?:\.[0-9]+)?|\.[0-9]+){_EXPONENT}")
_PERCENT = re.compile(r"\s*(?:(?<=\s)%(?!\s*[0-9])|(?<!\s)%(?![0-9])|per\s?cent\b)", re.IGNORECASE)
_SCALED = re.compile(rf"(?:[\s-]*(?:{_SCALE_WORDS})s?\b)+", re.IGNORECASE)
_MONEY = re.compile(r"\s?[kmbt]\b", re.IGNORECASE)
_MONEY_AFTER = re.compile(rf"\s?[kmbt](?=\s?[{_CURRENCY}])", re.IGNORECASE)
_DENOMINATOR = re.compile(r"[\s-]+(?:tenth|(?:hundred|thousand|million|billion)th)s?\b", re.IGNORECASE)
# Ordinals; letters that are a unit or a scale (5K, 5M); decades; superscripts; a name of letters and digits.
_DECLINED_SUFFIX = re.compile(
    rf"[.,']?[0-9{_VULGAR}]|-?(?:st|nd|rd|th)\b|[KBT]\b|k\b|\s?M\b|(?<=[0-9]{{4}})'?s\b|[⁻⁰¹²³⁴⁵⁶⁷⁸⁹_ºª]|[^\W\d_]*\d*[^\W\d]\w*\d\w*"
)


def numerals_in(text: str) -> list[Numeral]:
    """Return the numerals of a text in order, those without a value included.

    A unit may follow without a space, as in `2.5kg`. Digits after a letter, as in `v2`, are a name and no numeral.
    Declined are `1,5`, `1.234,56` and `12 345` (two numbers or one), ordinals, clock times, dates, versions, telephone
    numbers, and `5K` or `5M` without a currency sign. `24/6`, `10-5`, `3x4` and the ratio `3:1` are two numbers each;
    the proper fraction `3/4` is one.

    Examples
    --------
    >>> [(one.text, one.json) for one in numerals_in("3 bags of 2.5kg at $1.2M, ½ of 1,5")]
    [('3', '3'), ('2.5', '2.5'), ('$1.2M', '1200000'), ('½', '0.5'), ('1,5', None)]
    """
    plain = text.translate(_CHARACTERS)
    found: list[Numeral] = []
    at = 0
    while (match := _CLUSTER.search(plain, at)) is not None:
        cluster = list(_read_cluster(plain, match))
        found += [Numeral(start, end, text[start:end], value) for start, end, value in cluster]
        at = max([match.end(), *(end for _, end, _ in cluster)])
    return found


def numbers_in(text: str) -> list[str]:
    """Return the numbers of a text in order, as JSON values; declined numerals are left out.

    Examples
    --------
    >>> numbers_in("5% of 1,200 is not 10:30")
    ['"5%"', '1200']
    """
    return [one.json for one in numerals_in(text) if one.json is not None]


def is_json_number(text: str) -> bool:
    """Tell whether a text is a number in JSON."""
    return re.fullmatch(r"-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?", text) is not None


_Found = tuple[int, int, str | None]


def _read_cluster(plain: str, match: re.Match[str]) -> Iterator[_Found]:
    """Yield the span and JSON value of each numeral of a cluster of digits."""
    lead = _LEAD.search(plain, max(match.start() - 4, 0), match.start()) if match.start() else None
    sign, currency, start = "", "", match.start()
    if lead is not None:
        sign, currency = lead["sign"] or lead["inner"], lead["currency"]
        start = lead.start("currency") if currency else start
        if sign and (currency or match.start() - lead.start() == 1):
            before = plain[max(lead.start() - 1, 0) : lead.start()]
            if lead["inner"] or not re.match(r"[\w.%)\]]", before):
                start = lead.start() if not lead["inner"] else start
            else:  # an operator, or the hyphen of a name
                sign = ""
        else:
            sign = ""
        if lead["sign"] and lead["inner"]:
            yield lead.start(), match.end(), None
            return
    if not currency and _NAME.search(plain, max(start - 40, 0), start):
        return  # a name such as v2 or COVID-19
    end, scales, percent, is_readable = _suffix(plain, match.end(), bool(currency))
    spans = _split(plain, match) if is_readable else [(*match.span(), False)]
    is_range = len(spans) > 1 and "-" in match[0]
    for count, (first, last, readable) in enumerate(spans):
        is_last = count == len(spans) - 1
        value: str | None = None
        if readable and (is_last or not (is_range and (scales or percent))):
            own = (scales, percent) if is_last else ("", False)
            value = _json(plain[first:last], sign if count == 0 else "", *own)
        yield (start if count == 0 else first), (end if is_last else last), value


def _suffix(plain: str, at: int, is_money: bool) -> tuple[int, str, bool, bool]:
    """Return where the numeral ends, its scale words, whether it is a percentage, and whether it can be read."""
    scales = _SCALED.match(plain, at) or (_MONEY if is_money else _MONEY_AFTER).match(plain, at)
    if is_money and scales is None and (glued := re.compile(r"[kmbt][^\W\d_]*", re.IGNORECASE).match(plain, at)):
        return glued.end(), "", False, False  # $5mm
    if scales is None and (_DECLINED_SUFFIX.match(plain, at) or _DENOMINATOR.match(plain, at)):
        if re.match(r"[A-Za-zµ]+[23](?!\w)", plain[at : at + 40]):  # square and cubic units: m2, cm3
            return at, "", False, True
        glued = re.match(r"\w*", plain[at : at + 40])
        return at + (glued.end() if glued else 0), "", False, False
    end = scales.end() if scales else at
    percent = _PERCENT.match(plain, end)
    return (percent.end() if percent else end), (scales[0] if scales else ""), percent is not None, True


def _split(plain: str, match: re.Match[str]) -> list[tuple[int, int, bool]]:
    """Return the spans of the numerals of a cluster, and whether each can be read."""
    start, end, cluster = match.start(), match.end(), match[0]
    if match.lastgroup == "phone":
        return [(start, end, False)]
    if match.lastgroup == "mixed":
        _, upper, lower = re.split("[ /]", cluster)
        if int(upper[:99]) < int(lower[:99]):
            return [(start, end, True)]
        return [(start, end, False)]
    if match.lastgroup == "spaced":
        groups = cluster.split(" ")
        if len(groups) == 2 and re.match(r"-?[^\W\d_]", plain[end : end + 2]):  # 3 250g bags, 5 100-watt bulbs
            return [(start + first, start + last, good) for first, last, good in _spans(cluster, groups)]
        is_one = len(groups) > 2 or groups[1].startswith("0")
        return [(start, end, is_one and _LITERAL.fullmatch(cluster) is not None)]
    if match.lastgroup == "vulgar":
        return [(start, end, True)]
    whole = [(start, end, True)]
    declined = [(start, end, False)]
    if "_" in cluster:
        return declined
    separators = re.findall(r"(?<![eE])[-:/x×]", cluster)
    parts = re.split(r"(?<![eE])[-:/x×]", cluster)
    if not separators:
        spans = _commas(cluster)
    elif set(separators) <= {"x", "×"}:
        spans = declined if parts[0] == "0" else _spans(cluster, parts)
    elif separators == ["/"] and all(part.isdecimal() for part in parts):
        if len(parts[1]) > MAX_DIGITS or len(parts[0]) > MAX_DIGITS or not int(parts[1]):
            return declined
        if int(parts[0]) < int(parts[1]):
            return whole
        spans = _spans(cluster, parts)
    elif set(separators) == {":"}:
        is_time = (
            any(len(part) == 2 and part < "60" for part in parts[1:])
            and "ratio" not in plain[max(start - 40, 0) : end + 40].lower()
        )
        spans = declined if is_time else _spans(cluster, parts)
    else:
        has_code = any(re.match("0[0-9]", part) for part in parts) or re.fullmatch("[0-9]{3}-[0-9]{4}", cluster)
        spans = declined if has_code or len(separators) > 1 else _spans(cluster, parts)
    return spans if spans is declined else [(start + first, start + last, good) for first, last, good in spans]


def _spans(cluster: str, parts: list[str]) -> list[tuple[int, int, bool]]:
    """Return the spans of parts of a cluster, each of which is one number or declined."""
    spans, at = [], 0
    for part in parts:
        at = cluster.index(part, at)
        spans.append((at, at + len(part), _LITERAL.fullmatch(part) is not None))
        at += len(part)
    return spans


def _commas(cluster: str) -> list[tuple[int, int, bool]]:
    """Return the spans of a cluster whose commas group thousands or separate the numbers of a list."""
    parts = cluster.split(",")
    if _LITERAL.fullmatch(cluster) is not None:
        return [(0, len(cluster), True)]
    are_literals = all(_LITERAL.fullmatch(part) for part in parts)
    may_group = any(re.match("[0-9]{3}(?![0-9])", part) for part in parts[1:])
    # One comma may be a decimal comma: 1,5. Between decimals, as in 1.5,2.5, or more than once it separates.
    separates = len(parts) > 2 or (len(parts) == 2 and all("." in part for part in parts))
    if are_literals and separates and not may_group:
        return _spans(cluster, parts)
    return [(0, len(cluster), False)]


def _json(written: str, sign: str, scales: str, percent: bool) -> str | None:
    """Return a numeral as a JSON value; None where it is too long to read."""
    minus = "-" if sign == "-" else ""
    plain = minus + re.sub(r"[,'\s]", "", written)
    is_literal = not scales and "/" not in written and not any(character in _FRACTIONS for character in written)
    try:
        if scales and len(scales.strip()) == 1:
            value = parse_number(f"${written}{scales}")
        else:
            value = parse_number(f"{written}{scales}")
    except NumeralError:
        return None
    if not is_literal:
        plain = minus + _exact(value)
    if percent:
        return json.dumps(f"{plain}%") if "/" not in plain else json.dumps(minus + _exact(value / 100))
    return plain if is_json_number(plain) else json.dumps(plain)


def _exact(value: Fraction) -> str:
    """Write a number of zero or more as a decimal where that is exact and short, else as a fraction."""
    for places in range(13):
        scaled = value * 10**places
        if scaled.denominator == 1:
            digits = str(scaled.numerator).rjust(places + 1, "0")
            return f"{digits[:-places]}.{digits[-places:]}" if places else digits
    return f"{value.numerator}/{value.denominator}"
