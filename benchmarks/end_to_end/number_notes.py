"""`NumberNotes`: numbers that a question names without writing them, spelt out in a note behind it."""

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
#: Share of the training questions naming a number in which it has to be an operand for it to be noted.
NEEDED = 0.25


@dataclass(frozen=True)
class NumberNotes:
    """Writes behind a question what numbers it names in words, and what percentages mean as factors.

    A small model likes to copy what stands last. So a number is noted only where training questions with the same word
    needed it as an operand: "half" means a division, "one" in "the larger one" means nothing. Whether a question
    writes fewer than two numbers is told apart, since "square" means a power of two where there is one number alone.
    What no training question had is noted.

    Attributes
    ----------
    counts
        Of what names a number, and whether the question writes fewer than two: training questions that needed it, and
        all that had it.
    """

    counts: Mapping[tuple[str, bool], tuple[int, int]] = field(default_factory=dict)

    @classmethod
    def learned(cls, examples: Iterable[Example]) -> "NumberNotes":
        """Count in solved questions which named numbers are operands that stand nowhere else."""
        counts: dict[tuple[str, bool], tuple[int, int]] = {}
        for example in examples:
            written = _written(example.question)
            known = written | {number(call.result) for call in example.calls}
            operands = {number(one) for call in example.calls for one in flat(call.args.values())}
            for source, _, value in _named(example.question):
                needed, seen = counts.get((source, len(written) < 2), (0, 0))
                is_needed = any(one is not None and isclose(one, value) for one in operands - known)
                counts[source, len(written) < 2] = needed + is_needed, seen + 1
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
        needed, seen = self.counts.get((source, few), (0, 0))
        return (needed + 0.5) / (seen + 1)


def _named(question: str) -> list[tuple[str, str, float]]:
    """Return what names a number in a question: the kind or word, the note, and the number."""
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
    """Return the values of arguments, those of lists one by one."""
    return [one for value in values for one in (value if isinstance(value, list) else [value])]


def number(text: object) -> float | None:
    """Return a numeral's value, without thousands separators, signs of currency and percent; None for none."""
    plain = re.sub(r"[,$€£%\s]", "", str(text))
    try:
        return float(Decimal(plain))
    except (InvalidOperation, OverflowError, ValueError):
        return None


def last_number(text: str) -> float | None:
    """Return the last number in a text, be it glued to its unit: of `10-5km` 5, of `3,4` 4."""
    found = _LAST.findall(text)
    return number(found[-1]) if found else None


def _plain(value: Decimal) -> str:
    text = f"{round(value, 6):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
