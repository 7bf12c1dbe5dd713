"""`TensorBatch`: batched decoding, in which one forward pass extends several texts."""

import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers.cache_utils import DynamicLayer

from toolken.training.lm.frozen import FrozenLM
from toolken.training.lm.pytorch.session import TensorSession, new_cache
from toolken.training.lm.session import Batch, State

#: Largest number of new tokens per text for batched decoding. A longer prefill uses the processor fully, and the other
#: texts would be padded to its length.
MAX_PIECE = 16
#: Columns of the KV cache that are allocated ahead.
SPARE = 64


class TensorBatch(Batch[TensorSession]):
    """Texts whose KV caches are the rows of one cache, so that one forward pass extends all of them.

    A text enters at its first `feed`, and takes its cache back when it is used alone. All rows grow by the same number
    of columns. The attention mask hides the columns of a text that has fewer new tokens.

    Parameters
    ----------
    lm
        The LM of all the texts.
    batched
        Whether one forward pass may extend several texts; if not, each is fed alone.
    """

    def __init__(self, lm: FrozenLM, *, batched: bool = True) -> None:
        self.lm = lm
        self._batched = batched
        # A text whose cache is here refers to the batch. References back would keep both, with all their tensors, until
        # Python's cycle collector runs.
        self._rows: list[weakref.ref[TensorSession] | None] = []
        self._cache: Any = None
        #: Which columns hold a token of their row, `(rows, columns) bool`; not a tensor, so that no decision about rows
        #: waits for the LM's device.
        self._filled = np.zeros((0, 0), dtype=bool)

    def feed(self, pieces: Sequence[tuple[TensorSession, Sequence[int]]]) -> list[State]:
        for session, ids in pieces:
            session.check_room(len(ids))
        with self.lm.lock:
            together = [at for at, (session, ids) in enumerate(pieces) if self._batched and _is_short(session, ids)]
            states: dict[int, State] = {}
            if len(together) > 1:
                fed = self._feed_rows([pieces[at] for at in together])
                states.update(zip(together, fed, strict=True))
            for at, (session, ids) in enumerate(pieces):
                if at not in states:
                    states[at] = session.feed(ids)
        return [states[at] for at in range(len(pieces))]

    def probe(self, pieces: Sequence[tuple[TensorSession, torch.Tensor]]) -> list[State]:
        for session, virtual in pieces:
            session.check_probe(virtual)
        with self.lm.lock:
            together = [
                at
                for at, (session, virtual) in enumerate(pieces)
                if self._batched and session.begun and not session.pending(()) and len(virtual) <= MAX_PIECE
            ]
            states: dict[int, State] = {}
            if len(together) > 1:
                probed = self._probe_rows([pieces[at] for at in together])
                states.update(zip(together, probed, strict=True))
            for at, (session, virtual) in enumerate(pieces):
                if at not in states:
                    states[at] = session.probe(virtual)
        return [states[at] for at in range(len(pieces))]

    def give_back(self, session: TensorSession) -> Any:
        """Return the KV cache of one text and free its row."""
        with self.lm.lock:
            row = self._sessions().index(session)
            self._rows[row] = None
            columns = torch.tensor(np.flatnonzero(self._filled[row]).tolist(), dtype=torch.long)
            cache = new_cache(self.lm)
            for own, layer in zip(cache.layers, self._cache.layers, strict=True):
                columns = columns.to(layer.keys.device)
                own.update(
                    layer.keys[row : row + 1].index_select(2, columns),
                    layer.values[row : row + 1].index_select(2, columns),
                )
            if all(one is None for one in self._sessions()):
                self._rows, self._cache = [], None
            return cache

    def _sessions(self) -> list[TensorSession | None]:
        """Return the text of each row, or None for a free row."""
        return [row() if row is not None else None for row in self._rows]

    def _feed_rows(self, pieces: Sequence[tuple[TensorSession, Sequence[int]]]) -> list[State]:
        rows = self._place([session for session, _ in pieces])
        pending = [session.pending(ids) for session, ids in pieces]
        width = max(len(ids) for ids in pending)
        tokens = torch.zeros(len(self._rows), width, dtype=torch.long)
        for row, new in zip(rows, pending, strict=True):
            tokens[row, width - len(new) :] = torch.tensor(new)
        mask, options = self._columns(rows, [len(new) for new in pending])
        try:
            hidden, logits = self.lm.forward(tokens, torch.tensor([row * width + width - 1 for row in rows]), **options)
        except BaseException:
            # Some layers may have grown and others not, so the next feed of each text recomputes its cache.
            for one in self._sessions():
                if one is not None:
                    one.lost()
            self._rows, self._cache = [], None
            raise
        self._filled = mask
        for session, ids in pieces:
            session.appended(ids)
        return [(hidden[at].float(), logits[at].float()) for at in range(len(pieces))]

    def _probe_rows(self, pieces: Sequence[tuple[TensorSession, torch.Tensor]]) -> list[State]:
        rows = self._place([session for session, _ in pieces])
        width = max(len(virtual) for _, virtual in pieces)
        embeddings = torch.zeros(len(self._rows), width, self.lm.embedding_size, device=self.lm.device)
        for row, (_, virtual) in zip(rows, pieces, strict=True):
            embeddings[row, width - len(virtual) :] = virtual.detach().to(embeddings.device)
        _, options = self._columns(rows, [len(virtual) for _, virtual in pieces])
        length = self._filled.shape[1]
        try:
            hidden, logits = self.lm.forward(
                None, torch.tensor([row * width + width - 1 for row in rows]), embeddings=embeddings, **options
            )
        finally:
            for layer in self._cache.layers:
                layer.rewind(length)
        return [(hidden[at].float(), logits[at].float()) for at in range(len(pieces))]

    def _columns(self, rows: Sequence[int], counts: Sequence[int]) -> tuple[np.ndarray[Any, Any], dict[str, Any]]:
        """Return which columns hold a token once rows have grown, and the arguments of the forward pass."""
        width = max(counts)
        filled = np.zeros((len(self._rows), width), dtype=bool)
        for row, count in zip(rows, counts, strict=True):
            filled[row, width - count :] = True
        before = self._filled.sum(axis=1, keepdims=True)
        positions = np.maximum(before + filled.cumsum(axis=1) - 1, 0)
        mask = np.concatenate([self._filled, filled], axis=1)
        device = self.lm.device
        return mask, {
            "attention_mask": torch.tensor(mask, dtype=torch.long).to(device),
            "position_ids": torch.tensor(positions, dtype=torch.long).to(device),
            "past_key_values": self._cache,
            "use_cache": True,
        }

    def _place(self, sessions: Sequence[TensorSession]) -> list[int]:
        """Give each text a row, and return the rows."""
        mine = self._sessions()
        newcomers = [session for session in sessions if session not in mine]
        if self._fits(sessions, newcomers):
            self._enter(newcomers)
        else:
            self._assemble(sessions)
        known = self._sessions()
        return [known.index(session) for session in sessions]

    def _fits(self, sessions: Sequence[TensorSession], newcomers: Sequence[TensorSession]) -> bool:
        """Return whether the rows can be kept: free rows take the new texts, and few rows and columns are unused."""
        columns = self._filled.shape[1]
        lengths = [one.cached for one in newcomers]
        if len(lengths) > self._sessions().count(None) or max(lengths, default=0) > columns:
            return False
        longest = max([*lengths, *self._filled.sum(axis=1).tolist()], default=0)
        return 2 * len(sessions) >= len(self._rows) and columns <= 2 * longest + SPARE

    def _enter(self, newcomers: Sequence[TensorSession]) -> None:
        """Put texts into free rows, so that the other rows need not be copied."""
        free = [row for row, one in enumerate(self._sessions()) if one is None]
        for row, session in zip(free, newcomers, strict=False):
            cache = session.lend(self)
            for layer, own in zip(self._cache.layers, cache.layers, strict=True):
                layer.put(row, own)
            length = cache.get_seq_length()
            self._filled[row] = np.arange(self._filled.shape[1]) >= self._filled.shape[1] - length
            self._rows[row] = weakref.ref(session)

    def _assemble(self, sessions: Sequence[TensorSession]) -> None:
        """Build new rows from these texts, each right-aligned."""
        # Rows of texts that stay are copied too: that is cheap, and happens only when texts enter or leave.
        for one in self._sessions():
            if one is not None:
                one.come_home()
        caches = [session.lend(self) for session in sessions]
        lengths = [cache.get_seq_length() for cache in caches]
        longest = max(lengths)
        self._rows = [weakref.ref(session) for session in sessions]
        self._filled = np.zeros((len(sessions), longest), dtype=bool)
        for row, length in enumerate(lengths):
            self._filled[row, longest - length :] = True
        self._cache = new_cache(self.lm)
        self._cache.layers = [
            _SpaciousLayer([cache.layers[at] for cache in caches], longest) for at in range(len(caches[0].layers))
        ]


class _SpaciousLayer(DynamicLayer):
    """Keys and values of a layer with spare columns, so that a step copies only its new tokens."""

    def __init__(self, layers: Sequence[Any], longest: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        first = layers[0].keys
        _, heads, _, size = first.shape
        self._length = longest
        shape = (len(layers), heads, longest + SPARE, size)
        self._keys, self._values = first.new_zeros(shape), first.new_zeros(shape[:-1] + layers[0].values.shape[-1:])
        for row, layer in enumerate(layers):
            self.put(row, layer)
        self.dtype, self.device, self.is_initialized = first.dtype, first.device, True
        self._show()

    def update(self, key_states: Any, value_states: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        end = self._length + key_states.shape[-2]
        if end > self._keys.shape[2]:
            more = (*self._keys.shape[:2], end - self._keys.shape[2] + SPARE)
            self._keys = torch.cat([self._keys, self._keys.new_zeros(*more, self._keys.shape[3])], dim=2)
            self._values = torch.cat([self._values, self._values.new_zeros(*more, self._values.shape[3])], dim=2)
        self._keys[:, :, self._length : end] = key_states
        self._values[:, :, self._length : end] = value_states
        self._length = end
        self._show()
        return self.keys, self.values

    def rewind(self, length: int) -> None:
        """Remove all columns after the first `length`; their memory stays for later tokens."""
        self._length = length
        self._show()

    def put(self, row: int, layer: Any) -> None:
        """Copy a text's keys and values into the last columns of a row."""
        first = self._length - layer.keys.shape[2]
        self._keys[row, :, first : self._length] = layer.keys[0]
        self._values[row, :, first : self._length] = layer.values[0]

    def _show(self) -> None:
        self.keys = self._keys[:, :, : self._length]
        self.values = self._values[:, :, : self._length]


def _is_short(session: TensorSession, ids: Sequence[int]) -> bool:
    """Return whether batched decoding takes a piece: its text has a KV cache, and few tokens are new."""
    return session.begun and 0 < len(session.pending(ids)) <= MAX_PIECE
