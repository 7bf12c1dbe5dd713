"""Numbers that a question names without writing them: words, percentages and units, spelt out in a note behind it."""

import re
from decimal import Decimal, InvalidOperation

_PERCENT = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)\s*(?:%|percent\b)")
_FRACTION = re.compile(r"(?<![\w./])(\d+)/(\d+)(?![\w/])")

#: Number words, and what words of proportion multiply or divide by.
WORDS = {
    **{"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10},
    **{"eleven": 11, "twelve": 12},
    **{"fifteen": 15, "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "hundred": 100},
    **dict.fromkeys(("half", "halve", "halves", "twice", "double", "doubles", "doubled", "pair", "couple", "both"), 2),
    **dict.fromkeys(("triple", "triples", "tripled", "thrice", "third", "thirds"), 3),
    **dict.fromkeys(("quadruple", "quadruples", "quarter", "quarters", "fourth"), 4),
    **{"fifth": 5, "tenth": 10, "dozen": 12, "dozens": 12},
    **{"square": 2, "squared": 2, "cube": 3, "cubic": 3, "average": 2},
}
#: What a unit holds of a smaller one.
UNITS = {
    **dict.fromkeys(("week", "weeks", "weekly", "daily"), 7),
    **dict.fromkeys(("hour", "hours", "minute", "minutes"), 60),
    **dict.fromkeys(("year", "years", "yearly", "annual", "annually"), 12),
    **dict.fromkeys(("foot", "feet"), 12),
    **dict.fromkeys(("cent", "cents"), 100),
}
#: Numbers in a note, at most: with more of them the right one is harder to find.
MAX_NOTED = 8


def with_named_numbers(question: str) -> str:
    """Return a question with a note of the numbers that it names in words, and of what percentages mean as factors.

    Examples
    --------
    >>> with_named_numbers("Prices of $40 rise by 5%. What are twice as many worth?")
    'Prices of $40 rise by 5%. What are twice as many worth? (5% = 0.05, 1 + 5% = 1.05, 1 - 5% = 0.95, twice = 2)'
    """
    notes: list[str] = []
    for percent in dict.fromkeys(_PERCENT.findall(question)):
        part = Decimal(percent) / 100
        notes += [f"{percent}% = {_plain(part)}", f"1 + {percent}% = {_plain(1 + part)}"]
        if part < 1:
            notes.append(f"1 - {percent}% = {_plain(1 - part)}")
    for upper, lower in dict.fromkeys(_FRACTION.findall(question)):
        if int(lower):
            notes.append(f"{upper}/{lower} = {_plain(Decimal(upper) / Decimal(lower))}")
    said: dict[str, int] = {}
    for word in re.findall(r"[a-z]+", question.lower()):
        if word in WORDS:
            said.setdefault(word, WORDS[word])
        elif word in UNITS and UNITS[word] not in said.values():
            said.setdefault(word, UNITS[word])
    notes += [f"{word} = {number}" for word, number in said.items()]
    return f"{question.strip()} ({', '.join(notes[:MAX_NOTED])})" if notes else question.strip()


def number(text: object) -> float | None:
    """Return a numeral's value, without thousands separators, signs of currency and percent; None for none."""
    plain = re.sub(r"[,$€£%\s]", "", str(text))
    try:
        return float(Decimal(plain))
    except (InvalidOperation, OverflowError, ValueError):
        return None


def last_number(text: str) -> float | None:
    """Return the last number in a text."""
    found = re.findall(r"-?\d[\d,]*(?:\.\d+)?(?:[eE][-+]?\d+)?", text)
    return number(found[-1].rstrip(",")) if found else None


def _plain(value: Decimal) -> str:
    text = f"{round(value, 6):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
