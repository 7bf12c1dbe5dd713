"""`PrefixCache`: texts that were read before; a text that begins like one of them is not read from the start."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from toolken.training.lm.frozen import FrozenLM
from toolken.training.lm.session import Session

#: Texts that are kept, and bytes of the KV caches of all of them together; the least recently used go first.
MAX_TEXTS, MAX_BYTES = 32, 512 * 2**20


@dataclass(frozen=True)
class Prefill:
    """A text that has been read.

    Attributes
    ----------
    session
        The text, the reader's own to go on with.
    hidden, logits
        Hidden state `(d,) float32` and word logits `(V,) float32` after its last token.
    reused
        Leading tokens whose KV cache was there already.
    """

    session: Session
    hidden: torch.Tensor
    logits: torch.Tensor
    reused: int


class PrefixCache:
    """KV caches of texts, of which the longest shared prefix is reused.

    Parameters
    ----------
    lm
        The LM that reads.
    max_texts, max_bytes
        Bounds on what is kept; 0 texts keep nothing.
    """

    def __init__(self, lm: FrozenLM, *, max_texts: int = MAX_TEXTS, max_bytes: int = MAX_BYTES) -> None:
        self.lm = lm
        self.max_texts = max_texts
        self.max_bytes = max_bytes
        self._texts: OrderedDict[int, Session] = OrderedDict()
        self._lock = threading.Lock()

    def prefill(self, ids: Sequence[int], *, keep: bool = True) -> Prefill:
        """Read a text.

        Texts are read one after another, so that of several that begin alike the first one serves the others.

        Parameters
        ----------
        keep
            Whether later texts may begin with it; without it only the session itself knows the text.

        Raises
        ------
        PromptTooLongError
            If the text does not fit the LM's context.
        ValueError
            If it is empty.
        """
        with self.lm.lock:
            session = self._longest(ids)
            reused = session.cached
            hidden, logits = session.feed(ids[len(session.ids) :])
            if keep:
                self.keep(session.fork())
        return Prefill(session, hidden, logits, reused)

    def keep(self, session: Session) -> None:
        """Keep a text for others to begin with; it must not be changed any more."""
        croppable = session.shareable
        with self._lock:
            for key, kept in list(self._texts.items()):
                is_beginning = kept.common_prefix(session.ids) == len(kept.ids)
                if is_beginning and (croppable or len(kept.ids) == len(session.ids)):
                    del self._texts[key]  # the new one serves wherever it did
            self._texts[id(session)] = session
            while len(self._texts) > self.max_texts or self.nbytes > self.max_bytes:
                self._texts.popitem(last=False)

    def clear(self) -> None:
        """Forget all texts."""
        with self._lock:
            self._texts.clear()

    @property
    def nbytes(self) -> int:
        """Bytes of the KV caches of all the texts that are kept."""
        return sum(kept.nbytes for kept in self._texts.values())

    def __len__(self) -> int:
        return len(self._texts)

    def _longest(self, ids: Sequence[int]) -> Session:
        """Return a session with the longest kept prefix, short of the last token, whose state is wanted."""
        with self._lock:
            best = max(self._texts.values(), key=lambda kept: kept.common_prefix(ids), default=None)
            shared = 0 if best is None else min(best.common_prefix(ids), len(ids) - 1)
            if best is None or shared <= 0:
                return self.lm.start()
            self._texts.move_to_end(id(best))
            session = best.fork()
        session.truncate(shared)
        return session
