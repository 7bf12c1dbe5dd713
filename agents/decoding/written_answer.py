"""`WrittenAnswer`: an answer after tool results begins in words, and copies numbers, names, dates and identifiers."""

import re
from collections.abc import Callable

import torch

from toolken.agents.decoding.copied_words import CopiedWords
from toolken.agents.decoding.growing_text import GrowingText
from toolken.agents.decoding.sampling import Sampler
from toolken.training.lm import FrozenLM

#: Most probable tokens that are tried before a number is completed by force.
TRIED = 64

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_ITEM = re.compile(r"^[ \t]*(\d+)[.)]", re.MULTILINE)
_GROUPED = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")


#: What calls begin with, in any syntax, and what quoted code begins with.
_BRACKETS, _QUOTE = "{[<", "`"


class WrittenAnswer:
    """Rejects tokens that would begin an answer like a call, or write a number that the conversation does not have.

    After calls in a conversation, small LMs write further ones as text in place of an answer.

    A number may lose or gain its thousands separators, leading zeros and a fraction of zeros. Parts of dates, times and
    identifiers count as separate numbers. The ordinals of a list are allowed at the beginning of a line. Words are
    copied as `CopiedWords` says.

    Parameters
    ----------
    context
        The conversation: questions and tool results. None where the answer may have any number.

    Examples
    --------
    >>> answer = WrittenAnswer("It costs 1,250.50 and leaves at 07:45.")
    >>> [answer.accepts(text, 0) for text in ("It is 1250.50.", "At 7:45", "It is 1,25", "About 1300", '{"name": ')]
    [True, True, True, False, False]
    """

    def __init__(self, context: str | None) -> None:
        self._copied = context is not None
        self._words = None if context is None else CopiedWords(context)
        self._not_first = _BRACKETS + (_QUOTE if self._copied else "")
        self._allowed = {one for number in _NUMBER.findall(context or "") for one in _variants(number)}
        self._beginnings = {number[:end] for number in self._allowed for end in range(1, len(number) + 1)}

    def accepts(self, text: str, begin: int, *, ended: bool = False) -> bool:
        """Tell whether a text that may go on is an answer in words, with only allowed numbers after a position.

        Parameters
        ----------
        begin
            Length of the text that was accepted before.
        ended
            Whether the text is finished, so that its last number is, too.
        """
        if not text[:begin].strip() and text.lstrip()[:1] in tuple(self._not_first):
            return False
        for match in _NUMBER.finditer(text) if self._copied else ():
            if match.end() < begin:
                continue
            rest = text[match.end() :]
            may_go_on = not ended and rest in ("", ".", ",")
            number = match[0]
            if number in self._allowed or (may_go_on and number + rest in self._beginnings):
                continue
            if not self._is_ordinal(text, match, open_end=not ended and not rest):
                return False
        return self._words is None or self._words.accepts(text, begin, ended=ended)

    def rests(self, text: str) -> set[str]:
        """Return the next characters that continue an unfinished number at the end of a text."""
        match = re.search(r"\d+(?:[.,]\d+)*[.,]?$", text)
        begun = match[0] if match else ""
        longer = (one for one in self._beginnings if len(one) > len(begun) and one.startswith(begun))
        return {one[len(begun)] for one in longer} if begun else set()

    def token(
        self, lm: FrozenLM, sampler: Sampler, logits: torch.Tensor, text: GrowingText, ends: Callable[[int], bool]
    ) -> int:
        """Choose the next token of a text among those that are accepted.

        Parameters
        ----------
        ends
            Tells whether a token ends the text.
        """
        before = text.text
        first = token = sampler.token(logits)
        for _ in range(TRIED):
            if self.accepts(before if ends(token) else text.with_token(token), len(before), ended=ends(token)):
                return token
            if logits[token] == -torch.inf:
                break
            logits = logits.index_fill(0, torch.tensor(token, device=logits.device), -torch.inf)
            token = sampler.token(logits)
        continuing = [lm.encode(one).ids[-1] for one in sorted(self.rests(before))]
        fitting = [one for one in continuing if self.accepts(text.with_token(one), len(before))]
        return max(fitting, key=lambda one: float(logits[one]), default=first)

    @staticmethod
    def _is_ordinal(text: str, match: re.Match[str], *, open_end: bool) -> bool:
        """Tell whether a number is the next ordinal of a list."""
        line = text.rfind("\n", 0, match.start()) + 1
        if text[line : match.start()].strip():
            return False
        items = _ITEM.findall(text[:line])
        following = str(int(items[-1]) + 1 if items else 1)
        if open_end:
            return following.startswith(match[0])
        return following == match[0] and text[match.end() : match.end() + 1] in (".", ")")


def _variants(number: str) -> set[str]:
    """Return the ways of writing a number: with and without separators, leading zeros and a fraction of zeros."""
    found = {number}
    if _GROUPED.fullmatch(number):
        found.add(number.replace(",", ""))
    found |= {one.lstrip("0") for one in list(found) if one.lstrip("0")[:1].isdecimal()}
    found |= {one.rstrip("0").rstrip(".") for one in list(found) if re.fullmatch(r"\d+\.0+", one)}
    found |= {f"{int(one):,}" for one in list(found) if re.fullmatch(r"[1-9]\d{3,17}", one)}
    return found
