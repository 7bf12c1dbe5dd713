"""`Network`: the interface of the backends of `FrozenLM`."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch

from toolken.errors import BackendError
from toolken.training.lm.fingerprint import fingerprint_of
from toolken.training.lm.session import Batch, Session
from toolken.training.lm.states import States

if TYPE_CHECKING:
    from toolken.training.lm.frozen import FrozenLM


class Network(ABC):
    """The weights of a causal LM and the backend that runs them.

    Attributes
    ----------
    config
        The model's configuration of transformers.
    device, dtype
        Device and number format of the hidden states.
    number_format
        What the states depend on beside weights and tokens: the number format, or the backend.
    hidden_size, vocab_size
        Dimension d of a hidden state as the output matrix sees it, and the number V of next-token logits.
    embedding_size
        Width e of the input embeddings.
    weight_bytes
        Bytes of the weights in memory.
    max_tokens
        Tokens for which the backend has room, where that may be less than the model takes.
    end_ids
        Id or ids of the tokens that end a text by the generation settings.
    """

    max_tokens: int = 1 << 30

    @property
    @abstractmethod
    def config(self) -> Any: ...

    @property
    @abstractmethod
    def device(self) -> torch.device: ...

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype: ...

    @property
    @abstractmethod
    def end_ids(self) -> Any: ...

    @property
    @abstractmethod
    def number_format(self) -> str: ...

    @property
    @abstractmethod
    def hidden_size(self) -> int: ...

    @property
    @abstractmethod
    def vocab_size(self) -> int: ...

    @property
    @abstractmethod
    def embedding_size(self) -> int: ...

    @property
    @abstractmethod
    def weight_bytes(self) -> int: ...

    @abstractmethod
    def named_weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield every weight once, by its name in a checkpoint of transformers."""

    @abstractmethod
    def embed(self, ids: Sequence[int]) -> torch.Tensor:
        """Return the input embeddings `(n, e) float32` of tokens."""

    @abstractmethod
    def start(self, lm: "FrozenLM") -> Session:
        """Begin an empty text."""

    @abstractmethod
    def start_batch(self, lm: "FrozenLM") -> Batch[Any]:
        """Begin a batch of texts that are decoded together."""

    @abstractmethod
    def states(
        self,
        lm: "FrozenLM",
        sequences: Sequence[Sequence[int]],
        positions: Sequence[Sequence[int]],
        advance: Callable[[int], None] | None,
    ) -> Iterator[tuple[int, States]]:
        """Yield what `FrozenLM.hidden_states` yields, for sequences that fit the context."""

    @abstractmethod
    def virtual_states(
        self,
        lm: "FrozenLM",
        sequences: Sequence[Sequence[int]],
        virtual: torch.Tensor,
        advance: Callable[[int], None] | None,
    ) -> Iterator[tuple[int, torch.Tensor]]:
        """Yield what `FrozenLM.virtual_states` yields, for sequences that fit the context with the virtual tokens."""

    @property
    def gives_layer_states(self) -> bool:
        """Whether `span_states` works."""
        return False

    def span_states(
        self,
        lm: "FrozenLM",
        sequences: Sequence[Sequence[int]],
        spans: Sequence[tuple[int, int]],
        layers: Sequence[int],
        advance: Callable[[int], None] | None,
    ) -> Iterator[tuple[int, torch.Tensor, torch.Tensor]]:
        """Yield what `FrozenLM.span_states` yields, for sequences that fit the context.

        Raises
        ------
        BackendError
            If the backend does not give the states between layers.
        """
        raise BackendError(f"{lm.name} runs on a backend without the states between layers: use 'transformers'.")

    def fingerprint(self, tokenizer: Any) -> str:
        """Return the hex digest of architecture, tokenizer and a sample of the weights."""
        return fingerprint_of(self.config, tokenizer, self.named_weights())


def shared_prefix(sequences: Sequence[Sequence[int]], positions: Sequence[Sequence[int]]) -> int:
    """Return the number of leading tokens that all sequences share and that precede every requested position."""
    if len(sequences) < 2:
        return 0
    shared = min(min((min(p) for p in positions if p), default=0), min(len(s) for s in sequences) - 1)
    first = sequences[0]
    for other in sequences[1:]:
        shared = next((i for i in range(shared) if first[i] != other[i]), shared)
    return max(shared, 0)
