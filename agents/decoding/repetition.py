"""`is_repeating`: whether an LM writes the same again and again, as small ones do."""

import re

#: How often a line or a piece of text has to come, and the lengths of pieces in characters.
TIMES, LINES, PIECES = 3, 3, range(12, 161)
_NUMBERED = re.compile(r"^\W*\d*\W*")


def is_repeating(text: str) -> bool:
    """Return whether a text ends with a piece that comes three times in a row, or with a line for the third time.

    Lines are compared without their numbers ("3. Choose Settings").
    """
    if any(text.endswith(text[-length:] * TIMES) for length in PIECES if len(text) >= length * TIMES):
        return True
    if not text.endswith("\n"):
        return False
    lines = [_NUMBERED.sub("", line).strip() for line in text.splitlines()]
    lines = [line for line in lines if len(line) > PIECES.start]
    return len(lines) >= LINES and lines.count(lines[-1]) >= LINES
