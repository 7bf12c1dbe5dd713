"""`Session`: one text and its KV cache; `Batch`: batched decoding of several texts."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

import torch

from toolken.errors import PromptTooLongError

if TYPE_CHECKING:
    from toolken.training.lm.frozen import FrozenLM

#: Hidden state `(d,) float32` and next-token logits `(V,) float32` after a token.
State: TypeAlias = tuple[torch.Tensor, torch.Tensor]


class Session(ABC):
    """The tokens of one text and the LM's KV cache over them.

    `feed` appends tokens and returns the state after the last one, on the LM's device; `probe` returns the state after
    virtual tokens and appends nothing; `truncate` returns to a prefix; `fork` copies the text for another continuation
    and shares the KV cache.
    """

    def __init__(self, lm: "FrozenLM") -> None:
        self.lm = lm
        self.ids: list[int] = []
        self._cached = 0

    @abstractmethod
    def feed(self, ids: Sequence[int]) -> State:
        """Append tokens.

        Returns
        -------
        hidden, logits
            Hidden state `(d,) float32` and next-token logits `(V,) float32` after the last token.

        Raises
        ------
        PromptTooLongError
            If the text would no longer fit the LM's context; the session is left as it was.
        ValueError
            If there is nothing to feed.
        """

    @abstractmethod
    def probe(self, virtual: torch.Tensor) -> State:
        """Return the state that virtual tokens after the text would have; the text stays as it is.

        Tokens of the text that are not in the KV cache are computed first, and stay in it; virtual tokens never do.

        Parameters
        ----------
        virtual
            Input embeddings `(k, e)`, in any floating-point format and on any device.

        Returns
        -------
        hidden, logits
            Hidden state `(d,) float32` and next-token logits `(V,) float32` after the last virtual token.

        Raises
        ------
        PromptTooLongError
            If the text and the virtual tokens together do not fit the LM's context.
        BackendError
            If the LM does not take input embeddings.
        ValueError
            If the tensor's shape is not `(k, e)` with k > 0.
        """

    @abstractmethod
    def truncate(self, length: int) -> None:
        """Remove all tokens after the first `length`."""

    @abstractmethod
    def fork(self) -> "Session":
        """Return an independent copy of the text."""

    @property
    @abstractmethod
    def shareable(self) -> bool:
        """Whether the KV cache keeps every token, so that it can be cropped, shared and repeated."""

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """Bytes of the KV cache."""

    @property
    def cached(self) -> int:
        """Number of leading tokens in the KV cache; the next feed computes the others."""
        return self._cached

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

    def check_feed(self, ids: Sequence[int]) -> None:
        """Make sure that `feed` can append tokens.

        Raises
        ------
        PromptTooLongError
            If they do not fit the LM's context.
        ValueError
            If there is nothing to feed.
        """
        self.check_room(len(ids))
        if not self.pending(ids):
            raise ValueError("feed needs at least one token")

    def check_probe(self, virtual: torch.Tensor) -> None:
        """Make sure that `virtual` can follow the text.

        Raises
        ------
        PromptTooLongError
            If the text and the virtual tokens together do not fit the LM's context.
        ValueError
            If the tensor's shape is not `(k, e)` with k > 0.
        """
        check_virtual(virtual, self.lm.embedding_size)
        self.check_room(len(virtual))

    def pending(self, ids: Sequence[int]) -> list[int]:
        """Return the tokens that the LM has to compute to append `ids`: the uncached ones, then `ids`."""
        return self.ids[self._cached :] + list(ids)

    def appended(self, ids: Sequence[int]) -> None:
        """Record that the LM has computed these tokens."""
        self.ids.extend(ids)
        self._cached = len(self.ids)

    def common_prefix(self, ids: Sequence[int]) -> int:
        """Return how many leading tokens `ids` shares with this text."""
        shared = 0
        for mine, other in zip(self.ids, ids, strict=False):
            if mine != other:
                break
            shared += 1
        return shared


AnySession = TypeVar("AnySession", bound=Session)


class Batch(ABC, Generic[AnySession]):
    """Texts that one forward pass of the LM extends together."""

    @abstractmethod
    def feed(self, pieces: Sequence[tuple[AnySession, Sequence[int]]]) -> list[State]:
        """Append tokens to several texts, as `Session.feed` does to one.

        Parameters
        ----------
        pieces
            Different texts, each with the tokens to append.

        Returns
        -------
        states
            Hidden state `(d,) float32` and next-token logits `(V,) float32` after the last token of each text.

        Raises
        ------
        PromptTooLongError
            If a text would no longer fit the LM's context; every text is left as it was.
        """

    @abstractmethod
    def probe(self, pieces: Sequence[tuple[AnySession, torch.Tensor]]) -> list[State]:
        """Return the states that virtual tokens after several texts would have, as `Session.probe` does for one.

        Parameters
        ----------
        pieces
            Different texts, each with its virtual tokens `(k, e)`; k may differ between texts.

        Returns
        -------
        states
            Hidden state `(d,) float32` and next-token logits `(V,) float32` after the last virtual token of each text.

        Raises
        ------
        PromptTooLongError
            If a text and its virtual tokens together do not fit the LM's context.
        BackendError
            If the LM does not take input embeddings.
        ValueError
            If the shape of a tensor is not `(k, e)` with k > 0.
        """


def check_virtual(virtual: torch.Tensor, size: int) -> None:
    """Make sure that a tensor holds virtual tokens of width `size`.

    Raises
    ------
    ValueError
        If its shape is not `(k, size)` with k > 0, or it does not hold floating-point numbers.
    """
    if virtual.ndim != 2 or virtual.shape[1] != size or len(virtual) == 0 or not virtual.is_floating_point():
        shape = tuple(virtual.shape)
        raise ValueError(
            f"Virtual tokens are a floating-point tensor of shape (k, {size}) with k > 0, and this one is {shape} of "
            f"{virtual.dtype}: give input embeddings of this LM."
        )
