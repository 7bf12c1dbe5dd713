"""How a checkpoint writes the arguments of a call: JSON in which strings begin with a space.

In a question words stand behind spaces, and for most tokenizers a word behind a space is another token than one behind
a quotation mark. With the space a value is copied token by token, which even small LMs do well.
"""

import json
import re
from typing import Any

#: A string's opening quotation mark and the space behind it.
OPENED = re.compile(r'(?<=[:,] ") |(?<=\[") ')
#: What opens and closes such a string, for parsers that look for strings themselves.
DELIMITERS = [['" ', '"']]


def write_arguments(args: dict[str, Any]) -> str:
    """Return arguments as a checkpoint writes them."""
    return json.dumps(_spaced(args), ensure_ascii=False)


def without_spaces(text: str) -> str:
    """Return arguments, or their beginning, as plain JSON."""
    return OPENED.sub("", text)


def _spaced(value: Any) -> Any:
    if isinstance(value, str):
        # A string with a mark in it would be cut there by those who look for strings themselves.
        return value if not value or value[0].isspace() or '"' in value or "\\" in value else f" {value}"
    if isinstance(value, list):
        return [_spaced(one) for one in value]
    if isinstance(value, dict):
        return {name: _spaced(one) for name, one in value.items()}
    return value
