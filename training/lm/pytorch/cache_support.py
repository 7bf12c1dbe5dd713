"""`CacheSupport`: whether decoding from a model's KV cache equals a prefill of the whole text."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from toolken.errors import BackendError

if TYPE_CHECKING:
    from toolken.training.lm.frozen import FrozenLM
    from toolken.training.lm.pytorch.network import TensorNetwork

#: What a model raises for arguments that it does not support.
FAULTS = (TypeError, ValueError, RuntimeError, LookupError, AttributeError, AssertionError)
#: Tokens of the trial's text.
TOKENS = 12
#: Errors up to this many rounding steps of the number format, relative to the spread of the logits, count as rounding.
STEPS = 32


@dataclass(frozen=True)
class CacheSupport:
    """What a model can do with its KV cache.

    Attributes
    ----------
    fault
        What is wrong when a text is fed in pieces; empty if nothing is.
    batched
        Whether one forward pass may extend texts of different lengths.
    """

    fault: str = ""
    batched: bool = True

    def require(self, lm: "FrozenLM") -> None:
        """Make sure that a text can be fed in pieces.

        Raises
        ------
        BackendError
            If it cannot.
        """
        if self.fault:
            kind = getattr(lm.config, "model_type", "unknown")
            raise BackendError(
                f"{lm.name}, a model of type {kind!r}, does not continue from a KV cache as expected: {self.fault}, "
                "so it cannot answer in a chat; choose another LM."
            )


def tried_continuation(lm: "FrozenLM") -> CacheSupport:
    """Feed a short text whole, in pieces and in a batch, and compare the next-token logits.

    Some models ignore their cache or position ids and silently return wrong logits. The trial costs seven forward
    passes over a few tokens.
    """
    if lm.max_length < TOKENS:
        return CacheSupport()
    trial = _Trial(lm)
    try:
        right = trial.in_pieces()
    except FAULTS as error:
        return CacheSupport(f"feeding a text in pieces fails ({first_error_line(error)})", batched=False)
    if not right:
        return CacheSupport(
            "a text that is fed in pieces gets other next-token logits than the whole text", batched=False
        )
    try:
        return CacheSupport(batched=trial.in_batch())
    except FAULTS:
        return CacheSupport(batched=False)


def looks_ahead(network: "TensorNetwork") -> bool:
    """Return whether the last token changes the logits before it, as in a model with bidirectional attention."""
    *beginning, one, other = probe_token_ids(network.config, network.vocab_size, 7)
    texts = torch.tensor([[*beginning, one], [*beginning, other]])
    before = torch.arange(len(beginning))
    with torch.no_grad():
        _, logits = network.forward(texts, torch.cat([before, len(beginning) + 1 + before]), use_cache=False)
    first, second = logits.float().split(len(beginning))
    # Both texts are rows of one forward pass, whose results are nearly bit-equal for a causal model.
    return not relative_logit_error(first, second) <= max(1e-4, 4 * torch.finfo(network.dtype).eps)


def probe_token_ids(config: Any, vocab_size: int, count: int) -> list[int]:
    """Return distinct token ids from the middle of the vocabulary, away from the special tokens at its ends."""
    step = max(1, vocab_size // (2 * count + 2))
    ids = [(vocab_size // 4 + step * at) % vocab_size for at in range(count)]
    padding = getattr(config, "pad_token_id", None)
    return [one if one != padding else (one + 1) % vocab_size for one in ids]


def relative_logit_error(got: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the largest root mean square error of a row of logits `(P, V)`, relative to the row's spread.

    The spread includes 1/32 of the largest magnitude, where a number format has larger rounding steps.
    """
    error = (got - expected).square().mean(-1).sqrt()
    return float((error / (expected.std(-1) + expected.abs().amax(-1) / 32)).max())


def first_error_line(error: BaseException) -> str:
    """Return the first line of an error's message."""
    return str(error).strip().split("\n")[0]


class _Trial:
    """A text and its next-token logits from one forward pass."""

    def __init__(self, lm: "FrozenLM") -> None:
        self._lm = lm
        self._ids = probe_token_ids(lm.config, lm.vocab_size, TOKENS)
        _, logits = lm.forward(torch.tensor([self._ids]), torch.arange(TOKENS), use_cache=False)
        self._whole = logits.float()

    def in_pieces(self) -> bool:
        """Return whether feeding the text in pieces gives the same logits."""
        from toolken.training.lm.pytorch.session import TensorSession

        self._begun = TensorSession(self._lm), TensorSession(self._lm)
        # The first pieces use no cache, so their error is rounding, which depends on shapes and depth.
        rounding = self._error(
            [(end, one.feed(self._ids[:end])[1]) for one, end in zip(self._begun, (5, 1), strict=True)]
        )
        least = max(1e-3, STEPS * torch.finfo(self._lm.dtype).eps)
        self._limit = min(max(least, 4 * rounding), 2 * least)
        first = self._begun[0]
        return self._right([(end, first.feed(self._ids[len(first.ids) : end])[1]) for end in (6, 9)])

    def in_batch(self) -> bool:
        """Return whether batched decoding of two prefixes of the text gives the same logits."""
        from toolken.training.lm.pytorch.batch import TensorBatch

        first, second = self._begun
        if not (first.begun and second.begun):
            return True  # such texts never enter a batch
        if isinstance(getattr(self._lm.config, "window_size", None), int):
            return False  # GPT-Neo counts hidden columns in its windows, which are longer than the trial's text
        batch = TensorBatch(self._lm)
        got: list[tuple[int, torch.Tensor]] = []
        # The second text gets more tokens than the first, whose row then has hidden columns.
        for ends in ((10, 9), (11, 10)):
            pieces = [(one, self._ids[len(one.ids) : end]) for one, end in zip((first, second), ends, strict=True)]
            got.extend((end, logits) for end, (_, logits) in zip(ends, batch.feed(pieces), strict=True))
        return self._right(got)

    def _right(self, got: Sequence[tuple[int, torch.Tensor]]) -> bool:
        return self._error(got) <= self._limit  # false for NaN

    def _error(self, got: Sequence[tuple[int, torch.Tensor]]) -> float:
        """Return the relative error of the logits at given text lengths."""
        whole = self._whole[[end - 1 for end, _ in got]]
        return relative_logit_error(torch.stack([logits for _, logits in got]).to(whole.device), whole)
