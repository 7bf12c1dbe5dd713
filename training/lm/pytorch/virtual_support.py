"""`VirtualSupport`: what a model can do with virtual tokens, that is, with input embeddings after a text."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from toolken.errors import BackendError
from toolken.training.lm.pytorch.cache_support import (
    FAULTS,
    STEPS,
    TOKENS,
    first_error_line,
    probe_token_ids,
    relative_logit_error,
)

if TYPE_CHECKING:
    from toolken.training.lm.frozen import FrozenLM


@dataclass(frozen=True)
class VirtualSupport:
    """What a model can do with virtual tokens.

    Attributes
    ----------
    fault
        Why it takes no input embeddings; empty if it does.
    embeddings
        Whether the input embeddings of tokens give the states of the tokens. They do not in models with further
        embeddings per layer, such as Gemma 3n.
    cached
        Whether the KV caches of texts of different lengths can be put side by side, with virtual tokens after them.
    """

    fault: str = ""
    embeddings: bool = True
    cached: bool = True

    def require(self, lm: "FrozenLM") -> None:
        """Make sure that the model takes input embeddings.

        Raises
        ------
        BackendError
            If it does not.
        """
        if self.fault:
            raise BackendError(
                f"{lm.name} does not take input embeddings, so virtual tokens cannot be used with it: choose another "
                f"LM ({self.fault})."
            )

    def require_embeddings(self, lm: "FrozenLM") -> None:
        """Make sure that texts can be given as input embeddings.

        Raises
        ------
        BackendError
            If they cannot.
        """
        if not self.embeddings:
            kind = getattr(lm.config, "model_type", "unknown")
            raise BackendError(
                f"Virtual tokens cannot be learned with {lm.name}: a model of type {kind!r} does not compute the "
                "states of a text from its input embeddings alone; choose another LM."
            )


def tried_virtual_tokens(lm: "FrozenLM") -> VirtualSupport:
    """Compare the states of a short text as token ids, as input embeddings, and after KV caches side by side.

    The trial costs eight forward passes over a few tokens.
    """
    if lm.max_length < TOKENS:
        return VirtualSupport(cached=False)
    ids = probe_token_ids(lm.config, lm.vocab_size, TOKENS)
    every = torch.arange(TOKENS)
    expected, _ = lm.forward(torch.tensor([ids]), every, use_cache=False)
    limit = max(1e-3, STEPS * torch.finfo(lm.dtype).eps)
    try:
        got, _ = lm.forward(None, every, embeddings=lm.embed(ids)[None], use_cache=False)
    except (*FAULTS, BackendError) as error:
        # A `BackendError` says itself that there are no input embeddings; its cause says why.
        return VirtualSupport(first_error_line(error.__cause__ or error), embeddings=False, cached=False)
    alike = relative_logit_error(got.float(), expected.float()) <= limit
    try:
        cached = _cache_error(lm, ids) <= limit
    except (*FAULTS, BackendError):
        cached = False
    return VirtualSupport(embeddings=alike, cached=cached)


def _cache_error(lm: "FrozenLM", ids: list[int]) -> float:
    """Return the relative error of states after KV caches side by side; infinite for caches that cannot be."""
    from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

    from toolken.training.lm.pytorch.kept_texts import computed_caches
    from toolken.training.lm.pytorch.session import new_cache
    from toolken.training.lm.pytorch.virtual_tokens import after_caches

    if not all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in new_cache(lm).layers):
        return float("inf")
    texts, virtual = [ids[:8], ids[:5]], lm.embed(ids[8:10])
    expected = []
    for text in texts:
        cache = new_cache(lm)
        lm.forward(torch.tensor([text]), torch.tensor([0]), past_key_values=cache, use_cache=True)
        options = {"embeddings": virtual[None], "past_key_values": cache, "use_cache": True}
        expected.append(lm.forward(None, torch.tensor([1]), **options)[0][0])
    got = after_caches(lm, computed_caches(lm, texts), virtual)
    return relative_logit_error(got, torch.stack(expected).float())
