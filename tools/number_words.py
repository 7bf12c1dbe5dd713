"""`number_words_in`: the numbers that an English text spells out, such as "three hundred and five"."""

import re

_UNITS = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_SMALL = {word: value for value, word in enumerate(_UNITS)} | {word: 20 + 10 * at for at, word in enumerate(_TENS)}
_SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9}
_OTHER = {"dozen": 12, "couple": 2}

_NUMBER = "|".join([*_SMALL, *_SCALES, *_OTHER])
_RUN = re.compile(
    rf"(?<![\w-])(?:(?:an?|half an?)[ -](?=(?:hundred|thousand|million|billion|dozen|couple)\b))?(?:{_NUMBER})s?\b"
    rf"(?:(?:[ -]|,? and )(?:{_NUMBER})\b)*(?!-?\w)",
    re.IGNORECASE,
)
_HALF = re.compile(r" and a half\b", re.IGNORECASE)


def number_words_in(text: str) -> list[tuple[int, int, int | float]]:
    """Return start, end and value of each number that a text spells out.

    Numbers that only a conjunction joins, as in "five and nine", are two numbers. The pronoun "one" is a number here,
    too: a caller has to weigh it.

    Examples
    --------
    >>> [value for _, _, value in number_words_in("twenty-five eggs, a dozen rolls, three hundred and five nails")]
    [25, 12, 305]
    >>> [value for _, _, value in number_words_in("five and nine minutes, then two and a half")]
    [5, 9, 2.5]
    """
    found: list[tuple[int, int, int | float]] = []
    for match in _RUN.finditer(text):
        begin = match.start()
        total, group, last, start, end = 0, 0, 0, begin, begin
        for word in re.finditer(r"[a-z]+", match[0].lower()):
            name = word[0]
            if name in ("a", "an", "and", "half"):
                continue
            name = name if name in _SMALL or name in _SCALES or name in _OTHER else name.removesuffix("s")
            at = begin + word.start()
            if name in _SCALES:
                scale = _SCALES[name]
                if scale == 100:
                    group = (group or 1) * 100
                else:
                    total, group = total + (group or 1) * scale, 0
                last = scale
            else:
                value = _SMALL.get(name, _OTHER.get(name, 0))
                joins = (last >= 100 and name in _SMALL) or (20 <= last < 100 and last % 10 == 0 and 0 < value < 10)
                if name == "dozen" and 0 < total + group < 20:
                    total, group, last = (total + group) * 12, 0, 12
                elif last and not joins:
                    found.append((start, end, total + group))
                    total, group, last, start = 0, value, value, at
                else:
                    group, last = group + value, value
            end = begin + word.end()
        value_found: int | float = total + group
        if match[0].lower().startswith("half a"):
            value_found = value_found / 2
            value_found = int(value_found) if value_found == int(value_found) else value_found
        if (half := _HALF.match(text, end)) is not None and value_found < 100:
            value_found, end = value_found + 0.5, half.end()
        found.append((start, end, value_found))
    return found
