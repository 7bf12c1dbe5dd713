"""`averages`: states of texts' words, averaged with learned attention."""

from collections.abc import Iterator, Sequence

import torch

from toolken.training.prior.request_reader import ReadTexts

#: Texts that are averaged together: padded to the longest, they have to fit the memory.
CHUNK = 512


def chunks(count: int) -> Iterator[range]:
    """Yield the indices of texts in parts."""
    for begin in range(0, count, CHUNK):
        yield range(begin, min(begin + CHUNK, count))


def averages(
    texts: ReadTexts,
    queries: torch.Tensor,
    layers: Sequence[int],
    *,
    token_weights: torch.Tensor | None = None,
    rows: Sequence[int] | None = None,
    dropped: float = 0,
) -> torch.Tensor:
    """Return `(n, h, d)`: for each text and head the average of its words' states, weighted by attention.

    Parameters
    ----------
    texts
        The texts.
    queries
        Of the h heads, `(h, d)`.
    layers
        The layer of each head, as an index of those that were read.
    token_weights
        Log weights of tokens that are added to the attention's logits, `(h, V)`.
    rows
        Indices of the texts; all by default.
    dropped
        Share of the words that are left out by chance, while something is learned.
    """
    chosen = torch.arange(len(texts)) if rows is None else torch.tensor(list(rows), dtype=torch.long)
    begins, lengths = texts.offsets[chosen], texts.offsets.diff()[chosen]
    places = torch.arange(max(int(lengths.max()), 1))
    inside = places[None] < lengths[:, None]
    where = (begins[:, None] + places[None]).clamp(max=len(texts.tokens) - 1)
    if dropped:
        inside &= (torch.rand(inside.shape) >= dropped) | (places == 0)
    states, tokens = texts.states[where].float(), texts.tokens[where]
    found = []
    for head, layer in enumerate(layers):
        own = states[:, :, layer]
        logits = own @ queries[head]
        if token_weights is not None:
            logits = logits + token_weights[head][tokens]
        weights = logits.masked_fill(~inside, float("-inf")).softmax(1).nan_to_num(0)
        found.append(torch.einsum("nt,ntd->nd", weights, own))
    return torch.stack(found, dim=1)
