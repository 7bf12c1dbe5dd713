"""Numbers as they stand in texts, as JSON values."""

import json
import re

_NUMBER = re.compile(r"(?<![\w.])[-+]?\d[\d,]*(?:\.\d+)?(?:[eE][-+]?\d+)?%?(?!\w)|(?<![\w.])[-+]?\.\d+")


def numbers_in(text: str) -> list[str]:
    """Return the numbers of a text in order, as JSON values: `1,200` as `1200`, `5%` as `"5%"`."""
    found = (match.rstrip(",").replace(",", "").removeprefix("+") for match in _NUMBER.findall(text))
    return [plain if is_json_number(plain) else json.dumps(plain) for plain in found]


def is_json_number(text: str) -> bool:
    """Tell whether a text is a number in JSON."""
    return re.fullmatch(r"-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?", text) is not None
