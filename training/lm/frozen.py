"""`FrozenLM`: a causal language model and its tokenizer, never trained."""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from toolken.errors import LMNotFoundError, PromptTooLongError
from toolken.training.lm.checkpoint import Network, load_checkpoint, load_embedded, transformers_twin
from toolken.training.lm.embedded import EMBEDDED
from toolken.training.lm.llama import Llama
from toolken.training.lm.network import TransformersNetwork
from toolken.training.lm.number_format import fastest_dtype

if TYPE_CHECKING:
    from toolken.training.lm.session import Session

#: Tokens (padding included) of one batch of the feature pass: enough to keep two cores busy, and the word logits of a
#: whole batch stay below half a gigabyte for a vocabulary of 50,000.
BATCH_TOKENS = 1024
#: Rows of word logits that are turned to float32 at a time.
LOGIT_ROWS = 256
#: Tokens that all texts must begin with before it pays to compute them once and share their KV cache.
MIN_SHARED = 12


@dataclass(frozen=True)
class Encoding:
    """Token ids of a text, and the character span `[start, end)` that each token covers."""

    ids: list[int]
    spans: list[tuple[int, int]]

    def last_token_before(self, offset: int) -> int:
        """Return the index of the last token that ends at or before a character offset, or -1."""
        for index in range(len(self.spans) - 1, -1, -1):
            start, end = self.spans[index]
            if end <= offset and end > start:
                return index
        return -1


@dataclass(frozen=True)
class States:
    """Hidden states at chosen positions of one text.

    `hidden` is `(P, d) float32`, after the final norm, as the output matrix sees it; `logsumexp` is `(P,) float32`,
    the log of the sum of the exponentiated word logits (natural log).
    """

    hidden: torch.Tensor
    logsumexp: torch.Tensor


class FrozenLM:
    """A causal LM and its tokenizer: hidden states, word logits, and stepping with a KV cache.

    Calls from several threads are serialised by `lock`.

    Parameters
    ----------
    model
        Any Hugging Face causal LM with output embeddings. Its parameters are set not to require gradients.
    tokenizer
        Its fast tokenizer (character offsets are needed).
    name
        How the LM is called in messages and saved heads.

    Raises
    ------
    LMNotFoundError
        If the tokenizer gives no character offsets, or the model has no output embeddings.
    """

    def __init__(self, model: Any, tokenizer: Any, name: str) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise LMNotFoundError(
                f"The tokenizer of {name} gives no character offsets: load it with a fast tokenizer (tokenizer.json)."
            )
        self._network: Network = (
            model if isinstance(model, Llama | TransformersNetwork) else TransformersNetwork(model, name)
        )
        self.tokenizer = tokenizer
        self.name = name
        self.lock = threading.RLock()

    @classmethod
    def from_pretrained(
        cls, lm: str | Path | None = None, *, dtype: torch.dtype | None = None, device: str = "cpu"
    ) -> "FrozenLM":
        """Load the embedded LM (the default), a folder, a GGUF file or a model of the Hugging Face hub.

        Parameters
        ----------
        lm
            What to load.
        dtype
            Number format of the weights; by default the one in which this machine multiplies fastest.
        device
            Where the model runs.

        Raises
        ------
        LMNotFoundError
            If `lm` is neither a folder nor a GGUF file nor a reachable hub id, or is not a causal LM.
        """
        name = EMBEDDED if lm is None or str(lm) == EMBEDDED else str(lm)
        chosen = dtype or fastest_dtype(device)
        load = load_embedded(chosen, device) if name == EMBEDDED else load_checkpoint(name, chosen, device)
        return cls(*load, name)

    @property
    def model(self) -> Any:
        """The Hugging Face model.

        The embedded LM runs without it, so it is loaded when it is first asked for, and runs from then on, with the
        same results; `config`, `dtype` and `device` are there without it.
        """
        if isinstance(network := self._network, TransformersNetwork):
            return network.model
        with self.lock:
            if isinstance(self._network, Llama):
                self._network = transformers_twin(self._network)
            return self._network.model

    @property
    def config(self) -> Any:
        """The model's configuration."""
        return self._network.config

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the weights."""
        return self._network.dtype

    @property
    def hidden_size(self) -> int:
        """Dimension d of a hidden state as the output matrix sees it."""
        return self._network.output_matrix.shape[1]

    @property
    def vocab_size(self) -> int:
        """Number of word logits."""
        return self._network.output_matrix.shape[0]

    @property
    def max_length(self) -> int:
        """Longest context in tokens; a very large number where the configuration names none."""
        for key in ("max_position_embeddings", "n_positions", "max_seq_len"):
            value = getattr(self.config, key, None)
            if isinstance(value, int) and value > 0:
                return value
        return 1 << 30

    @property
    def device(self) -> torch.device:
        """Where the model's weights are."""
        return self._network.device

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        """Token ids that end a text: the tokenizer's and the generation settings' end tokens."""
        ids = {self.tokenizer.eos_token_id, getattr(self.config, "eos_token_id", None)}
        configured = self._network.end_ids
        ids.update(configured if isinstance(configured, list) else [configured])
        return frozenset(i for i in ids if isinstance(i, int))

    @cached_property
    def fingerprint(self) -> str:
        """Hex digest of architecture, tokenizer and a sample of the weights; the same for every dtype and folder."""
        digest = hashlib.sha256()
        keys = ("model_type", "vocab_size", "hidden_size", "num_hidden_layers")
        shape = {key: getattr(self.config, key, None) for key in keys}
        digest.update(json.dumps(shape, sort_keys=True).encode())
        digest.update(self.tokenizer.backend_tokenizer.to_str().encode())
        for _, parameter in sorted(self._network.named_weights()):
            rows = parameter.detach().reshape(-1)
            sample = rows[:: max(1, rows.numel() // 64)][:64].to(torch.bfloat16).view(torch.int16)
            digest.update(sample.cpu().numpy().tobytes())
        return digest.hexdigest()[:32]

    def encode(self, text: str) -> Encoding:
        """Tokenize a text; what looks like a special token in it stays ordinary text, so no text can pose as one."""
        encoded = self.tokenizer(text, return_offsets_mapping=True, split_special_tokens=True, verbose=False)
        return Encoding(list(encoded["input_ids"]), [(int(a), int(b)) for a, b in encoded["offset_mapping"]])

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids; special tokens are left out."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def hidden_states(
        self,
        sequences: Sequence[Sequence[int]],
        positions: Sequence[Sequence[int]],
        *,
        advance: Callable[[int], None] | None = None,
    ) -> Iterator[tuple[int, States]]:
        """Run the LM once over token sequences and yield the states at the asked positions.

        Sequences are batched by length, so they come back out of order, each with its index.

        Parameters
        ----------
        sequences
            Token ids, one list a text.
        positions
            For each text the token positions whose states are wanted.
        advance
            Called after each batch with the number of sequences done in it.

        Raises
        ------
        PromptTooLongError
            If a sequence is longer than the LM's context.
        """
        for index, ids in enumerate(sequences):
            if len(ids) > self.max_length:
                raise PromptTooLongError(
                    f"Text {index} has {len(ids)} tokens, and {self.name} takes {self.max_length}: shorten it."
                )
        shared = _shared_prefix(sequences, positions)
        prefix = self.start()
        if shared >= MIN_SHARED:
            prefix.feed(sequences[0][:shared])
        if not prefix.shareable:
            shared = 0
        for batch in _batches([len(s) - shared for s in sequences]):
            longest = max(len(sequences[i]) for i in batch) - shared
            # Padding stands to the right, where causal attention never looks: no mask is needed.
            padded = torch.zeros(len(batch), longest, dtype=torch.long)
            flat: list[int] = []
            for row, index in enumerate(batch):
                own = sequences[index][shared:]
                padded[row, : len(own)] = torch.tensor(own, dtype=torch.long)
                flat.extend(row * longest + p - shared for p in positions[index])
            select = torch.tensor(flat, dtype=torch.long)
            states = self._states(padded, select, prefix.repeated(len(batch)) if shared else None) if flat else None
            at = 0
            for index in batch:
                count = len(positions[index])
                if states is not None and count:
                    yield index, States(states.hidden[at : at + count], states.logsumexp[at : at + count])
                at += count
            if advance is not None:
                advance(len(batch))

    def start(self) -> "Session":
        """Begin an empty text that is fed and extended token by token."""
        from toolken.training.lm.session import Session

        return Session(self)

    @torch.no_grad()
    def forward(self, ids: torch.Tensor, select: torch.Tensor, **options: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Run the model and return hidden states `(P, d)` and word logits `(P, V)` at flat positions `select`."""
        with self.lock:
            return self._network.forward(ids, select, **options)

    @torch.no_grad()
    def _states(self, ids: torch.Tensor, select: torch.Tensor, prefix: Any) -> States:
        options = {"use_cache": False} if prefix is None else {"use_cache": True, "past_key_values": prefix}
        hidden, logits = self.forward(ids, select, **options)
        sums = [torch.logsumexp(rows.float(), dim=-1) for rows in logits.split(LOGIT_ROWS)]
        return States(hidden.float().cpu(), torch.cat(sums).cpu())


def _shared_prefix(sequences: Sequence[Sequence[int]], positions: Sequence[Sequence[int]]) -> int:
    """Return how many leading tokens all sequences share, short of every position that is asked for."""
    if len(sequences) < 2:
        return 0
    shared = min(min((min(p) for p in positions if p), default=0), min(len(s) for s in sequences) - 1)
    first = sequences[0]
    for other in sequences[1:]:
        shared = next((i for i in range(shared) if first[i] != other[i]), shared)
    return max(shared, 0)


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Yield lists of indices of similar length whose padded size stays within `BATCH_TOKENS`."""
    order = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
    batch: list[int] = []
    for index in order:
        if batch and (len(batch) + 1) * lengths[index] > BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
