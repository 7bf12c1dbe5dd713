"""States of spans of texts after some layers, and each text's last state, in one pass per batch."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch

from toolken.training.lm.pytorch.network import TensorNetwork, batches

if TYPE_CHECKING:
    from toolken.training.lm.frozen import FrozenLM


def span_states(
    lm: "FrozenLM",
    network: "TensorNetwork",
    sequences: Sequence[Sequence[int]],
    spans: Sequence[tuple[int, int]],
    layers: Sequence[int],
    advance: Callable[[int], None] | None,
) -> Iterator[tuple[int, torch.Tensor, torch.Tensor]]:
    """Yield what `FrozenLM.span_states` yields."""
    for batch in batches([len(ids) for ids in sequences], network.device):
        texts = [sequences[at] for at in batch]
        width = max(map(len, texts))
        padded = torch.zeros(len(texts), width, dtype=torch.long)
        for row, ids in enumerate(texts):
            padded[row, : len(ids)] = torch.tensor(ids, dtype=torch.long)
        ends = torch.tensor([row * width + len(ids) - 1 for row, ids in enumerate(texts)])
        with lm.lock, torch.no_grad():
            # Padding stands to the right, where causal attention never looks.
            between, final = network.layer_states(network.input_embeddings(padded), layers, ends)
        for row, at in enumerate(batch):
            begin, end = spans[at]
            inside = torch.stack([states[row, begin:end].float().to(final.device) for states in between], dim=1)
            yield at, inside, final[row].float()
        if advance is not None:
            advance(len(batch))
