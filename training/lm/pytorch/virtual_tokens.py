"""Virtual tokens after a batch of texts (prompt tuning, Lester et al. 2021, arXiv 2104.08691)."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.utils.rnn import pad_sequence

from toolken.training.lm.pytorch.kept_texts import TextCache, cache_of

if TYPE_CHECKING:
    from toolken.training.lm.frozen import FrozenLM
    from toolken.training.lm.pytorch.network import TensorNetwork


def followed(
    network: "TensorNetwork", sequences: Sequence[Sequence[int]], virtual: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the input embeddings of texts, each followed directly by the virtual tokens.

    Padding stands to the right, where causal attention never looks: no mask is needed.

    Returns
    -------
    embeddings
        `(n, T + k, e)`, with T tokens in the longest text.
    select
        Position of each last virtual token in the flattened `(n * (T + k))`.
    """
    count = len(virtual)
    width = max(len(ids) for ids in sequences) + count
    padded = torch.zeros(len(sequences), width, dtype=torch.long)
    for row, ids in enumerate(sequences):
        padded[row, : len(ids)] = torch.tensor(ids, dtype=torch.long)
    with torch.no_grad():
        embeddings = network.input_embeddings(padded)
    rows = torch.arange(len(sequences))[:, None]
    columns = torch.tensor([len(ids) for ids in sequences])[:, None] + torch.arange(count)
    where = rows.expand_as(columns).to(embeddings.device), columns.to(embeddings.device)
    embeddings = embeddings.index_put(where, _repeated(virtual, len(sequences)).to(embeddings))
    return embeddings, (rows * width + columns)[:, -1]


def after_texts(network: "TensorNetwork", sequences: Sequence[Sequence[int]], virtual: torch.Tensor) -> torch.Tensor:
    """Return the hidden states `(n, d) float32` of virtual tokens after texts, all in one pass with gradients."""
    embeddings, select = followed(network, sequences, virtual)
    hidden, _ = network.forward(None, select, embeddings=embeddings, use_cache=False)
    return hidden.float()


def after_caches(
    network: "TensorNetwork | FrozenLM", texts: Sequence[TextCache], virtual: torch.Tensor
) -> torch.Tensor:
    """Return the hidden states `(n, d) float32` of virtual tokens after texts with KV caches.

    The caches are right-aligned, so that a text and its virtual tokens are contiguous: sliding windows count columns.

    Parameters
    ----------
    network
        What runs the virtual tokens: a network with gradients, a `FrozenLM` without.
    texts
        KV caches of n texts.
    virtual
        Input embeddings `(k, e)`.
    """
    count, lengths = len(virtual), [text.length for text in texts]
    layers = [
        [
            pad_sequence([pair[part] for pair in layer], batch_first=True, padding_side="left").transpose(1, 2)
            for part in (0, 1)
        ]
        for layer in zip(*(text.layers for text in texts), strict=True)
    ]
    options: dict[str, Any] = {"past_key_values": cache_of(layers), "use_cache": True}
    longest = max(lengths)
    if min(lengths) < longest:
        ends = torch.tensor(lengths)[:, None]
        mask = torch.arange(longest + count) >= longest - ends
        options["attention_mask"] = mask.long().to(network.device)
        options["position_ids"] = (ends + torch.arange(count)).to(network.device)
    select = torch.arange(len(texts)) * count + count - 1
    hidden, _ = network.forward(None, select, embeddings=_repeated(virtual, len(texts)), **options)
    return hidden.float()


def probed_one_by_one(
    lm: "FrozenLM",
    sequences: Sequence[Sequence[int]],
    virtual: torch.Tensor,
    advance: Callable[[int], None] | None,
) -> Iterator[tuple[int, torch.Tensor]]:
    """Yield what `FrozenLM.virtual_states` yields, for LMs that take the text itself as token ids only."""
    for index, ids in enumerate(sequences):
        session = lm.start()
        if ids:
            session.feed(ids)
        yield index, session.probe(virtual)[0]
        if advance is not None:
            advance(1)


def _repeated(virtual: torch.Tensor, count: int) -> torch.Tensor:
    """Return virtual tokens `(count, k, e)`, still in their own number format, in which their gradients are summed."""
    return virtual.unsqueeze(0).expand(count, -1, -1)
