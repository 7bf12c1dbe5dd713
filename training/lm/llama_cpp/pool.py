"""`CellPool`: the KV cells of one llama.cpp context, shared by all texts of an LM."""

import weakref
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from toolken.errors import BackendError
from toolken.training.lm.llama_cpp.library import clear_errors, first_error, library

if TYPE_CHECKING:
    from toolken.training.lm.llama_cpp.session import LlamaCppSession

#: Maximum of texts with cells; llama.cpp's own limit is at least 64.
MAX_TEXTS = 64
#: Maximum of tokens per decode, without and with outputs: the next-token logits of a token take 0.25 MB.
MAX_TOKENS, MAX_OUTPUTS = 512, 64
#: Pieces of at most this many tokens are decoded with outputs for all of them, which costs less than a second decode.
FEW = 8

#: Return code of `llama_decode` if there are too few free cells.
_NO_CELLS = 1


@dataclass(frozen=True)
class PoolPiece:
    """Tokens to append to a text, and virtual tokens that follow it until they have been computed.

    Attributes
    ----------
    session
        The text.
    ids
        The tokens.
    wanted
        Number of states to return: those of the last tokens, or of the last virtual tokens.
    virtual
        Input embeddings `(k, e)`, if any.
    """

    session: "LlamaCppSession"
    ids: Sequence[int]
    wanted: int = 1
    virtual: torch.Tensor | None = None

    @property
    def length(self) -> int:
        """Number of cells that the text needs for the piece."""
        return len(self.session.ids) + len(self.ids) + (0 if self.virtual is None else len(self.virtual))


@dataclass(frozen=True)
class _Token:
    """A token of a decode, with its position, its text, its piece, and whether its state is returned.

    Its input is its id, or an input embedding `(e,) float32`.
    """

    input: "int | np.ndarray[Any, Any]"
    position: int
    text: int
    piece: int
    wanted: bool


class CellPool:
    """The KV cells of one llama.cpp context.

    Each text with cells is a sequence of the context. Forks share cells, and a decode extends any number of texts. If
    cells run out, the least recently used text loses its cells and is recomputed at its next feed, so the number of
    cells bounds the memory.

    Callers hold the LM's lock, except for `release`. A decode uses as many threads as torch.

    Parameters
    ----------
    model
        llama.cpp's model, which is freed with the pool.
    cells
        Number of KV cells, one per token.
    hidden_size, vocab_size
        The LM's sizes d and V.
    embedding_size
        Width e of input embeddings.

    Raises
    ------
    BackendError
        If llama.cpp cannot create the context, for instance for lack of memory.
    """

    def __init__(self, model: Any, cells: int, hidden_size: int, vocab_size: int, embedding_size: int) -> None:
        self.cells = cells
        self._embedding_size = embedding_size
        self._hidden_size, self._vocab_size = hidden_size, vocab_size
        self._lib = lib = library()
        params = lib.llama_context_default_params()
        params.n_ctx = cells
        params.n_batch = params.n_ubatch = min(MAX_TOKENS, cells)
        params.n_seq_max = MAX_TEXTS
        # Space for the next-token logits of `MAX_OUTPUTS` tokens, not of a whole batch.
        params.n_outputs_max = max(MAX_OUTPUTS, MAX_TEXTS)
        params.n_threads = params.n_threads_batch = self._threads = torch.get_num_threads()
        params.embeddings = True
        params.pooling_type = lib.LLAMA_POOLING_TYPE_NONE
        params.kv_unified = True
        # Layers with sliding windows keep all cells, so that texts can be truncated.
        params.swa_full = True
        params.no_perf = True
        clear_errors()
        self._context = lib.llama_init_from_model(model, params)
        if not self._context:
            lib.llama_model_free(model)
            raise BackendError(f"llama.cpp could not allocate a context of {cells} tokens: {first_error()}.")
        # A batch takes either token ids or input embeddings.
        self._batch = lib.llama_batch_init(MAX_TOKENS, 0, 1)
        self._virtual_batch = lib.llama_batch_init(MAX_TOKENS, embedding_size, 1)
        weakref.finalize(self, _free, lib, (self._batch, self._virtual_batch), self._context, model)
        self._memory = lib.llama_get_memory(self._context)
        self._embeddings = True
        #: The texts with cells by sequence, the least recently used one first.
        self._texts: OrderedDict[int, weakref.ref[LlamaCppSession]] = OrderedDict()
        self._vacant = list(range(MAX_TEXTS - 1, -1, -1))
        self._released: deque[int] = deque()

    def run(self, pieces: Sequence[PoolPiece]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Append tokens to texts, in as few decodes as possible; virtual tokens are removed again.

        Returns
        -------
        states
            For each piece, hidden states `(wanted, d) float32` and next-token logits `(wanted, V) float32`.

        Raises
        ------
        BackendError
            If llama.cpp fails; the texts lose their cells and are recomputed at their next feed.
        """
        needed = sum(piece.length for piece in pieces)
        if len(pieces) > 1 and (needed > self.cells or len(pieces) > MAX_TEXTS // 2):
            half = len(pieces) // 2
            return [*self.run(pieces[:half]), *self.run(pieces[half:])]
        try:
            return self._run(pieces)
        except BaseException:
            # Any part of the tokens may have been decoded.
            for piece in pieces:
                self.drop(piece.session)
            raise

    def fork(self, session: "LlamaCppSession", twin: "LlamaCppSession") -> None:
        """Let a text without cells share all cells of another."""
        if session.sequence is not None:
            self._admit(session, ())
            own = self._admit(twin, (session.sequence,))
            self._lib.llama_memory_seq_cp(self._memory, session.sequence, own, -1, -1)

    def truncate(self, session: "LlamaCppSession", length: int) -> bool:
        """Free the cells of a text from a length on; return False if only all of its cells could be freed."""
        if session.sequence is None:
            return False
        if length > 0 and self._lib.llama_memory_seq_rm(self._memory, session.sequence, length, -1):
            return True
        self.drop(session)
        return False

    def drop(self, session: "LlamaCppSession") -> None:
        """Free all cells of a text."""
        if session.sequence is not None:
            self._evict(session.sequence)

    def release(self, sequence: int) -> None:
        """Record that the text of a sequence is garbage collected; any thread may call this at any time."""
        self._released.append(sequence)

    def _run(self, pieces: Sequence[PoolPiece]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        threads = torch.get_num_threads()
        if threads != self._threads:
            self._lib.llama_set_n_threads(self._context, threads, threads)
            self._threads = threads
        busy: list[int] = []
        for piece in pieces:
            busy.append(self._admit(piece.session, busy))
        texts = _Queue()
        virtual = _Queue()
        for number, (piece, sequence) in enumerate(zip(pieces, busy, strict=True)):
            pending, begin = piece.session.pending(piece.ids), piece.session.cached
            texts.add(pending, begin, sequence, number, piece.wanted if piece.virtual is None else 0)
            if piece.virtual is not None:
                vectors = list(piece.virtual.detach().float().cpu().numpy())
                virtual.add(vectors, begin + len(pending), sequence, number, piece.wanted)
        hidden = [torch.empty(piece.wanted, self._hidden_size) for piece in pieces]
        logits = [torch.empty(piece.wanted, self._vocab_size) for piece in pieces]
        written = [0] * len(pieces)
        for queue in (texts, virtual):
            for begin in range(0, len(queue.silent), MAX_TOKENS):
                self._decode(queue.silent[begin : begin + MAX_TOKENS], busy, outputs=False)
            for begin in range(0, len(queue.spoken), MAX_OUTPUTS):
                tokens = queue.spoken[begin : begin + MAX_OUTPUTS]
                self._decode(tokens, busy, outputs=True)
                for at, one in enumerate(tokens):
                    if one.wanted:
                        row = written[one.piece]
                        written[one.piece] += 1
                        hidden[one.piece][row] = self._output(self._lib.llama_get_embeddings_ith, at, self._hidden_size)
                        logits[one.piece][row] = self._output(self._lib.llama_get_logits_ith, at, self._vocab_size)
        for piece in pieces:
            piece.session.appended(piece.ids)
            if piece.virtual is not None:
                self.truncate(piece.session, len(piece.session.ids))
        return list(zip(hidden, logits, strict=True))

    def _output(self, get: Any, at: int, size: int) -> torch.Tensor:
        """Return a view of llama.cpp's output for a token of the last decode."""
        pointer = get(self._context, at)
        if not pointer:
            raise BackendError("llama.cpp gave no output for a token: the file may be of an embedding model.")
        return torch.from_numpy(np.ctypeslib.as_array(pointer, (size,)))

    def _decode(self, tokens: Sequence[_Token], busy: Sequence[int], *, outputs: bool) -> None:
        """Decode tokens; if cells run out, texts that are not busy lose theirs."""
        if outputs != self._embeddings:
            # With embeddings on, llama.cpp computes outputs for every token.
            self._lib.llama_set_embeddings(self._context, outputs)
            self._embeddings = outputs
        are_ids = isinstance(tokens[0].input, int)
        batch = self._batch if are_ids else self._virtual_batch
        batch.n_tokens = len(tokens)
        if not are_ids:
            rows = np.ctypeslib.as_array(batch.embd, (len(tokens), self._embedding_size))
            rows[:] = np.stack([token.input for token in tokens])
        for at, token in enumerate(tokens):
            if are_ids:
                batch.token[at] = token.input
            batch.pos[at] = token.position
            batch.n_seq_id[at] = 1
            batch.seq_id[at][0] = token.text
            batch.logits[at] = outputs
        clear_errors()
        while (code := self._lib.llama_decode(self._context, batch)) == _NO_CELLS:
            idle = next((sequence for sequence in self._texts if sequence not in busy), None)
            if idle is None:
                break
            self._evict(idle)
        if code != 0:
            raise BackendError(f"llama.cpp could not decode {len(tokens)} tokens (code {code}): {first_error()}.")

    def _admit(self, session: "LlamaCppSession", busy: Sequence[int]) -> int:
        """Return the sequence of a text, and assign one if it has none; busy sequences are not evicted."""
        while self._released:
            sequence = self._released.popleft()
            reference = self._texts.get(sequence)
            # The sequence may have been evicted and assigned to another text since.
            if reference is not None and reference() is None:
                self._evict(sequence)
        if session.sequence is None:
            if not self._vacant:
                self._evict(next(sequence for sequence in self._texts if sequence not in busy))
            session.assign(self._vacant.pop())
            assert session.sequence is not None
            self._texts[session.sequence] = weakref.ref(session)
        self._texts.move_to_end(session.sequence)
        return session.sequence

    def _evict(self, sequence: int) -> None:
        reference = self._texts.pop(sequence, None)
        if reference is None:
            return
        self._lib.llama_memory_seq_rm(self._memory, sequence, -1, -1)
        self._vacant.append(sequence)
        session = reference()
        if session is not None:
            session.mark_evicted()


class _Queue:
    """Tokens to decode, without outputs and with outputs."""

    def __init__(self) -> None:
        self.silent: list[_Token] = []
        self.spoken: list[_Token] = []

    def add(self, inputs: Sequence[Any], begin: int, text: int, piece: int, wanted: int) -> None:
        """Add the tokens of a piece; the states of the last `wanted` ones are asked for."""
        few = wanted > 0 and len(inputs) <= FEW
        for at, one in enumerate(inputs):
            token = _Token(one, begin + at, text, piece, at >= len(inputs) - wanted)
            (self.spoken if few or token.wanted else self.silent).append(token)


def _free(lib: Any, batches: Sequence[Any], context: Any, model: Any) -> None:
    for batch in batches:
        lib.llama_batch_free(batch)
    lib.llama_free(context)
    lib.llama_model_free(model)
