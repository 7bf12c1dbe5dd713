"""Input rows of the added tokens: what the LM reads where a call stands, so that it writes the call's arguments.

In the project a toolken is never read. In a checkpoint it stands in the text, and what is written behind it depends on
its input row. The row starts as the mean of the rows of the text that it stands for, and is then learned by gradient
descent through the frozen LM (prompt tuning, Lester et al. 2021, arXiv 2104.08691) on the demonstrations of arguments.
Tools whose arguments have the same names share one row: it has to say what is written, not which tool it is.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from toolken.training.export.network import ExportNetwork

#: Texts of a step, texts a row is learned on at most and all rows together, passes over them, and step size of Adam as
#: a share of the rows' norm.
BATCH, TEXTS, ALL_TEXTS, PASSES, RATE = 8, 40, 120, 10, 0.1


@dataclass(frozen=True)
class Continuation:
    """What shall be written behind an added token.

    Attributes
    ----------
    before
        Tokens in front of it.
    row
        Index of the row that is learned.
    written
        Tokens behind it.
    """

    before: list[int]
    row: int
    written: list[int]


def mean_rows(network: ExportNetwork, texts: Sequence[Sequence[int]]) -> torch.Tensor:
    """Return the mean of the input rows of each text's tokens, `(len(texts), d) float32`."""
    rows = network.input_rows
    return torch.stack([rows[torch.tensor(list(ids))].float().mean(0) for ids in texts])


def learn_rows(
    network: ExportNetwork,
    start: torch.Tensor,
    continuations: Sequence[Continuation],
    *,
    passes: int | None = None,
    advance: Callable[[int], None] | None = None,
) -> torch.Tensor:
    """Return rows `(n, d) float32` behind which the LM writes the continuations as well as it can.

    Parameters
    ----------
    start
        Where they start, `(n, d)`.
    advance
        Called with 1 after each step; there are `steps_of` of them.
    """
    chosen = _chosen(continuations)
    if not chosen:
        return start.clone()
    rows = start.clone().float().requires_grad_(True)
    batches = [_Batch.of(network, chosen[at : at + BATCH]) for at in range(0, len(chosen), BATCH)]
    rate = RATE * float(start.norm(dim=1).mean())
    optimiser = torch.optim.Adam([rows], lr=rate, betas=(0.9, 0.95))
    passes = passes or PASSES
    total = passes * len(batches)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: max(1.0 - step / total, 0.05))
    for _ in range(passes):
        for batch in batches:
            optimiser.zero_grad()
            batch.loss(network, rows).backward()
            optimiser.step()
            schedule.step()
            if advance is not None:
                advance(1)
    return rows.detach()


def steps_of(continuations: Sequence[Continuation], passes: int | None = None) -> int:
    """Return how many steps `learn_rows` takes."""
    return (passes or PASSES) * -(-len(_chosen(continuations)) // BATCH)


def _chosen(continuations: Sequence[Continuation]) -> list[Continuation]:
    """Return a few continuations of each row, in mixed order."""
    by_row: dict[int, list[Continuation]] = {}
    for one in continuations:
        by_row.setdefault(one.row, []).append(one)
    draw = random.Random(0)
    found: list[Continuation] = []
    for own in by_row.values():
        found += draw.sample(own, min(len(own), TEXTS, max(4, ALL_TEXTS // len(by_row))))
    draw.shuffle(found)
    return found


@dataclass
class _Batch:
    """Some continuations: the LM has read what stands before them once, since nothing that is learned changes it."""

    cache: list[tuple[torch.Tensor, torch.Tensor]]
    mask: torch.Tensor
    rows: torch.Tensor
    ids: torch.Tensor
    labels: torch.Tensor
    positions: torch.Tensor

    @classmethod
    def of(cls, network: ExportNetwork, texts: Sequence[Continuation]) -> "_Batch":
        before, behind = max(len(one.before) for one in texts), max(len(one.written) for one in texts)
        ids = torch.zeros(len(texts), before, dtype=torch.long)
        mask = torch.zeros(len(texts), before + 1 + behind, dtype=torch.long)
        written = torch.zeros(len(texts), behind, dtype=torch.long)
        labels = torch.full((len(texts), 1 + behind), -100, dtype=torch.long)
        for row, one in enumerate(texts):
            # Padding stands to the left, so that all calls stand in one column.
            ids[row, before - len(one.before) :] = torch.tensor(one.before)
            mask[row, before - len(one.before) : before + 1 + len(one.written)] = 1
            written[row, : len(one.written)] = torch.tensor(one.written)
            labels[row, : len(one.written)] = torch.tensor(one.written)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        with torch.no_grad():
            output = network.model.get_decoder()(
                input_ids=ids, attention_mask=mask[:, :before], position_ids=positions[:, :before], use_cache=True
            )
        cache = [(layer.keys, layer.values) for layer in output.past_key_values.layers]
        return cls(cache, mask, torch.tensor([one.row for one in texts]), written, labels, positions[:, before:])

    def loss(self, network: ExportNetwork, rows: torch.Tensor) -> torch.Tensor:
        from transformers import DynamicCache

        cache: Any = DynamicCache()
        for layer, (keys, values) in enumerate(self.cache):
            cache.update(keys, values, layer)
        table = network.input_rows
        embedded = torch.cat([rows[self.rows][:, None].to(table.dtype), table[self.ids]], dim=1)
        hidden = network.model.get_decoder()(
            inputs_embeds=embedded,
            attention_mask=self.mask,
            position_ids=self.positions,
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state
        kept = self.labels >= 0
        logits = hidden[kept] @ network.output_rows[: network.words].T
        return torch.nn.functional.cross_entropy(logits.float(), self.labels[kept])
