"""Numbers as they stand in texts, as JSON values."""

import json
import re

# A comma is part of a number where it separates thousands; any other stands between two numbers. Digits once read as
# thousands are not read anew without their comma (`?>`), or the 1 of "1,200km" would be a number.
#: Digits of a whole number, as a regular expression.
DIGITS = r"(?>(?<!\d,)\d{1,3}(?:,\d{3})+(?!\d)|\d+)"
_NUMBER = re.compile(rf"(?<![\w.])[-+]?{DIGITS}(?:\.\d+)?(?:[eE][-+]?\d+)?%?(?!\w)|(?<![\w.])[-+]?\.\d+")


def numbers_in(text: str) -> list[str]:
    """Return the numbers of a text in order, as JSON values: `1,200` as `1200`, `5%` as `"5%"`; `3,4` are two."""
    found = (match.replace(",", "").removeprefix("+") for match in _NUMBER.findall(text))
    return [plain if is_json_number(plain) else json.dumps(plain) for plain in found]


def is_json_number(text: str) -> bool:
    """Tell whether a text is a number in JSON."""
    return re.fullmatch(r"-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?", text) is not None
