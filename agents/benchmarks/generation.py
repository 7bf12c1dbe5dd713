"""Text that the LM writes by itself, for many questions at once: what the baselines without toolkens are made of."""

from collections.abc import Sequence

import torch

from toolken.agents.growing_text import GrowingText
from toolken.training.lm import FrozenLM, Session
from toolken.training.lm.batch_session import BatchSession

State = tuple[torch.Tensor, torch.Tensor]


class Continuations:
    """Greedy continuations of texts that begin alike.

    The common beginning is read once; after that each run of the LM extends all the texts that are being written.

    Parameters
    ----------
    lm
        The LM.
    beginning
        What all texts begin with; it must end where a token does, at the end of a line for instance.
    """

    def __init__(self, lm: FrozenLM, beginning: str = "") -> None:
        self.lm = lm
        self._start = lm.start()
        self._ids = lm.encode(beginning).ids
        if self._ids:
            self._start.feed(self._ids)

    def read(self, texts: Sequence[str]) -> list[tuple[Session, State]]:
        """Read what follows the beginning in each text, one after another: long pieces keep the processor busy."""
        found = []
        for text in texts:
            session = self._start.fork() if self._ids else self.lm.start()
            found.append((session, session.feed(self.lm.encode(text).ids)))
        return found

    def write(self, texts: Sequence[str], *, stop: Sequence[str], max_tokens: int) -> list[str]:
        """Return how the LM goes on after the beginning and each text, up to a stop text, which is left out.

        Raises
        ------
        PromptTooLongError
            If a text does not fit the LM's context.
        """
        return write_on(self.lm, self.read(texts), stop=stop, max_tokens=max_tokens)


def write_on(
    lm: FrozenLM, readings: Sequence[tuple[Session, State]], *, stop: Sequence[str], max_tokens: int
) -> list[str]:
    """Return how the LM goes on after texts that have been read, greedily and together."""
    batch = BatchSession(lm)
    texts = [GrowingText(lm, stop) for _ in readings]
    logits = [state[1] for _, state in readings]
    going = list(range(len(readings)))
    for step in range(max_tokens):
        pieces: list[tuple[int, int]] = []
        for at in going:
            token = int(logits[at].argmax())
            if token in lm.stop_ids or texts[at].add(token)[1]:
                continue
            if step + 1 < max_tokens and len(readings[at][0].ids) < lm.max_length:
                pieces.append((at, token))
        going = [at for at, _ in pieces]
        if not pieces:
            break
        fed = batch.feed([(readings[at][0], [token]) for at, token in pieces])
        for at, state in zip(going, fed, strict=True):
            logits[at] = state[1]
    return [text.text for text in texts]
