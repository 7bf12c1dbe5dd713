"""`TensorNetwork`: a network that runs on torch."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch

from toolken.training.lm.network import Network, shared_prefix
from toolken.training.lm.pytorch.cache_support import CacheSupport
from toolken.training.lm.pytorch.virtual_support import VirtualSupport
from toolken.training.lm.session import Batch, Session
from toolken.training.lm.states import States

if TYPE_CHECKING:
    from toolken.training.lm.frozen import FrozenLM
    from toolken.training.lm.pytorch.kept_texts import KeptTexts
    from toolken.training.lm.pytorch.session import TensorSession

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
    def input_embeddings(self, ids: torch.Tensor | None) -> torch.Tensor:
        """Return the input embeddings `(B, T, e)` of token ids `(B, T)`, in the format of the weights."""

    @abstractmethod
    def forward(
        self,
        ids: torch.Tensor | None,
        select: torch.Tensor,
        *,
        embeddings: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Any = None,
        use_cache: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return hidden states after the final norm `(P, d)` and next-token logits `(P, V)` at chosen positions.

        Parameters
        ----------
        ids
            Token ids `(B, T)`, or None with `embeddings`.
        select
            Positions `(P,)` in the flattened `(B * T)`.
        embeddings
            Input embeddings `(B, T, e)` in place of token ids, in any floating-point format.
        attention_mask
            `(B, C + T)`, 0 where a column, cached or new, holds no token.
        position_ids
            `(B, T)` or `(1, T)`; by default they follow those that are cached.
        past_key_values
            transformers' KV cache of C tokens, which grows by T.
        use_cache
            Whether a cache is given.
        """

    @abstractmethod
    def layer_states(
        self, embeddings: torch.Tensor, layers: Sequence[int], select: torch.Tensor
    ) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Return the states after some layers, and those after the final norm at chosen positions.

        Parameters
        ----------
        embeddings
            Input embeddings `(B, T, e)`.
        layers
            Numbers of layers: 1 is the first layer's output.
        select
            Positions `(P,)` in the flattened `(B * T)`.

        Returns
        -------
        between
            `(B, T, d')` for each layer.
        final
            `(P, d)`.
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

    def virtual_support(self, _lm: "FrozenLM") -> VirtualSupport:
        """Return what the network can do with virtual tokens; here everything, as the project's own networks can."""
        return VirtualSupport()

    @torch.no_grad()
    def embed(self, ids: Sequence[int]) -> torch.Tensor:
        return self.input_embeddings(torch.tensor([list(ids)], dtype=torch.long))[0].float()

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
        prefix = self._prefix(lm, sequences, positions)
        shared = len(prefix.ids)
        for batch in batches([len(s) - shared for s in sequences], self.device):
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

    def virtual_states(
        self,
        lm: "FrozenLM",
        sequences: Sequence[Sequence[int]],
        virtual: torch.Tensor,
        advance: Callable[[int], None] | None,
    ) -> Iterator[tuple[int, torch.Tensor]]:
        from toolken.training.lm.pytorch.virtual_tokens import followed, probed_one_by_one

        support = self.virtual_support(lm)
        support.require(lm)
        if not support.embeddings:
            yield from probed_one_by_one(lm, sequences, virtual, advance)
            return
        prefix = self._prefix(lm, sequences, [[len(ids)] for ids in sequences])
        shared = len(prefix.ids)
        for batch in batches([len(ids) - shared + len(virtual) for ids in sequences], self.device):
            with torch.no_grad():
                embeddings, select = followed(self, [sequences[at][shared:] for at in batch], virtual)
            options = {"use_cache": True, "past_key_values": prefix.repeated(len(batch))} if shared else {}
            hidden, _ = lm.forward(None, select, embeddings=embeddings, **({"use_cache": False} | options))
            yield from zip(batch, hidden.float(), strict=True)
            if advance is not None:
                advance(len(batch))

    @property
    def gives_layer_states(self) -> bool:
        return True

    def span_states(
        self,
        lm: "FrozenLM",
        sequences: Sequence[Sequence[int]],
        spans: Sequence[tuple[int, int]],
        layers: Sequence[int],
        advance: Callable[[int], None] | None,
    ) -> Iterator[tuple[int, torch.Tensor, torch.Tensor]]:
        from toolken.training.lm.pytorch.span_states import span_states

        yield from span_states(lm, self, sequences, spans, layers, advance)

    def virtual_batch(
        self,
        lm: "FrozenLM",
        sequences: Sequence[Sequence[int]],
        virtual: torch.Tensor,
        kept: "KeptTexts | None",
    ) -> torch.Tensor:
        """Return what `FrozenLM.virtual_batch` returns, for sequences that fit the context with the virtual tokens.

        LMs whose KV caches cannot be put side by side run the whole texts with gradients instead.
        """
        from toolken.training.lm.pytorch.kept_texts import computed_caches
        from toolken.training.lm.pytorch.virtual_tokens import after_caches, after_texts

        support = self.virtual_support(lm)
        support.require(lm)
        if support.cached:
            texts = computed_caches(lm, sequences) if kept is None else kept.of(sequences)
            return after_caches(self, texts, virtual)
        support.require_embeddings(lm)
        return after_texts(self, sequences, virtual)

    def _prefix(
        self, lm: "FrozenLM", sequences: Sequence[Sequence[int]], positions: Sequence[Sequence[int]]
    ) -> "TensorSession":
        """Return a session of the prefix that all texts share; empty where sharing it does not pay."""
        from toolken.training.lm.pytorch.session import TensorSession

        shared = shared_prefix(sequences, positions)
        prefix = TensorSession(lm)
        if shared >= MIN_SHARED and not self.continuation(lm).fault:
            prefix.feed(sequences[0][:shared])
        return prefix if prefix.shareable else TensorSession(lm)


@torch.no_grad()
def _states(lm: "FrozenLM", ids: torch.Tensor, select: torch.Tensor, prefix: Any) -> States:
    options = {"use_cache": False} if prefix is None else {"use_cache": True, "past_key_values": prefix}
    hidden, logits = lm.forward(ids, select, **options)
    sums = [torch.logsumexp(rows.float(), dim=-1) for rows in logits.split(LOGIT_ROWS)]
    return States(hidden.float(), torch.cat(sums))


def batches(lengths: Sequence[int], device: torch.device) -> Iterator[list[int]]:
    """Yield lists of indices of similar length, of as many tokens as a device computes best together."""
    most = CPU_BATCH_TOKENS if device.type == "cpu" else ACCELERATOR_BATCH_TOKENS
    order = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
    batch: list[int] = []
    for index in order:
        if batch and (len(batch) + 1) * lengths[index] > most:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
