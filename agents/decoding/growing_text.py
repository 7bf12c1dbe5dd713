"""`GrowingText`: text that grows token by token, of which only what is certain is given out."""

from collections.abc import Sequence

from toolken.training.lm import FrozenLM

#: Decoded before every token: at the very beginning of a text, tokenizers in the manner of SentencePiece drop a space.
ANCHOR = "a"
#: What a decoder writes for bytes that are no whole character: one for all of them, or one for each.
_HALF = "\ufffd"


class GrowingText:
    """Text that grows token by token: half characters and what may become a stop text are held back.

    What has been given out stays as it is, and so all pieces together are the text. It goes on behind other text: a
    space before its first word belongs to it.

    Parameters
    ----------
    lm
        Its tokenizer decodes.
    stop
        Texts at which the text ends; they are not part of it.
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
        """Return the text that has become certain, and whether a stop text was reached."""
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

    def finish(self) -> str:
        """Return what was held back."""
        return self._give(len(self.text))

    def _decode(self, token: int) -> None:
        """Decode the tokens since the last whole character, so that a step's work does not grow with the text.

        A decoder with byte fallback takes neighbouring bytes as one: half a character would undo the whole ones before
        it, if these were decoded again.
        """
        self._open.append(token)
        self.text = self._closed + self._lm.decode([*self._anchor, *self._open])[self._skip :]
        if not self.text.endswith(_HALF):
            self._closed, self._open = self.text, []

    def _give(self, end: int) -> str:
        piece = self.text[self._given : end]
        self._given = max(self._given, end)
        return piece
