"""`GrowingText`: text that grows token by token, of which only what is certain is given out."""

from collections.abc import Sequence

from toolken.training.lm import FrozenLM

#: Tokens that are decoded again with each new one; a character takes fewer, whatever the tokenizer.
OPEN_TOKENS = 16


class GrowingText:
    """Text that grows token by token: half characters and what may become a stop text are held back.

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
        self._closed = ""
        self._open: list[int] = []
        self._given = 0
        self.text = ""
        self.stopped = False

    def add(self, token: int) -> tuple[str, bool]:
        """Return the text that has become certain, and whether a stop text was reached."""
        self._open.append(token)
        self._decode()
        ends = [at for stop in self._stop if (at := self.text.find(stop)) >= 0]
        if ends:
            self.text = self.text[: min(ends)]
            self.stopped = True
            return self._give(len(self.text)), True
        certain = len(self.text)
        if self.text.endswith("\ufffd"):
            certain -= 1
        for stop in self._stop:
            for length in range(min(len(stop) - 1, len(self.text)), 0, -1):
                if self.text.endswith(stop[:length]):
                    certain = min(certain, len(self.text) - length)
                    break
        return self._give(certain), False

    def finish(self) -> str:
        """Return what was held back."""
        return self._give(len(self.text))

    def _decode(self) -> None:
        """Decode the last tokens anew, so that the work of a step does not grow with the text."""
        written = self._lm.decode(self._open)
        self.text = self._closed + written
        if len(self._open) > 2 * OPEN_TOKENS:
            rest = self._lm.decode(self._open[-OPEN_TOKENS:])
            # Only where the tokens decode to the same text apart as together is the first part closed.
            if written.endswith(rest) and "\ufffd" not in rest[:1]:
                self._closed += written[: len(written) - len(rest)]
                self._open = self._open[-OPEN_TOKENS:]

    def _give(self, end: int) -> str:
        piece = self.text[self._given : end]
        self._given = max(self._given, end)
        return piece
