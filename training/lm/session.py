"""`Session`: one text under construction, with its KV cache."""

import copy
from collections.abc import Sequence
from typing import Any

import torch

from toolken.errors import PromptTooLongError
from toolken.training.lm.frozen import FrozenLM


class Session:
    """The tokens of one text and the LM's KV cache over them.

    `feed` appends tokens and returns what the LM thinks after the last one; `truncate` goes back to a prefix; `fork`
    copies the text so that two continuations can be tried, sharing the cached tensors.
    """

    def __init__(self, lm: FrozenLM) -> None:
        self.lm = lm
        self.ids: list[int] = []
        self._cached = 0
        self._cache: Any = None

    def feed(self, ids: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Append tokens.

        Returns
        -------
        hidden, logits
            Hidden state `(d,) float32` and word logits `(V,) float32` after the last token.

        Raises
        ------
        PromptTooLongError
            If the text would no longer fit the LM's context; the session is left as it was.
        ValueError
            If there is nothing to feed.
        """
        if len(self.ids) + len(ids) > self.lm.max_length:
            raise PromptTooLongError(
                f"The text would have {len(self.ids) + len(ids)} tokens, and {self.lm.name} takes "
                f"{self.lm.max_length}: shorten the conversation."
            )
        pending = self.ids[self._cached :] + list(ids)
        if not pending:
            raise ValueError("feed needs at least one token")
        with self.lm.lock:
            if self._cache is None:
                self._cache = _new_cache(self.lm)
            hidden, logits = self.lm.forward(
                torch.tensor([pending], dtype=torch.long),
                torch.tensor([len(pending) - 1]),
                past_key_values=self._cache,
                use_cache=True,
            )
        self.ids.extend(ids)
        self._cached = len(self.ids)
        return hidden[0].float(), logits[0].float()

    def truncate(self, length: int) -> None:
        """Go back to the first `length` tokens."""
        surplus = self._cached - length
        del self.ids[length:]
        if surplus <= 0:
            return
        if _plain(self._cache):
            self._cache.crop(-surplus)
            self._cached = length
        else:
            # Sliding windows and recurrent layers cannot go back: the prefix is computed anew at the next feed.
            self._cache, self._cached = None, 0

    def fork(self) -> "Session":
        """Return an independent copy of the text."""
        twin = Session(self.lm)
        twin.ids, twin._cached = list(self.ids), self._cached
        if self._cache is not None and _plain(self._cache):
            twin._cache = copy.copy(self._cache)
            # A plain layer grows by concatenation and never writes into its tensors, so they can be shared.
            twin._cache.layers = [copy.copy(layer) for layer in self._cache.layers]
        else:
            twin._cache = copy.deepcopy(self._cache)
        return twin

    @property
    def shareable(self) -> bool:
        """Whether the KV cache keeps all the past, so that it can be cropped, shared and repeated."""
        return self._cache is not None and _plain(self._cache)

    def repeated(self, count: int) -> Any:
        """Return the KV cache repeated for a batch of texts that all begin with this one."""
        cache = copy.copy(self._cache)
        cache.layers = [copy.copy(layer) for layer in self._cache.layers]
        cache.batch_repeat_interleave(count)
        return cache

    def common_prefix(self, ids: Sequence[int]) -> int:
        """Return how many leading tokens `ids` shares with this text."""
        shared = 0
        for mine, other in zip(self.ids, ids, strict=False):
            if mine != other:
                break
            shared += 1
        return shared


def _new_cache(lm: FrozenLM) -> Any:
    from transformers import DynamicCache

    return DynamicCache(config=lm.model.config)


def _plain(cache: Any) -> bool:
    """Tell whether every layer keeps all its past, so that it can be cropped and shared."""
    from transformers.cache_utils import DynamicLayer

    return all(type(layer) is DynamicLayer for layer in cache.layers)
