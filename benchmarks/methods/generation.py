"""`Continuations`: batched greedy generation by the LM alone, on which the baselines without toolkens are built."""

from collections.abc import Sequence

from toolken.agents.decoding.growing_text import GrowingText
from toolken.training.lm import FrozenLM, Session, State


class Continuations:
    """Greedy continuations of texts with a common prefix.

    The prefix is prefilled once; after that each forward pass of the LM extends all unfinished texts.

    Parameters
    ----------
    lm
        The LM.
    beginning
        Common prefix of all texts.
    special
        Whether texts may contain special tokens, as those of a chat template do.
    """

    def __init__(self, lm: FrozenLM, beginning: str = "", *, special: bool = False) -> None:
        self.lm = lm
        self._special = special
        self._beginning = beginning
        self._start = lm.start()
        self._ids = self._encode(beginning) if beginning else []
        if self._ids:
            self._start.feed(self._ids)

    def read(self, texts: Sequence[str]) -> list[tuple[Session, State]]:
        """Prefill the rest of each text, one text after another: long prefills keep the processor busy."""
        found = []
        for text in texts:
            # Tokenized as a whole: the last token of the beginning may reach into the text.
            ids = self._encode(self._beginning + text)
            pairs = enumerate(zip(self._ids, ids[:-1], strict=False))
            shared = next((at for at, (one, other) in pairs if one != other), min(len(self._ids), len(ids) - 1))
            session = self._start.fork() if shared else self.lm.start()
            if shared < len(session.ids):
                session.truncate(shared)
            found.append((session, session.feed(ids[shared:])))
        return found

    def fits(self, text: str) -> bool:
        """Return whether the beginning and a text leave room in the LM's context."""
        return len(self._encode(self._beginning + text)) < self.lm.max_length

    def _encode(self, text: str) -> list[int]:
        if self._special:
            return list(self.lm.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
        return self.lm.encode(text).ids

    def write(self, texts: Sequence[str], *, stop: Sequence[str], max_tokens: int) -> list[tuple[str, str | None]]:
        """Return the LM's continuation of the beginning and each text: see `write_on`.

        Raises
        ------
        PromptTooLongError
            If a text does not fit the LM's context.
        """
        return write_on(self.lm, self.read(texts), stop=stop, max_tokens=max_tokens)


def write_on(
    lm: FrozenLM, readings: Sequence[tuple[Session, State]], *, stop: Sequence[str], max_tokens: int
) -> list[tuple[str, str | None]]:
    """Return the greedy continuations of prefilled texts, decoded as one batch.

    Returns
    -------
    list of (text, stop)
        The continuation without its stop text, and that stop text; None if something else ended it.
    """
    batch = lm.start_batch()
    texts = [GrowingText(lm, ()) for _ in readings]
    ended: list[tuple[str, str | None] | None] = [None] * len(readings)
    logits = [state[1] for _, state in readings]
    unfinished = list(range(len(readings)))
    for step in range(max_tokens):
        pieces: list[tuple[int, int]] = []
        for at in unfinished:
            token = int(logits[at].argmax())
            if token in lm.stop_ids:
                continue
            texts[at].add(token)
            ended[at] = _cut(texts[at].text, stop)
            if ended[at] is None and step + 1 < max_tokens and len(readings[at][0].ids) < lm.max_length:
                pieces.append((at, token))
        unfinished = [at for at, _ in pieces]
        if not pieces:
            break
        fed = batch.feed([(readings[at][0], [token]) for at, token in pieces])
        for at, state in zip(unfinished, fed, strict=True):
            logits[at] = state[1]
    return [end or (text.text, None) for end, text in zip(ended, texts, strict=True)]


def _cut(text: str, stop: Sequence[str]) -> tuple[str, str] | None:
    """Return a text up to its first stop text, and that stop text; None if there is none."""
    found = [(text.index(one), one) for one in stop if one in text]
    return (text[: min(found)[0]], min(found)[1]) if found else None
