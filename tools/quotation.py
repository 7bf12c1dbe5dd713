"""Quotation of values in error messages."""

_LONGEST = 60


def quoted(value: object) -> str:
    """Return a value in quotes on one line, cut to 60 characters.

    Examples
    --------
    >>> print(quoted("12 apples"), quoted("9" * 1000))
    "12 apples" "999999999999999999999999999999999999999999999999999999999999…" (1,000 characters)
    """
    try:
        text = str(value)
    except (ValueError, RecursionError):  # an integer of more than 4,300 digits, or lists nested too deeply
        return f"a value of type {type(value).__name__} too long to write"
    shown = " ".join(text[: 10 * _LONGEST].encode("utf-8", "replace").decode().split())
    if len(text) <= 10 * _LONGEST and len(shown) <= _LONGEST:
        return f'"{shown}"'
    return f'"{shown[:_LONGEST]}…" ({len(text):,} characters)'
