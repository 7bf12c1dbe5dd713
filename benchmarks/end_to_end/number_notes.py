"""`NumberNotes`: appends to a question a note with the numbers that it names in words."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from math import isclose
from typing import Any

from toolken.tools.numerals import numbers_in
from toolken.training.examples import Example

# A comma is part of a number where it separates thousands. Digits once read as thousands are not split again (`?>`).
_DIGITS = r"(?>(?<!\d,)\d{1,3}(?:,\d{3})+(?!\d)|\d+)"
_PERCENT = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)\s*(?:%|percent\b)")
_LAST = re.compile(rf"(?:(?<![\w.])-)?{_DIGITS}(?:\.\d+)?(?:[eE][-+]?\d+)?")
_FRACTION = re.compile(r"(?<![\w./])(\d+)/(\d+)(?![\w/])")

#: Number words, and the factors or divisors of proportion words.
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
#: Units, and their size in a smaller unit.
UNITS = {
    **dict.fromkeys(("week", "weeks", "weekly", "daily"), 7),
    **dict.fromkeys(("hour", "hours", "minute", "minutes"), 60),
    **dict.fromkeys(("year", "years", "yearly", "annual", "annually"), 12),
    **dict.fromkeys(("foot", "feet"), 12),
    **dict.fromkeys(("cent", "cents"), 100),
}
#: Maximum of numbers in a note: with more, the right one is harder to find.
MAX_NOTED = 8
#: Minimum share of training questions with a word in which its number is an operand, for the number to be noted.
NEEDED = 0.25


@dataclass(frozen=True)
class NumberNotes:
    """Appends the numbers that a question names in words, and percentages as factors, to the question.

    A small model tends to copy the last number. So a number is noted only if it was an operand in enough training
    questions with the same word: "half" implies a division, "one" in "the larger one" implies nothing. Questions that
    write fewer than two numbers are counted separately, since "square" implies a power of two next to a single number.
    Words that no training question contains are noted.

    Attributes
    ----------
    counts
        Maps (word, whether the question writes fewer than two numbers) to the number of training questions that
        needed the number as an operand, and of all that contain the word.
    """

    counts: Mapping[tuple[str, bool], tuple[int, int]] = field(default_factory=dict)

    @classmethod
    def learned(cls, examples: Iterable[Example]) -> "NumberNotes":
        """Count how often the named numbers of solved questions are operands that occur nowhere else."""
        counts: dict[tuple[str, bool], tuple[int, int]] = {}
        for example in examples:
            written = _written(example.question)
            known = written | {number(call.result) for call in example.calls}
            operands = {number(one) for call in example.calls for one in flat(call.args.values())}
            for source, _, value in _named(example.question):
                needed, total = counts.get((source, len(written) < 2), (0, 0))
                is_needed = any(one is not None and isclose(one, value) for one in operands - known)
                counts[source, len(written) < 2] = needed + is_needed, total + 1
        return cls(counts)

    def __call__(self, question: str) -> str:
        """Return a question with its note.

        Examples
        --------
        >>> NumberNotes()("Prices of $40 rise by 5%. What are twice as many worth?")
        'Prices of $40 rise by 5%. What are twice as many worth? (5% = 0.05, 1 + 5% = 1.05, 1 - 5% = 0.95, twice = 2)'
        """
        few = len(_written(question)) < 2
        notes: dict[str, None] = {}
        units: set[float] = set()
        for source, text, value in _named(question):
            if source in UNITS and value in units:
                continue
            if self._share(source, few) >= NEEDED:
                notes[text] = None
                units |= {value} if source in UNITS or source in WORDS else set()
        return f"{question.strip()} ({', '.join([*notes][:MAX_NOTED])})" if notes else question.strip()

    def _share(self, source: str, few: bool) -> float:
        needed, total = self.counts.get((source, few), (0, 0))
        return (needed + 0.5) / (total + 1)


def _named(question: str) -> list[tuple[str, str, float]]:
    """Return (word or kind, note, number) for each number that a question names."""
    found: list[tuple[str, str, Decimal]] = []
    for percent in dict.fromkeys(_PERCENT.findall(question)):
        part = Decimal(percent) / 100
        found += [("%", f"{percent}%", part), ("1 + %", f"1 + {percent}%", 1 + part)]
        if part < 1:
            found.append(("1 - %", f"1 - {percent}%", 1 - part))
    for upper, lower in dict.fromkeys(_FRACTION.findall(question)):
        if int(lower):
            found.append(("/", f"{upper}/{lower}", Decimal(upper) / Decimal(lower)))
    for word in dict.fromkeys(re.findall(r"[a-z]+", question.lower())):
        if word in WORDS or word in UNITS:
            found.append((word, word, Decimal(WORDS.get(word) or UNITS[word])))
    return [(source, f"{text} = {_plain(value)}", float(value)) for source, text, value in found]


def _written(question: str) -> set[float | None]:
    return {number(one.strip('"')) for one in numbers_in(question)}


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


def _plain(value: Decimal) -> str:
    text = f"{round(value, 6):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
