"""`CopiedWords`: names, dates and identifiers of an answer are those of the conversation, letter by letter."""

import re
from datetime import date

_MONTHS = (
    "January February March April May June July August September October November December".split()  # noqa: SIM905
)
_DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()  # noqa: SIM905
#: "May" also begins questions.
_DATES = frozenset((*_MONTHS, *_DAYS)) - {"May"}
#: A word, with the hyphens, dots and slashes inside it that identifiers have.
_WORD = re.compile(r"\w+(?:[-_./]\w+)*[-_./]?")
_ISO = re.compile(r"\b(\d{4})-(\d{2})-(\d{2})\b")
#: Letters that a name and another word share before the other word counts as a wrong copy of the name.
MIN_SHARED = 3


class CopiedWords:
    """Rejects words that differ from what they copy.

    - A word with capital letters and digits is an identifier, and must be one of the conversation.
    - A weekday or month must be in the conversation, or belong to a date in it.
    - A capitalised word must not begin like a name of the conversation, for half of the name, and then differ from it.

    Parameters
    ----------
    context
        The conversation.

    Examples
    --------
    >>> words = CopiedWords("Mr. Andersen leaves on 2026-12-04, booking QX-77B.")
    >>> [words.accepts(text, 0) for text in ("Friday, 4 December", "on Monday", "for Anderson ", "code QX-77", "QX-8")]
    [True, False, False, True, False]
    """

    def __init__(self, context: str) -> None:
        self._known = {word.rstrip("-_./") for word in _WORD.findall(context)}
        self._known |= {part for word in self._known for part in re.split(r"[-_./]", word)}
        self._names = {word for word in self._known if word[:1].isupper() and word.isalpha() and len(word) > MIN_SHARED}
        self._dated = {word.lower() for word in self._known}
        for match in _ISO.finditer(context):
            try:
                day = date(*map(int, match.groups()))
            except ValueError:
                continue
            self._dated |= {_MONTHS[day.month - 1].lower(), _DAYS[day.weekday()].lower()}

    def accepts(self, text: str, begin: int, *, ended: bool = False) -> bool:
        """Tell whether the words of a text that may go on are copied without a change.

        Parameters
        ----------
        begin
            Length of the text that was accepted before.
        ended
            Whether the text is finished, so that its last word is, too.
        """
        for match in _WORD.finditer(text, self._word_start(text, begin)):
            is_open = not ended and match.end() == len(text)
            word = match[0] if is_open else match[0].rstrip("-_./")
            if not (self._begins(word) if is_open else self._is_copied(word)):
                return False
        return True

    @staticmethod
    def _word_start(text: str, begin: int) -> int:
        """Return where the word begins that reaches a position."""
        return max((at + 1 for at in (text.rfind(c, 0, begin) for c in " \n\t")), default=0)

    def _is_copied(self, word: str) -> bool:
        if word in self._known:
            return True
        if _is_identifier(word) or word in _DATES:
            return any(one.startswith(word[:3].lower()) and one in word.lower() for one in self._dated if len(one) > 2)
        return not self._is_changed(word)

    def _begins(self, word: str) -> bool:
        """Tell whether an unfinished word may become a copy."""
        if word in _DATES:
            return self._is_copied(word)
        if _is_identifier(word):
            return any(one.startswith(word) for one in self._known)
        return any(one.startswith(word) for one in self._known) or not self._is_changed(word)

    def _is_changed(self, word: str) -> bool:
        """Tell whether a capitalised word begins like a name and then differs from all names."""
        if not word[:1].isupper() or word.removesuffix("'s") in self._names or word in _DATES:
            return False
        for name in self._names:
            shared = len(_shared(word, name))
            if shared >= max(MIN_SHARED, (len(name) + 1) // 2) and shared < len(name):
                return True
        return False


def _is_identifier(word: str) -> bool:
    """Tell whether a word mixes capitals and digits and begins with a capital, unlike an amount with its unit."""
    return word[:1].isupper() and any(map(str.isdigit, word)) and len(word) >= MIN_SHARED


def _shared(one: str, other: str) -> str:
    pairs = enumerate(zip(one, other, strict=False))
    return one[: next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))]
