"""`numerals_in` finds the numbers of a text; `number_notation.parse_number` reads each.

A number is never cut out of a longer one.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from toolken.tools.number_notation import (
    CURRENCY,
    EXPONENT,
    FRACTION_CHARACTERS,
    FRACTION_TEXTS,
    GROUPED,
    MAX_DIGITS,
    PLAIN_CHARACTERS,
    SCALE_WORDS,
    NumeralError,
    parse_number,
)


@dataclass(frozen=True)
class Numeral:
    """A number as a text writes it.

    Attributes
    ----------
    start, end
        Its span in the text, with sign, currency, percent sign and scale; a unit is not part of it.
    text
        The text of the span.
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
    rf"|(?P<vulgar>(?:[0-9]+\s?)?[{FRACTION_CHARACTERS}])|(?P<digits>{_PIECE}(?:(?:[.,:'/_x×-]|\u00a0(?=[0-9]{{3}}(?![0-9]))){_PIECE})*)"
)
_LEAD = re.compile(rf"(?P<sign>[-+]?)(?:(?P<currency>[{CURRENCY}])\s?)?(?P<inner>[-+]?)\Z")
# Before digits: a letter, or a word and a hyphen, but not the unit or scale of another number, as in 5kg-6kg.
_NAME = re.compile(rf"(?:[\w.]|(?<![0-9a-z])(?!(?:{SCALE_WORDS}|percent)s?-)[^\W\d_]+-)\Z", re.IGNORECASE)
_LITERAL = re.compile(rf"(?:{GROUPED}(?:\.[0-9]+)?|\.[0-9]+){EXPONENT}")
_PERCENT = re.compile(r"\s*(?:(?<=\s)%(?!\s*[0-9])|(?<!\s)%(?![0-9])|per\s?cent\b)", re.IGNORECASE)
_SCALED = re.compile(rf"(?:[\s-]*(?:{SCALE_WORDS})s?\b)+", re.IGNORECASE)
_MONEY = re.compile(r"\s?[kmbt]\b", re.IGNORECASE)
_MONEY_AFTER = re.compile(rf"\s?[kmbt](?=\s?[{CURRENCY}])", re.IGNORECASE)
_DENOMINATOR = re.compile(r"[\s-]+(?:tenth|(?:hundred|thousand|million|billion)th)s?\b", re.IGNORECASE)
# Ordinals; letters that are a unit or a scale (5K, 5M); decades; superscripts; a name of letters and digits.
_DECLINED_SUFFIX = re.compile(
    rf"[.,']?[0-9{FRACTION_CHARACTERS}]|-?(?:st|nd|rd|th)\b|[KBT]\b|k\b|\s?M\b|(?<=[0-9]{{4}})'?s\b|[⁻⁰¹²³⁴⁵⁶⁷⁸⁹_ºª]|[^\W\d_]*\d*[^\W\d]\w*\d\w*"
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
    plain = text.translate(PLAIN_CHARACTERS)
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
    """Return the span of each part of a cluster, and whether the part is one number."""
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
    is_literal = not scales and "/" not in written and not any(character in FRACTION_TEXTS for character in written)
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
