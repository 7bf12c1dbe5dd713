"""`PrefixCache`: KV caches of earlier texts, so that a prefill computes only the tokens after a known prefix."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from toolken.training.lm.frozen import FrozenLM
from toolken.training.lm.session import Session

#: Largest number of texts, and of bytes of their KV caches together; the least recently used texts are evicted first.
MAX_TEXTS, MAX_BYTES = 32, 512 * 2**20


@dataclass(frozen=True)
class Prefill:
    """The result of a prefill.

    Attributes
    ----------
    session
        The text, which the caller may extend.
    hidden, logits
        Hidden state `(d,) float32` and next-token logits `(V,) float32` after its last token.
    reused
        Number of leading tokens whose KV cache was reused.
    """

    session: Session
    hidden: torch.Tensor
    logits: torch.Tensor
    reused: int


class PrefixCache:
    """KV caches of texts; a prefill reuses the longest common prefix.

    Parameters
    ----------
    lm
        The LM.
    max_texts, max_bytes
        Bounds of the cache; 0 texts turn it off.
    """

    def __init__(self, lm: FrozenLM, *, max_texts: int = MAX_TEXTS, max_bytes: int = MAX_BYTES) -> None:
        self.lm = lm
        self.max_texts = max_texts
        self.max_bytes = max_bytes
        self._texts: OrderedDict[int, Session] = OrderedDict()
        self._lock = threading.Lock()

    def prefill(self, ids: Sequence[int], *, keep: bool = True) -> Prefill:
        """Compute the state after a text.

        Prefills run one after another, so that the first of several texts with a common prefix serves the others.

        Parameters
        ----------
        keep
            Whether to cache the text for later prefills.

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
        """Cache a text, which must not change afterwards."""
        croppable = session.shareable
        with self._lock:
            for key, kept in list(self._texts.items()):
                is_beginning = kept.common_prefix(session.ids) == len(kept.ids)
                if is_beginning and (croppable or len(kept.ids) == len(session.ids)):
                    del self._texts[key]  # the new text covers it
            self._texts[id(session)] = session
            while len(self._texts) > self.max_texts or self.nbytes > self.max_bytes:
                self._texts.popitem(last=False)

    def clear(self) -> None:
        """Remove all texts."""
        with self._lock:
            self._texts.clear()

    @property
    def nbytes(self) -> int:
        """Bytes of the KV caches of all cached texts."""
        return sum(kept.nbytes for kept in self._texts.values())

    def __len__(self) -> int:
        return len(self._texts)

    def _longest(self, ids: Sequence[int]) -> Session:
        """Return a session with the longest cached prefix, without the last token, whose state is computed."""
        with self._lock:
            best = max(self._texts.values(), key=lambda kept: kept.common_prefix(ids), default=None)
            shared = 0 if best is None else min(best.common_prefix(ids), len(ids) - 1)
            if best is None or shared <= 0:
                return self.lm.start()
            self._texts.move_to_end(id(best))
            session = best.fork()
        session.truncate(shared)
        return session
