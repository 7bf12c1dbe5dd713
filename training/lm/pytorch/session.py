"""`TensorSession`: a text whose KV cache consists of tensors on the LM's device."""

import copy
from collections.abc import Sequence
from typing import Any, Protocol

import torch

from toolken.training.lm.frozen import FrozenLM
from toolken.training.lm.session import Session, State


class TensorSession(Session):
    """The tokens of one text and transformers' KV cache over them; forks share the cached tensors."""

    def __init__(self, lm: FrozenLM) -> None:
        super().__init__(lm)
        self._cache: Any = None
        self._away: _Lender | None = None

    def feed(self, ids: Sequence[int]) -> State:
        self.check_feed(ids)
        self.come_home()
        return self._append(ids)

    def probe(self, virtual: torch.Tensor) -> State:
        self.check_probe(virtual)
        with self.lm.lock:
            self.come_home()
            if self.pending(()):
                self._append(())
            hidden, logits = self.lm.forward(
                None,
                torch.tensor([len(virtual) - 1]),
                embeddings=virtual.detach().unsqueeze(0),
                past_key_values=new_cache(self.lm) if self._cache is None else self._copied_cache(),
                use_cache=True,
            )
        return hidden[0].float(), logits[0].float()

    def truncate(self, length: int) -> None:
        self.come_home()
        surplus = self._cached - length
        del self.ids[length:]
        if surplus <= 0:
            return
        if plain(self._cache):
            self._cache.crop(-surplus)
            self._cached = length
        else:
            # Sliding windows and recurrent layers cannot be cropped, so the next feed recomputes the prefix.
            self._cache, self._cached = None, 0

    def fork(self) -> "TensorSession":
        self.come_home()
        twin = TensorSession(self.lm)
        twin.ids, twin._cached = list(self.ids), self._cached
        twin._cache = None if self._cache is None else self._copied_cache()
        return twin

    @property
    def shareable(self) -> bool:
        self.come_home()
        return self._cache is not None and plain(self._cache)

    @property
    def nbytes(self) -> int:
        self.come_home()
        return sum(_bytes_of(vars(layer)) for layer in getattr(self._cache, "layers", []))

    @property
    def begun(self) -> bool:
        """Whether the KV cache holds a token, in a form that can stand beside those of other texts."""
        return self._away is not None or (self._cached > 0 and self._cache is not None and plain(self._cache))

    def repeated(self, count: int) -> Any:
        """Return the KV cache repeated for a batch of texts that all begin with this one."""
        self.come_home()
        cache = self._copied_cache()
        cache.batch_repeat_interleave(count)
        return cache

    def _append(self, ids: Sequence[int]) -> State:
        """Compute the tokens that are not in the KV cache, and `ids` after them."""
        pending = self.pending(ids)
        with self.lm.lock:
            if self._cache is None:
                self._cache = new_cache(self.lm)
            try:
                hidden, logits = self.lm.forward(
                    torch.tensor([pending], dtype=torch.long),
                    torch.tensor([len(pending) - 1]),
                    past_key_values=self._cache,
                    use_cache=True,
                )
            except BaseException:
                # Some layers may have grown and others not, so the next feed recomputes the cache.
                self._cache, self._cached = None, 0
                raise
        self.appended(ids)
        return hidden[0].float(), logits[0].float()

    def _copied_cache(self) -> Any:
        """Return a KV cache that grows independently of this text's own."""
        if not plain(self._cache):
            return copy.deepcopy(self._cache)
        cache = copy.copy(self._cache)
        # A plain layer grows by concatenation and never writes into its tensors, so they can be shared.
        cache.layers = [copy.copy(layer) for layer in self._cache.layers]
        return cache

    def lend(self, lender: "_Lender") -> Any:
        """Give the KV cache away to a batch, which gives it back when this text is next used alone."""
        self.come_home()
        cache, self._cache, self._away = self._cache, None, lender
        return cache

    def lost(self) -> None:
        """Note that a batch has lost the KV cache: the text is recomputed at the next feed."""
        self._cache, self._cached, self._away = None, 0, None

    def come_home(self) -> None:
        """Take the KV cache back from the batch that has it, if one has."""
        if self._away is not None:
            with self.lm.lock:
                lender, self._away = self._away, None
                if lender is not None:
                    self._cache = lender.give_back(self)


class _Lender(Protocol):
    """What keeps the KV cache of a text for a while."""

    def give_back(self, session: TensorSession) -> Any:
        """Return the KV cache of a text that was lent."""
        ...


def new_cache(lm: FrozenLM) -> Any:
    """Return an empty KV cache of the LM's kind."""
    from transformers import DynamicCache

    return DynamicCache(config=lm.config)


def plain(cache: Any) -> bool:
    """Tell whether every layer keeps all its past, so that it can be cropped and shared."""
    from transformers.cache_utils import DynamicLayer

    return all(type(layer) is DynamicLayer for layer in cache.layers)


def _bytes_of(held: Any) -> int:
    """Return the bytes of the tensors in what a layer keeps, which recurrent layers keep in other containers."""
    if isinstance(held, torch.Tensor):
        return held.nbytes
    parts = held.values() if isinstance(held, dict) else held if isinstance(held, list | tuple) else ()
    return sum(_bytes_of(part) for part in parts)
