"""Views of texts: mean states of a span after some layers, and the last states without and with virtual tokens."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch

from toolken.training.lm.pytorch.network import batches
from toolken.training.lm.pytorch.virtual_tokens import followed

if TYPE_CHECKING:
    from toolken.training.lm.frozen import FrozenLM
    from toolken.training.lm.pytorch.network import TensorNetwork


def views(
    lm: "FrozenLM",
    network: "TensorNetwork",
    sequences: Sequence[Sequence[int]],
    spans: Sequence[tuple[int, int]],
    layers: Sequence[int],
    virtual: torch.Tensor | None,
    advance: Callable[[int], None] | None,
) -> Iterator[tuple[int, torch.Tensor]]:
    """Yield what `FrozenLM.views` yields; one forward pass per batch computes all views."""
    count = 0 if virtual is None else len(virtual)
    for batch in batches([len(ids) + count for ids in sequences], network.device):
        texts = [sequences[at] for at in batch]
        with lm.lock, torch.no_grad():
            if virtual is None:
                width = max(map(len, texts))
                padded = torch.zeros(len(texts), width, dtype=torch.long)
                for row, ids in enumerate(texts):
                    padded[row, : len(ids)] = torch.tensor(ids, dtype=torch.long)
                embeddings = network.input_embeddings(padded)
                ends = []
            else:
                embeddings, last = followed(network, texts, virtual)
                width = embeddings.shape[1]
                ends = last.tolist()
            texts_end = [row * width + len(ids) - 1 for row, ids in enumerate(texts)]
            between, final = network.layer_states(embeddings, layers, torch.tensor([*texts_end, *ends]))
            # Padding stands to the right, where causal attention never looks.
            mask = torch.zeros(len(texts), width)
            for row, at in enumerate(batch):
                begin, end = spans[at]
                mask[row, begin:end] = 1 / max(end - begin, 1)
            pooled = [torch.einsum("bt,btd->bd", mask.to(states.device), states.float()) for states in between]
            parts = [one.to(final.device) for one in pooled] + list(final.float().split(len(texts)))
            found = torch.stack(parts, dim=1)
        yield from zip(batch, found, strict=True)
        if advance is not None:
            advance(len(batch))
