"""`TensorNetwork`: a network that runs on torch."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch

from toolken.training.lm.network import Network, shared_prefix
from toolken.training.lm.pytorch.cache_support import CacheSupport
from toolken.training.lm.session import Batch, Session
from toolken.training.lm.states import States

if TYPE_CHECKING:
    from toolken.training.lm.frozen import FrozenLM

#: Tokens (padding included) of one batch of the feature pass. On CPUs, the activations of a layer for twice as many do
#: not fit a core's cache, which costs a tenth more per token, and half as many make the matrix products too small.
CPU_BATCH_TOKENS = 512
#: The same on accelerators, which small batches leave idle: as many as a prefill of a long prompt has.
ACCELERATOR_BATCH_TOKENS = 4096
#: Rows of next-token logits that are converted to float32 at a time.
LOGIT_ROWS = 256
#: Least number of leading tokens common to all texts for which the KV cache is computed once and shared.
MIN_SHARED = 12


class TensorNetwork(Network):
    """A network whose forward pass takes and returns tensors, with transformers' KV cache.

    Attributes
    ----------
    output_matrix
        Matrix `(V, d)` that turns hidden states into next-token logits.
    """

    @property
    @abstractmethod
    def output_matrix(self) -> torch.Tensor: ...

    @abstractmethod
    def forward(
        self,
        ids: torch.Tensor,
        select: torch.Tensor,
        *,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Any = None,
        use_cache: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return hidden states after the final norm `(P, d)` and next-token logits `(P, V)` at chosen positions.

        Parameters
        ----------
        ids
            Token ids `(B, T)`.
        select
            Positions `(P,)` in the flattened `(B * T)`.
        attention_mask
            `(B, C + T)`, 0 where a column, cached or new, holds no token.
        position_ids
            `(B, T)` or `(1, T)`; by default they follow those that are cached.
        past_key_values
            transformers' KV cache of C tokens, which grows by T.
        use_cache
            Whether a cache is given.
        """

    @property
    def number_format(self) -> str:
        return str(self.dtype).removeprefix("torch.")

    @property
    def hidden_size(self) -> int:
        return self.output_matrix.shape[1]

    @property
    def vocab_size(self) -> int:
        return self.output_matrix.shape[0]

    @property
    def weight_bytes(self) -> int:
        return sum(weight.nbytes for _, weight in self.named_weights())

    def continuation(self, _lm: "FrozenLM") -> CacheSupport:
        """Return what the network can do with its KV cache; here everything, as the project's own networks can."""
        return CacheSupport()

    def start(self, lm: "FrozenLM") -> Session:
        # The session's module needs transformers, which an import of the LM does not wait for.
        from toolken.training.lm.pytorch.session import TensorSession

        self.continuation(lm).require(lm)
        return TensorSession(lm)

    def start_batch(self, lm: "FrozenLM") -> Batch[Any]:
        from toolken.training.lm.pytorch.batch import TensorBatch

        return TensorBatch(lm, batched=self.continuation(lm).batched)

    def states(
        self,
        lm: "FrozenLM",
        sequences: Sequence[Sequence[int]],
        positions: Sequence[Sequence[int]],
        advance: Callable[[int], None] | None,
    ) -> Iterator[tuple[int, States]]:
        from toolken.training.lm.pytorch.session import TensorSession

        shared = shared_prefix(sequences, positions)
        prefix = TensorSession(lm)
        if shared >= MIN_SHARED and not self.continuation(lm).fault:
            prefix.feed(sequences[0][:shared])
        if not prefix.shareable:
            shared = 0
        most = CPU_BATCH_TOKENS if self.device.type == "cpu" else ACCELERATOR_BATCH_TOKENS
        for batch in _batches([len(s) - shared for s in sequences], most):
            longest = max(len(sequences[i]) for i in batch) - shared
            # Padding stands to the right, where causal attention never looks: no mask is needed.
            padded = torch.zeros(len(batch), longest, dtype=torch.long)
            flat: list[int] = []
            for row, index in enumerate(batch):
                own = sequences[index][shared:]
                padded[row, : len(own)] = torch.tensor(own, dtype=torch.long)
                flat.extend(row * longest + p - shared for p in positions[index])
            select = torch.tensor(flat, dtype=torch.long)
            states = _states(lm, padded, select, prefix.repeated(len(batch)) if shared else None) if flat else None
            at = 0
            for index in batch:
                count = len(positions[index])
                if states is not None and count:
                    yield index, States(states.hidden[at : at + count], states.logsumexp[at : at + count])
                at += count
            if advance is not None:
                advance(len(batch))


@torch.no_grad()
def _states(lm: "FrozenLM", ids: torch.Tensor, select: torch.Tensor, prefix: Any) -> States:
    options = {"use_cache": False} if prefix is None else {"use_cache": True, "past_key_values": prefix}
    hidden, logits = lm.forward(ids, select, **options)
    sums = [torch.logsumexp(rows.float(), dim=-1) for rows in logits.split(LOGIT_ROWS)]
    return States(hidden.float(), torch.cat(sums))


def _batches(lengths: Sequence[int], most: int) -> Iterator[list[int]]:
    """Yield lists of indices of similar length whose padded size is at most `most` tokens."""
    order = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
    batch: list[int] = []
    for index in order:
        if batch and (len(batch) + 1) * lengths[index] > most:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
