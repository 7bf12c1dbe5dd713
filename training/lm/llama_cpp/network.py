"""`LlamaCpp`: the network of a GGUF file, run by llama.cpp."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from toolken.errors import BackendError, LMNotFoundError
from toolken.training.lm.cache_files import in_cache, save_to_cache
from toolken.training.lm.checkpoint import LoadOptions, load_model
from toolken.training.lm.embedded import cache_folder
from toolken.training.lm.fingerprint import computing_settings
from toolken.training.lm.llama_cpp.library import clear_errors, first_error, library
from toolken.training.lm.llama_cpp.pool import MAX_OUTPUTS, MAX_TEXTS, MAX_TOKENS, CellPool, PoolPiece
from toolken.training.lm.llama_cpp.session import LlamaCppBatch, LlamaCppSession
from toolken.training.lm.network import Network, shared_prefix
from toolken.training.lm.session import Batch, Session
from toolken.training.lm.states import States

if TYPE_CHECKING:
    from toolken.training.lm.frozen import FrozenLM

#: Maximum of bytes of all KV cells, which may be exceeded for the context of one text, and the minimum of cells.
POOL_BYTES, MIN_CELLS = 512 * 2**20, 4096
#: Number of samples of a file that its cache key covers, and the bytes of each.
SAMPLES, SAMPLE_BYTES = 256, 4096


class LlamaCpp(Network):
    """A causal LM in a GGUF file, run on the CPU with the file's own quantisation.

    Hidden states are llama.cpp's embeddings without pooling: the states after the final norm. They differ from those of
    transformers by llama.cpp's rounding of activations, keys and values.

    Parameters
    ----------
    path
        The file.
    config
        The file's configuration as transformers reads it.
    name
        Name of the LM in messages.

    Raises
    ------
    LMNotFoundError
        If llama.cpp cannot load it, or it is not a causal LM.
    BackendError
        If llama.cpp is not installed, or cannot allocate the KV cells.
    """

    def __init__(self, path: Path, config: Any, name: str) -> None:
        self._config = config
        self.path = path
        lib = library()
        params = lib.llama_model_default_params()
        params.n_gpu_layers = 0
        clear_errors()
        model = lib.llama_model_load_from_file(str(path).encode(), params)
        if not model:
            raise LMNotFoundError(f"llama.cpp cannot load the GGUF file {name!r}: {first_error()}.")
        if not lib.llama_model_has_decoder(model) or lib.llama_model_has_encoder(model):
            lib.llama_model_free(model)
            raise LMNotFoundError(f"The GGUF file {name!r} is not a causal LM: name one that is.")
        self._weight_bytes: int = lib.llama_model_size(model)
        vocabulary = lib.llama_model_get_vocab(model)
        self._hidden_size: int = lib.llama_model_n_embd(model)
        self._vocab_size: int = lib.llama_vocab_n_tokens(vocabulary)
        self._end_ids = [i for i in range(self._vocab_size) if lib.llama_vocab_is_eog(vocabulary, i)]
        # Recurrent layers keep only their last state, so they cannot be truncated.
        self._croppable = not (lib.llama_model_is_recurrent(model) or lib.llama_model_is_hybrid(model))
        # Keys and values of every layer in 16 bits.
        head_size = getattr(config, "head_dim", None) or self._hidden_size // lib.llama_model_n_head(model)
        self._cell_bytes = 4 * lib.llama_model_n_layer(model) * lib.llama_model_n_head_kv(model) * head_size
        trained = lib.llama_model_n_ctx_train(model)
        # Two texts of full length if memory allows, at least one; llama.cpp allocates cells in steps of 256.
        cells = max(min(2 * trained, POOL_BYTES // self._cell_bytes), min(trained, MIN_CELLS))
        self.max_tokens = cells = 256 * -(-cells // 256)
        self._embedding_size: int = lib.llama_model_n_embd_inp(model)
        self._pool = CellPool(model, cells, self._hidden_size, self._vocab_size, self._embedding_size)

    @property
    def config(self) -> Any:
        return self._config

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    @property
    def dtype(self) -> torch.dtype:
        return torch.float32

    @property
    def number_format(self) -> str:
        return "llama.cpp"

    @property
    def hidden_size(self) -> int:
        return self._hidden_size

    @property
    def vocab_size(self) -> int:
        return self._vocab_size

    @property
    def embedding_size(self) -> int:
        return self._embedding_size

    @property
    def end_ids(self) -> Any:
        return self._end_ids

    @property
    def weight_bytes(self) -> int:
        return self._weight_bytes

    def embed(self, ids: Sequence[int]) -> torch.Tensor:
        from gguf.quants import dequantize

        if not ids:
            return torch.empty(0, self._embedding_size)
        tensor = self._embedding_tensor
        embeddings = torch.tensor(dequantize(tensor.data[list(ids)], tensor.tensor_type), dtype=torch.float32)
        # llama.cpp scales the embeddings of these models' tokens, and not input embeddings.
        scaled = str(self.config.model_type).startswith("gemma3")
        return embeddings * self._embedding_size**0.5 if scaled else embeddings

    @cached_property
    def _embedding_tensor(self) -> Any:
        """The file's tensor of input embeddings, mapped into memory."""
        from gguf import GGUFReader

        tensors = {tensor.name: tensor for tensor in GGUFReader(self.path).tensors}
        if "token_embd.weight" not in tensors:
            raise BackendError(f"The GGUF file {str(self.path)!r} has no input embeddings: name another one.")
        return tensors["token_embd.weight"]

    def named_weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield the file's dequantised weights, all of which transformers holds in memory meanwhile."""
        model = load_model(self.path.parent, LoadOptions(dtype=torch.bfloat16), gguf_file=self.path.name)
        yield from model.named_parameters()

    def fingerprint(self, tokenizer: Any) -> str:
        # The fingerprint covers the dequantised weights, as for any LM. Computing it takes long, so it is cached.
        path = cache_folder() / "fingerprints" / f"{self._fingerprint_key(tokenizer)}.txt"
        if in_cache(path):
            return path.read_text(encoding="ascii").strip()
        computed = super().fingerprint(tokenizer)
        save_to_cache(path, computed.encode())
        return computed

    def _fingerprint_key(self, tokenizer: Any) -> str:
        """Return a digest of the settings, the tokenizer, the file's size and evenly spaced samples of its bytes."""
        digest = hashlib.sha256(json.dumps(computing_settings(self.config), sort_keys=True).encode())
        digest.update(tokenizer.backend_tokenizer.to_str().encode())
        size = self.path.stat().st_size
        digest.update(str(size).encode())
        with self.path.open("rb") as file:
            for at in range(0, size, max(size // SAMPLES, SAMPLE_BYTES)):
                file.seek(at)
                digest.update(file.read(SAMPLE_BYTES))
        return digest.hexdigest()[:32]

    def start(self, lm: "FrozenLM") -> Session:
        return LlamaCppSession(lm, self._pool, self._cell_bytes, croppable=self._croppable)

    def start_batch(self, lm: "FrozenLM") -> Batch[Any]:
        return LlamaCppBatch(lm, self._pool)

    def states(
        self,
        lm: "FrozenLM",
        sequences: Sequence[Sequence[int]],
        positions: Sequence[Sequence[int]],
        advance: Callable[[int], None] | None,
    ) -> Iterator[tuple[int, States]]:
        shared = shared_prefix(sequences, positions)
        prefix = self.start(lm)
        if shared:
            prefix.feed(sequences[0][:shared])
        for group in _groups([len(ids) - shared for ids in sequences], positions):
            wanted = [at for at in group if positions[at]]
            # Each text is read up to its last position.
            ends = [max(positions[at]) + 1 for at in wanted]
            firsts = [min(positions[at]) for at in wanted]
            with lm.lock:
                pieces = []
                for at, first, end in zip(wanted, firsts, ends, strict=True):
                    session = prefix.fork()
                    assert isinstance(session, LlamaCppSession)
                    pieces.append(PoolPiece(session, sequences[at][shared:end], end - first))
                found = self._pool.run(pieces)
            for at, first, (hidden, logits) in zip(wanted, firsts, found, strict=True):
                offsets = [position - first for position in positions[at]]
                yield at, States(hidden[offsets], torch.logsumexp(logits[offsets], dim=-1))
            if advance is not None:
                advance(len(group))

    def virtual_states(
        self,
        lm: "FrozenLM",
        sequences: Sequence[Sequence[int]],
        virtual: torch.Tensor,
        advance: Callable[[int], None] | None,
    ) -> Iterator[tuple[int, torch.Tensor]]:
        ends = [[len(ids)] for ids in sequences]
        shared = shared_prefix(sequences, ends)
        prefix = self.start(lm)
        if shared:
            prefix.feed(sequences[0][:shared])
        for group in _groups([len(ids) - shared + len(virtual) for ids in sequences], ends):
            with lm.lock:
                pieces = []
                for at in group:
                    session = prefix.fork()
                    assert isinstance(session, LlamaCppSession)
                    pieces.append(PoolPiece(session, sequences[at][shared:], virtual=virtual))
                found = self._pool.run(pieces)
            for at, (hidden, _) in zip(group, found, strict=True):
                yield at, hidden[0]
            if advance is not None:
                advance(len(group))


def _groups(lengths: Sequence[int], positions: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """Yield the indices of the texts of each forward pass, given their numbers of tokens."""
    group: list[int] = []
    tokens = outputs = 0
    for at, wanted in enumerate(positions):
        own = lengths[at]
        needed = max(wanted) + 1 - min(wanted) if wanted else 0
        full = len(group) >= MAX_TEXTS // 2 or tokens + own > MAX_TOKENS or outputs + needed > 2 * MAX_OUTPUTS
        if group and full:
            yield group
            group, tokens, outputs = [], 0, 0
        group.append(at)
        tokens, outputs = tokens + own, outputs + needed
    if group:
        yield group
