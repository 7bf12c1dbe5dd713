"""`LlamaCppSession`: a text with its KV cells in a `CellPool`; `LlamaCppBatch`: batched decoding of such texts."""

import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from toolken.training.lm.llama_cpp.pool import CellPool, PoolPiece
from toolken.training.lm.session import Batch, Session, State

if TYPE_CHECKING:
    from toolken.training.lm.frozen import FrozenLM


class LlamaCppSession(Session):
    """The tokens of one text, with keys and values in the cells of a pool.

    Attributes
    ----------
    sequence
        llama.cpp's number of the text's sequence; None while the text has no cells.
    pool
        The pool.
    """

    def __init__(self, lm: "FrozenLM", pool: CellPool, cell_bytes: int, *, croppable: bool) -> None:
        super().__init__(lm)
        self.sequence: int | None = None
        self.pool = pool
        self._cell_bytes = cell_bytes
        self._croppable = croppable
        self._finalizer: weakref.finalize[[int], LlamaCppSession] | None = None

    def feed(self, ids: Sequence[int]) -> State:
        self.check_feed(ids)
        with self.lm.lock:
            ((hidden, logits),) = self.pool.run([PoolPiece(self, ids)])
        return hidden[0], logits[0]

    def probe(self, virtual: torch.Tensor) -> State:
        self.check_probe(virtual)
        with self.lm.lock:
            ((hidden, logits),) = self.pool.run([self.probed(virtual)])
        return hidden[0], logits[0]

    def probed(self, virtual: torch.Tensor) -> PoolPiece:
        """Return the piece of a probe: of this text, or of a copy where tokens cannot be removed from the cells."""
        if self._croppable:
            return PoolPiece(self, (), virtual=virtual)
        if self.pending(()):
            self.pool.run([PoolPiece(self, ())])
        return PoolPiece(self.fork(), (), virtual=virtual)

    def truncate(self, length: int) -> None:
        with self.lm.lock:
            del self.ids[length:]
            if length < self._cached:
                self._cached = length if self.pool.truncate(self, length) else 0

    def fork(self) -> "LlamaCppSession":
        with self.lm.lock:
            twin = LlamaCppSession(self.lm, self.pool, self._cell_bytes, croppable=self._croppable)
            twin.ids = list(self.ids)
            self.pool.fork(self, twin)
            twin._cached = self._cached if twin.sequence is not None else 0
        return twin

    @property
    def shareable(self) -> bool:
        return self._croppable

    @property
    def nbytes(self) -> int:
        # Cells that forks share count for each of them.
        return self._cached * self._cell_bytes

    def assign(self, sequence: int) -> None:
        """Assign a sequence of the pool to this text; the pool reclaims it when the text is garbage collected."""
        self.sequence, self._cached = sequence, 0
        self._finalizer = weakref.finalize(self, self.pool.release, sequence)
        # At exit the pool is freed as a whole.
        self._finalizer.atexit = False

    def mark_evicted(self) -> None:
        """Record that the text has lost its cells, so that the next feed recomputes it."""
        self.sequence, self._cached = None, 0
        if self._finalizer is not None:
            self._finalizer.detach()


class LlamaCppBatch(Batch[LlamaCppSession]):
    """Texts that one decode extends; the batch has no state, since all texts share the context of their pool."""

    def __init__(self, lm: "FrozenLM", pool: CellPool) -> None:
        self._lm = lm
        self._pool = pool

    def feed(self, pieces: Sequence[tuple[LlamaCppSession, Sequence[int]]]) -> list[State]:
        for session, ids in pieces:
            session.check_feed(ids)
        with self._lm.lock:
            states = self._pool.run([PoolPiece(session, ids) for session, ids in pieces])
        return [(hidden[0], logits[0]) for hidden, logits in states]

    def probe(self, pieces: Sequence[tuple[LlamaCppSession, torch.Tensor]]) -> list[State]:
        for session, virtual in pieces:
            session.check_probe(virtual)
        with self._lm.lock:
            states = self._pool.run([session.probed(virtual) for session, virtual in pieces])
        return [(hidden[0], logits[0]) for hidden, logits in states]
