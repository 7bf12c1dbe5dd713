"""`Session`: one text under construction, with its KV cache."""

import copy
from collections.abc import Sequence
from typing import Any, Protocol

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
        self._away: _Lender | None = None

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
        self.check_room(len(ids))
        self.come_home()
        pending = self.pending(ids)
        if not pending:
            raise ValueError("feed needs at least one token")
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
                # Some layers may have grown and others not: the text is computed anew at the next feed.
                self._cache, self._cached = None, 0
                raise
        self.ids.extend(ids)
        self._cached = len(self.ids)
        return hidden[0].float(), logits[0].float()

    def check_room(self, count: int) -> None:
        """Make sure that `count` more tokens fit the LM's context.

        Raises
        ------
        PromptTooLongError
            If they do not.
        """
        if len(self.ids) + count > self.lm.max_length:
            raise PromptTooLongError(
                f"The text would have {len(self.ids) + count} tokens, and {self.lm.name} takes "
                f"{self.lm.max_length}: shorten the conversation."
            )

    def pending(self, ids: Sequence[int]) -> list[int]:
        """Return the tokens that have to go through the LM to append `ids`: those that are not cached yet, and them."""
        return self.ids[self._cached :] + list(ids)

    def truncate(self, length: int) -> None:
        """Go back to the first `length` tokens."""
        self.come_home()
        surplus = self._cached - length
        del self.ids[length:]
        if surplus <= 0:
            return
        if plain(self._cache):
            self._cache.crop(-surplus)
            self._cached = length
        else:
            # Sliding windows and recurrent layers cannot go back: the prefix is computed anew at the next feed.
            self._cache, self._cached = None, 0

    def fork(self) -> "Session":
        """Return an independent copy of the text."""
        self.come_home()
        twin = Session(self.lm)
        twin.ids, twin._cached = list(self.ids), self._cached
        if self._cache is not None and plain(self._cache):
            twin._cache = copy.copy(self._cache)
            # A plain layer grows by concatenation and never writes into its tensors, so they can be shared.
            twin._cache.layers = [copy.copy(layer) for layer in self._cache.layers]
        else:
            twin._cache = copy.deepcopy(self._cache)
        return twin

    @property
    def shareable(self) -> bool:
        """Whether the KV cache keeps all the past, so that it can be cropped, shared and repeated."""
        self.come_home()
        return self._cache is not None and plain(self._cache)

    @property
    def nbytes(self) -> int:
        """Bytes of the KV cache."""
        self.come_home()
        tensors = [t for layer in getattr(self._cache, "layers", []) for t in (layer.keys, layer.values)]
        return sum(tensor.nbytes for tensor in tensors if isinstance(tensor, torch.Tensor))

    @property
    def begun(self) -> bool:
        """Whether the KV cache holds a token, in a form that can stand beside those of other texts."""
        return self._away is not None or (self._cached > 0 and self._cache is not None and plain(self._cache))

    def repeated(self, count: int) -> Any:
        """Return the KV cache repeated for a batch of texts that all begin with this one."""
        self.come_home()
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

    def lend(self, lender: "_Lender") -> Any:
        """Give the KV cache away to a batch, which gives it back when this text is next used alone."""
        self.come_home()
        cache, self._cache, self._away = self._cache, None, lender
        return cache

    def appended(self, ids: Sequence[int]) -> None:
        """Note that a batch has computed these tokens."""
        self.ids.extend(ids)
        self._cached = len(self.ids)

    def lost(self) -> None:
        """Note that a batch has lost the KV cache: the text is computed anew at the next feed."""
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

    def give_back(self, session: Session) -> Any:
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
