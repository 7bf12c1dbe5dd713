"""`TextValues`: the values that a text contains, each with its span: numbers, dates, codes, runs of words."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from toolken.agents.grammar.function_words import FUNCTION_WORDS, JOINTS, NO_END, NO_START, OBJECTS, SPEAKERS
from toolken.tools.moments import dates_in, months_in, times_in
from toolken.tools.number_words import number_words_in
from toolken.tools.numerals import numerals_in

#: Words of a copied string, and runs of words that are tried.
MAX_WORDS, MAX_RUNS = 12, 1200
#: Words of a code that is written with spaces, such as an IBAN.
MAX_CODE_WORDS = 8

_TOKEN = re.compile(r"\S+")
_EDGE = "\"'“”‘’«»„()[]{}<>,.!?;:…*`"
_SENTENCE_END = re.compile(r"(?:[!?;:…]|(?<!\b[A-Z])(?<!\b[A-Za-z][a-z])(?<!\b[A-Z][a-z][a-z])\.)[\"'”’)\]]*\Z")
_QUOTED = re.compile(r"(?<!\w)(?:\"([^\"\n]+)\"|“([^”\n]+)”|„([^“”\n]+)[“”]|«([^»\n]+)»|'([^'\n]+)'(?!\w))")
_THOUSANDS = re.compile(r"(?<![\w.,])(\d+(?:\.\d+)?)\s?k\b(?!m)", re.IGNORECASE)
_CARRIER = re.compile(r"[-+]?\d")


@dataclass(frozen=True)
class Span:
    """A value and where the text has it."""

    start: int
    end: int
    value: Any

    def overlaps(self, other: "Span") -> bool:
        """Tell whether two spans share a character."""
        return self.start < other.end and other.start < self.end


class TextValues:
    """The values of a text.

    Parameters
    ----------
    text
        The text, in which line ends separate messages.
    """

    def __init__(self, text: str) -> None:
        self.text = text

    @cached_property
    def moments(self) -> list[Span]:
        """Dates, months and clock times, in ISO 8601."""
        found = [*dates_in(self.text), *months_in(self.text), *times_in(self.text)]
        return [Span(one.start, one.end, one.iso) for one in found]

    @cached_property
    def numbers(self) -> list[Span]:
        """Numbers, spelt-out ones included, without those of dates and times; percentages as plain numbers."""
        found: list[Span] = []
        for one in numerals_in(self.text):
            if one.json is None:
                scaled = _THOUSANDS.match(self.text, one.start)
                if scaled is not None:
                    found.append(Span(one.start, scaled.end(), _plain(float(scaled[1]) * 1000)))
                elif re.fullmatch(r"\d+(?:st|nd|rd|th)", one.text):
                    found.append(Span(one.start, one.end, int(one.text[:-2])))
            elif (value := one.value) is not None and self.text[max(one.start - 1, 0) : one.start] != "#":
                number = float(value) * (100 if one.text.rstrip().endswith(("%", "cent")) else 1)
                found.append(Span(one.start, one.end, _plain(round(number, 9))))
        for start, end, number in number_words_in(self.text):
            spelt = Span(start, end, number)
            if not any(spelt.overlaps(one) for one in found):
                found.append(spelt)
        free = [one for one in found if not any(one.overlaps(moment) for moment in self.moments)]
        return sorted(free, key=lambda one: one.start)

    @cached_property
    def words(self) -> list[Span]:
        """The words, without the punctuation at their edges; the value is the word in lower case."""
        return [one for one, _ in self._tokens if one.value]

    @cached_property
    def quoted(self) -> list[Span]:
        """What stands in quotation marks."""
        found = []
        for match in _QUOTED.finditer(self.text):
            at = next(number for number in range(1, 6) if match[number] is not None)
            if match[at].strip():
                found.append(Span(match.start(at), match.end(at), match[at].strip()))
        return found

    @cached_property
    def _tokens(self) -> list[tuple[Span, bool]]:
        """Words, and whether a sentence or a message ends after each."""
        found = []
        for match in _TOKEN.finditer(self.text):
            token = match[0]
            left = len(token) - len(token.lstrip(_EDGE))
            core = token.strip(_EDGE)
            if re.search(r"\b(?:[A-Z]|[A-Z][a-z]{1,2}|St|Ave)\.\Z", token) and not token.endswith(".."):
                core = token.lstrip(_EDGE)  # an abbreviation keeps its full stop
            start = match.start() + left
            ends = _SENTENCE_END.search(token) is not None or self.text[match.end() : match.end() + 1] == "\n"
            found.append((Span(start, start + len(core), core.lower()), ends))
        return found

    def strings(self, ignored: Iterable[str] = (), *, prose: bool = False, joints: bool = False) -> list[Span]:
        """Return the runs of words that may be the value of a string, each with at least one word that says something.

        Parameters
        ----------
        ignored
            Words, in lower case and without plural endings, that say nothing here, such as those of the tool's name.
        prose
            Whether the value is a text, such as a message, which may begin with a pronoun.
        joints
            Whether the value may have prepositions, as titles have.
        """
        silent = set(ignored)
        found: dict[tuple[int, int], Span] = {}
        for one in self.quoted:
            found[one.start, one.end] = one
        tokens = self._tokens
        for first, (begin, _) in enumerate(tokens):
            is_name = first > 0 and not tokens[first - 1][1] and self.text[begin.start : begin.start + 1].isupper()
            if not begin.value or (begin.value in NO_START and not is_name):
                continue
            if begin.value in SPEAKERS and not prose:
                continue
            if first == 0 and len(tokens) > 1 and tokens[1][0].value in OBJECTS:
                continue  # the verb of an order
            if first and self._is_one_name(first - 1):
                continue
            says = False
            for last in range(first, min(first + MAX_WORDS, len(tokens))):
                word, ends = tokens[last]
                says = says or self.says_something(word, silent)
                if not (prose or joints) and last > first and word.value in JOINTS:
                    break
                if word.value and says and word.value not in NO_END and not self._is_one_name(last):
                    for end in self._ends(word):
                        if (begin.start, end) not in found:
                            found[begin.start, end] = Span(begin.start, end, self.text[begin.start : end])
                comma = self.text[word.end : word.end + 1] == "," and not prose
                if ends or comma or len(found) > MAX_RUNS:
                    break
        return list(found.values())

    def says_something(self, word: Span, silent: Iterable[str]) -> bool:
        """Tell whether a word may be part of a value: neither a function word nor among the silent ones."""
        if not word.value or word.value in FUNCTION_WORDS:
            return False
        return stem(word.value.removesuffix("'s").removesuffix("’s")) not in silent

    def _is_one_name(self, at: int) -> bool:
        """Tell whether a word and the next one are two words of one name, as capitals inside a sentence are."""
        if at < 1 or at + 1 >= len(self._tokens) or self._tokens[at - 1][1] or self._tokens[at][1]:
            return False
        left, right = self._tokens[at][0], self._tokens[at + 1][0]
        first, second = self.text[left.start : left.end], self.text[right.start : right.end]
        between = self.text[left.end : right.start]
        return bool(
            between == " " and first[:1].isupper() and second[:1].isupper() and left.value not in SPEAKERS
        ) and (right.value not in SPEAKERS)

    def _ends(self, word: Span) -> list[int]:
        written = self.text[word.start : word.end]
        possessive = re.search(r"['’]s\Z", written)
        return [word.end, word.start + possessive.start()] if possessive else [word.end]

    def codes(self, is_valid: Callable[[str], bool]) -> list[Span]:
        """Return the words that a schema admits as they stand; else those in capitals, or several joined to one."""
        whole = [Span(match.start(), match.end(), match[0]) for match in _TOKEN.finditer(self.text)]
        words = [Span(one.start, one.end, self.text[one.start : one.end]) for one in self.words]
        # A full stop or a bracket may be part of a code, and a code part of a longer word: 2026-05-01/2026-05-09.
        pieces = [
            Span(one.start + match.start(), one.start + match.end(), match[0])
            for one in words
            for match in re.finditer(r"[^\s/,;|]+", one.value)
        ]
        ranges = [
            Span(match.start(), match.end(), f"{match[1]}:{match[2]}")
            for match in re.finditer(r"(\w+) (?:to|till|until|through|-) (\w+)", self.text)
        ]
        for level in (words, whole, pieces, ranges):
            if found := [one for one in level if is_valid(one.value)]:
                longer = self._joined_codes(is_valid) if level is words else []
                return longer + [one for one in found if not any(one.overlaps(other) for other in longer)]
        coded = [one for one in words if any(character.isdigit() for character in one.value)]
        if found := [Span(one.start, one.end, one.value.upper()) for one in coded if is_valid(one.value.upper())]:
            return found
        return self._joined_codes(is_valid)

    def _joined_codes(self, is_valid: Callable[[str], bool]) -> list[Span]:
        """Return codes that are written with spaces, such as an IBAN or a telephone number."""
        found: list[Span] = []
        words = self.words
        for first, begin in enumerate(words):
            if any(begin.start < one.end for one in found):
                continue
            for last in range(min(first + MAX_CODE_WORDS, len(words)) - 1, first, -1):
                run = self.text[begin.start : words[last].end]
                if not re.fullmatch(r"[-+()./A-Z0-9 ]*\d[-+()./A-Z0-9 ]*", run):
                    continue
                joined = re.sub(r"\s+", "", run)
                value = next((one for one in (run, joined, joined.replace("-", "")) if is_valid(one)), None)
                if value is not None:
                    found.append(Span(begin.start, words[last].end, value))
                    break
        return found

    @cached_property
    def number_lists(self) -> list[list[Span]]:
        """Numbers that only commas, spaces and conjunctions separate."""
        groups: list[list[Span]] = []
        for one in self.numbers:
            between = self.text[groups[-1][-1].end : one.start] if groups else "|"
            if groups and re.fullmatch(r"[\s,;]*(?:and|or|&)?\s*|[^\W\d]{0,3},? (?:and )?", between):
                groups[-1].append(one)
            else:
                groups.append([one])
        return groups

    def code_like(self) -> Iterator[Span]:
        """Yield the words that look like a code: with digits, but neither a number, a date nor a time."""
        for word in self.words:
            written = self.text[word.start : word.end]
            if any(character.isdigit() for character in written) and not any(word.overlaps(m) for m in self.moments):
                yield Span(word.start, word.end, written)


def _plain(value: float) -> int | float:
    return int(value) if value == int(value) else value


def stem(word: str) -> str:
    """Return a word in lower case without the endings of plurals and verbs.

    Examples
    --------
    >>> [stem(word) for word in ("Cities", "nights", "booking", "booked", "address")]
    ['city', 'night', 'book', 'book', 'address']
    """
    word = word.lower()
    if word.endswith("ies") and len(word) > 4:
        word = word[:-3] + "y"
    elif word.endswith("s") and not word.endswith(("ss", "us", "is")) and len(word) > 3:
        word = word[:-1]
    for ending in ("ing", "ed"):
        if word.endswith(ending) and len(word) > len(ending) + 2:
            word = word[: -len(ending)]
            break
    return word[:-1] if word.endswith("e") and len(word) > 3 else word


def stems(text: str) -> list[str]:
    """Return the stems of the words of a text, those joined by underscores, hyphens and capitals apart."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", text)
    return [stem(word) for word in re.findall(r"[^\W_]+(?:['’][a-z]+)?", spaced)]
