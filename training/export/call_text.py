"""The arguments of a call as an exported checkpoint writes them: JSON whose strings begin with a space.

For most tokenizers, a word after a space is another token than the same word after a quotation mark. With the space, a
value has the same tokens as in the question, and copying it token by token is easy even for small LMs.
"""

import json
import re
from typing import Any

#: The space after the opening quotation mark of a string.
OPENED = re.compile(r'(?<=[:,] ") |(?<=\[") ')
#: Opening and closing delimiters of such a string, for parsers that scan for strings.
DELIMITERS = [['" ', '"']]


def write_arguments(args: dict[str, Any]) -> str:
    """Return arguments in the checkpoint's form of JSON."""
    return json.dumps(_spaced(args), ensure_ascii=False)


def without_spaces(text: str) -> str:
    """Return arguments, or a prefix of them, as plain JSON."""
    return OPENED.sub("", text)


def _spaced(value: Any) -> Any:
    if isinstance(value, str):
        # Parsers that scan for strings would cut one that contains a quotation mark.
        return value if not value or value[0].isspace() or '"' in value or "\\" in value else f" {value}"
    if isinstance(value, list):
        return [_spaced(one) for one in value]
    if isinstance(value, dict):
        return {name: _spaced(one) for name, one in value.items()}
    return value
