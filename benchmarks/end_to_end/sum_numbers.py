"""Numbers in questions, arguments and answers of arithmetic benchmarks."""

import re
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from typing import Any

# A comma is part of a number where it separates thousands. Digits once read as thousands are not split again (`?>`).
_DIGITS = r"(?>(?<!\d,)\d{1,3}(?:,\d{3})+(?!\d)|\d+)"
_LAST = re.compile(rf"(?:(?<![\w.])-)?{_DIGITS}(?:\.\d+)?(?:[eE][-+]?\d+)?")


def flat(values: Iterable[Any]) -> list[Any]:
    """Return the values of arguments with lists flattened."""
    return [one for value in values for one in (value if isinstance(value, list) else [value])]


def number(text: object) -> float | None:
    """Return a numeral's value, ignoring separators, currency and percent signs; None if it is not a number."""
    plain = re.sub(r"[,$€£%\s]", "", str(text))
    try:
        return float(Decimal(plain))
    except (InvalidOperation, OverflowError, ValueError):
        return None


def last_number(text: str) -> float | None:
    """Return the last number in a text, also if its unit follows directly: 5 for `10-5km`, 4 for `3,4`."""
    found = _LAST.findall(text)
    return number(found[-1]) if found else None
