"""`GrowingText`: incremental detokenisation that returns only text which later tokens cannot change."""

from collections.abc import Sequence

from toolken.training.lm import FrozenLM

#: Decoded before every token: SentencePiece tokenizers drop a space at the beginning of a text.
ANCHOR = "a"
#: What a decoder writes for the bytes of an incomplete character: one for all of them, or one for each.
_HALF = "\ufffd"


class GrowingText:
    """Detokenises token by token; holds back incomplete characters and beginnings of a stop text.

    Returned pieces never change, so their concatenation is the text. The text continues another one: a space before
    its first word is part of it.

    Parameters
    ----------
    lm
        The LM whose tokenizer decodes.
    stop
        Stop texts; the text ends before the first of them.
    """

    def __init__(self, lm: FrozenLM, stop: Sequence[str]) -> None:
        self._lm = lm
        self._stop = [one for one in stop if one]
        self._anchor = lm.encode(ANCHOR).ids
        self._skip = len(lm.decode(self._anchor))
        self._closed = ""
        self._open: list[int] = []
        self._given = 0
        self.text = ""
        self.stopped = False

    def add(self, token: int) -> tuple[str, bool]:
        """Return the text that can no longer change, and whether a stop text was reached."""
        self._decode(token)
        ends = [at for stop in self._stop if (at := self.text.find(stop)) >= 0]
        if ends:
            self.text = self.text[: min(ends)]
            self.stopped = True
            return self._give(len(self.text)), True
        whole = self.text.rstrip(_HALF)
        certain = len(whole)
        for stop in self._stop:
            for length in range(min(len(stop) - 1, len(whole)), 0, -1):
                if whole.endswith(stop[:length]):
                    certain = min(certain, len(whole) - length)
                    break
        return self._give(certain), False

    def with_token(self, token: int) -> str:
        """Return the text as it would be with a further token; nothing is added."""
        return self._closed + self._lm.decode([*self._anchor, *self._open, token])[self._skip :]

    def finish(self) -> str:
        """Return the text that was held back."""
        return self._give(len(self.text))

    def _decode(self, token: int) -> None:
        """Decode the tokens since the last complete character, so that a step's cost does not grow with the text.

        With byte fallback, decoders join neighbouring byte tokens: an incomplete character would replace the complete
        ones before it if these were decoded again.
        """
        self._open.append(token)
        self.text = self._closed + self._lm.decode([*self._anchor, *self._open])[self._skip :]
        if not self.text.endswith(_HALF):
            self._closed, self._open = self.text, []

    def _give(self, end: int) -> str:
        piece = self.text[self._given : end]
        self._given = max(self._given, end)
        return piece
