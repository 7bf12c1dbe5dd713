"""Input embeddings of the added tokens, after which the LM writes the arguments of a call.

The library never feeds a toolken back into the LM. In a checkpoint it is part of the text, followed by virtual tokens,
and the arguments depend on their input embeddings. These start as the embeddings of the text with which the arguments
begin and are learned by gradient descent through the frozen LM (prompt tuning, Lester et al. 2021, arXiv 2104.08691) on
few-shot examples. Tools with the same argument names share them. A common offset is learned once: embeddings are `start
+ common + own`.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from toolken.training.export.export_network import ExportNetwork

#: Batch size; largest numbers of texts per set of argument names and overall; epochs; and the learning rate of Adam as
#: a fraction of the norm of the embeddings.
BATCH, TEXTS, ALL_TEXTS, PASSES, RATE = 8, 40, 120, 8, 0.05


@dataclass(frozen=True)
class ArgumentText:
    """The target text after an added token.

    Attributes
    ----------
    before
        Tokens before it.
    form
        Index of the set of argument names.
    written
        Tokens after it.
    """

    before: list[int]
    form: int
    written: list[int]


def initial_embeddings(network: ExportNetwork, texts: Sequence[Sequence[int]], count: int) -> torch.Tensor:
    """Return `count` input embeddings per text, `(len(texts), count, d) float32`: those of its tokens, in order.

    For a longer text the embeddings of neighbouring tokens are averaged, for a shorter one they are repeated.
    """
    found = []
    for ids in texts:
        rows = network.input_embeddings[torch.tensor(list(ids))].float()
        if len(rows) < count:
            rows = rows.repeat_interleave(-(-count // len(rows)), 0)
        found.append(torch.stack([part.mean(0) for part in rows.tensor_split(count)]))
    return torch.stack(found)


def learn_embeddings(
    network: ExportNetwork,
    start: torch.Tensor,
    continuations: Sequence[ArgumentText],
    *,
    passes: int | None = None,
    advance: Callable[[int], None] | None = None,
) -> torch.Tensor:
    """Return embeddings `(n, k, d) float32` that minimise the cross-entropy of the texts after them.

    Parameters
    ----------
    start
        Initial embeddings, `(n, k, d)`.
    advance
        Called with 1 after each step; there are `steps_of` of them.
    """
    chosen = _chosen(continuations)
    if not chosen:
        return start.clone()
    own = torch.zeros_like(start, dtype=torch.float32, requires_grad=True)
    common = torch.zeros_like(start[0], dtype=torch.float32, requires_grad=True)
    batches = [_Batch.of(network, chosen[at : at + BATCH], start.shape[1]) for at in range(0, len(chosen), BATCH)]
    rate = RATE * float(start.norm(dim=-1).mean())
    optimiser = torch.optim.Adam([own, common], lr=rate, betas=(0.9, 0.95))
    passes = passes or PASSES
    total = passes * len(batches)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: max(1.0 - step / total, 0.05))
    for _ in range(passes):
        for batch in batches:
            optimiser.zero_grad()
            batch.loss(network, start + common + own).backward()
            optimiser.step()
            schedule.step()
            if advance is not None:
                advance(1)
    return (start + common + own).detach()


def steps_of(continuations: Sequence[ArgumentText], passes: int | None = None) -> int:
    """Return the number of steps of `learn_embeddings`."""
    return (passes or PASSES) * -(-len(_chosen(continuations)) // BATCH)


def _chosen(continuations: Sequence[ArgumentText]) -> list[ArgumentText]:
    """Return a few texts of each form, shuffled."""
    by_form: dict[int, list[ArgumentText]] = {}
    for one in continuations:
        by_form.setdefault(one.form, []).append(one)
    draw = random.Random(0)
    found: list[ArgumentText] = []
    for own in by_form.values():
        found += draw.sample(own, min(len(own), TEXTS, max(4, ALL_TEXTS // len(by_form))))
    draw.shuffle(found)
    return found


@dataclass
class _Batch:
    """A batch of texts with the KV cache of what precedes them, which the learned embeddings do not change."""

    cache: list[tuple[torch.Tensor, torch.Tensor]]
    mask: torch.Tensor
    forms: torch.Tensor
    ids: torch.Tensor
    labels: torch.Tensor
    positions: torch.Tensor

    @classmethod
    def of(cls, network: ExportNetwork, texts: Sequence[ArgumentText], count: int) -> "_Batch":
        before, after = max(len(one.before) for one in texts), max(len(one.written) for one in texts)
        ids = torch.zeros(len(texts), before, dtype=torch.long)
        mask = torch.zeros(len(texts), before + count + after, dtype=torch.long)
        written = torch.zeros(len(texts), after, dtype=torch.long)
        labels = torch.full((len(texts), count + after), -100, dtype=torch.long)
        for row, one in enumerate(texts):
            # Left padding puts all calls into the same columns.
            ids[row, before - len(one.before) :] = torch.tensor(one.before)
            mask[row, before - len(one.before) : before + count + len(one.written)] = 1
            written[row, : len(one.written)] = torch.tensor(one.written)
            labels[row, count - 1 : count - 1 + len(one.written)] = torch.tensor(one.written)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        with torch.no_grad():
            output = network.model.get_decoder()(
                input_ids=ids, attention_mask=mask[:, :before], position_ids=positions[:, :before], use_cache=True
            )
        cache = [(layer.keys, layer.values) for layer in output.past_key_values.layers]
        return cls(cache, mask, torch.tensor([one.form for one in texts]), written, labels, positions[:, before:])

    def loss(self, network: ExportNetwork, rows: torch.Tensor) -> torch.Tensor:
        from transformers import DynamicCache

        cache: Any = DynamicCache()
        for layer, (keys, values) in enumerate(self.cache):
            cache.update(keys, values, layer)
        table = network.input_embeddings
        embedded = torch.cat([rows[self.forms].to(table.dtype), table[self.ids]], dim=1)
        hidden = network.model.get_decoder()(
            inputs_embeds=embedded,
            attention_mask=self.mask,
            position_ids=self.positions,
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state
        kept = self.labels >= 0
        logits = hidden[kept] @ network.output_embeddings[: network.vocabulary_size].T
        return torch.nn.functional.cross_entropy(logits.float(), self.labels[kept])
