"""`KeptTexts`: KV caches of texts that are used repeatedly while virtual tokens are learned."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from toolken.training.lm.network import shared_prefix
from toolken.training.lm.pytorch.network import MIN_SHARED, batches

if TYPE_CHECKING:
    from toolken.training.lm.frozen import FrozenLM

#: Bytes of KV caches that are kept: of about 90,000 tokens of the embedded LM.
MAX_BYTES = 2 * 2**30


@dataclass(frozen=True)
class TextCache:
    """The KV cache of one text, without gradients.

    Attributes
    ----------
    layers
        Keys and values of each layer, `(T, heads, size)`.
    """

    layers: list[tuple[torch.Tensor, torch.Tensor]]

    @property
    def length(self) -> int:
        """Number of tokens T."""
        return len(self.layers[0][0])

    @property
    def nbytes(self) -> int:
        """Bytes of keys and values."""
        return sum(keys.nbytes + values.nbytes for keys, values in self.layers)

    def clone(self) -> "TextCache":
        """Return a copy that shares no memory with other texts of its batch."""
        return TextCache([(keys.clone(), values.clone()) for keys, values in self.layers])


class KeptTexts:
    """KV caches of texts, such as tool descriptions, up to a number of bytes.

    Texts that come when there is no room are computed each time. Learning takes every description once per pass over
    the data, and evicting the least recently used one would remove most of them just before their next use.

    Parameters
    ----------
    lm
        The LM that reads the texts, on torch.
    max_bytes
        Bound of the bytes of all the KV caches, on the LM's device.
    """

    def __init__(self, lm: "FrozenLM", *, max_bytes: int = MAX_BYTES) -> None:
        self.lm = lm
        self.max_bytes = max_bytes
        self.nbytes = 0
        self._texts: dict[tuple[int, ...], TextCache] = {}

    def of(self, sequences: Sequence[Sequence[int]]) -> list[TextCache]:
        """Return the KV caches of texts; those that are not kept are computed, and kept as far as there is room."""
        keys = [tuple(ids) for ids in sequences]
        with self.lm.lock:
            new = [key for key in dict.fromkeys(keys) if key not in self._texts]
            computed = dict(zip(new, computed_caches(self.lm, new), strict=True))
            for key, text in computed.items():
                if self.nbytes + text.nbytes <= self.max_bytes:
                    self._texts[key] = text.clone()
                    self.nbytes += text.nbytes
            return [self._texts[key] if key in self._texts else computed[key] for key in keys]

    def clear(self) -> None:
        """Remove all texts."""
        with self.lm.lock:
            self._texts.clear()
            self.nbytes = 0

    def __len__(self) -> int:
        return len(self._texts)


def computed_caches(lm: "FrozenLM", sequences: Sequence[Sequence[int]]) -> list[TextCache]:
    """Return the KV caches of nonempty texts, in batches by length; a prefix of all of them is computed once."""
    shared = shared_prefix(sequences, [[len(ids)] for ids in sequences])
    prefix: list[list[torch.Tensor]] = []
    if shared < MIN_SHARED:
        shared = 0
    else:
        prefix = _layers(lm, torch.tensor([sequences[0][:shared]]), [])
    found: dict[int, TextCache] = {}
    for batch in batches([len(ids) - shared for ids in sequences], lm.device):
        lengths = [len(sequences[at]) for at in batch]
        longest = max(lengths)
        # Padding stands to the right, where causal attention never looks: no mask is needed.
        padded = torch.zeros(len(batch), longest - shared, dtype=torch.long)
        for row, at in enumerate(batch):
            padded[row, : lengths[row] - shared] = torch.tensor(sequences[at][shared:], dtype=torch.long)
        tokens = torch.cat([row * longest + torch.arange(length) for row, length in enumerate(lengths)])
        repeated = [[part.expand(len(batch), -1, -1, -1) for part in layer] for layer in prefix]
        texts: list[list[tuple[torch.Tensor, torch.Tensor]]] = [[] for _ in batch]
        for layer in _layers(lm, padded, repeated):
            rows = [part.transpose(1, 2).flatten(0, 1).index_select(0, tokens.to(part.device)) for part in layer]
            for text, keys, values in zip(texts, *(part.split(lengths) for part in rows), strict=True):
                text.append((keys, values))
        found.update(zip(batch, map(TextCache, texts), strict=True))
    return [found[at] for at in range(len(sequences))]


def cache_of(layers: Sequence[Sequence[torch.Tensor]]) -> Any:
    """Return transformers' KV cache with the keys and values `(B, heads, T, size)` of each layer.

    Every layer keeps all its past. In LMs with sliding windows, the attention mask hides what lies outside of a window.
    """
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer

    cache = DynamicCache()
    for keys, values in layers:
        layer = DynamicLayer()
        layer.lazy_initialization(keys, values)
        layer.keys, layer.values = keys, values
        cache.layers.append(layer)
    return cache


def _layers(lm: "FrozenLM", ids: torch.Tensor, prefix: Sequence[Sequence[torch.Tensor]]) -> list[list[torch.Tensor]]:
    """Return keys and values `(B, heads, C + T, size)` of each layer for token ids `(B, T)` after a prefix of C."""
    cache = cache_of(prefix)
    lm.forward(ids, torch.tensor([0]), past_key_values=cache, use_cache=True)
    return [[layer.keys, layer.values] for layer in cache.layers]
