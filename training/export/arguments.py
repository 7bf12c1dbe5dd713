"""Input rows of the added tokens: what the LM reads where a call stands, so that it writes the call's arguments.

In the project a toolken is never read. In a checkpoint it stands in the text, with some virtual tokens behind it, and
what is written then depends on their input rows. These start as the rows of the text with which the arguments begin,
and are then learned by gradient descent through the frozen LM (prompt tuning, Lester et al. 2021, arXiv 2104.08691) on
the few-shot examples of arguments. Tools whose arguments have the same names share their rows: they have to say what is
written, not which tool it is. What all forms learn in common is learned once: rows are `start + common + own`.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from toolken.training.export.network import ExportNetwork

#: Texts of a step, texts a form is learned on at most and all forms together, passes over them, and step size of Adam
#: as a share of the rows' norm.
BATCH, TEXTS, ALL_TEXTS, PASSES, RATE = 8, 40, 120, 8, 0.05


@dataclass(frozen=True)
class ArgumentText:
    """What shall be written behind an added token.

    Attributes
    ----------
    before
        Tokens in front of it.
    form
        Index of the form whose rows are learned.
    written
        Tokens behind it.
    """

    before: list[int]
    form: int
    written: list[int]


def text_rows(network: ExportNetwork, texts: Sequence[Sequence[int]], count: int) -> torch.Tensor:
    """Return so many input rows for each text, `(len(texts), count, d) float32`: its tokens', in order.

    Of a longer text the rows of neighbouring tokens are averaged, of a shorter one they are repeated.
    """
    found = []
    for ids in texts:
        rows = network.input_rows[torch.tensor(list(ids))].float()
        if len(rows) < count:
            rows = rows.repeat_interleave(-(-count // len(rows)), 0)
        found.append(torch.stack([part.mean(0) for part in rows.tensor_split(count)]))
    return torch.stack(found)


def learn_rows(
    network: ExportNetwork,
    start: torch.Tensor,
    continuations: Sequence[ArgumentText],
    *,
    passes: int | None = None,
    advance: Callable[[int], None] | None = None,
) -> torch.Tensor:
    """Return rows `(n, k, d) float32` behind which the LM writes the continuations as well as it can.

    Parameters
    ----------
    start
        Where they start, `(n, k, d)`.
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
    """Return how many steps `learn_rows` takes."""
    return (passes or PASSES) * -(-len(_chosen(continuations)) // BATCH)


def _chosen(continuations: Sequence[ArgumentText]) -> list[ArgumentText]:
    """Return a few continuations of each form, in mixed order."""
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
    """Some continuations: the LM has read what stands before them once, since nothing that is learned changes it."""

    cache: list[tuple[torch.Tensor, torch.Tensor]]
    mask: torch.Tensor
    forms: torch.Tensor
    ids: torch.Tensor
    labels: torch.Tensor
    positions: torch.Tensor

    @classmethod
    def of(cls, network: ExportNetwork, texts: Sequence[ArgumentText], count: int) -> "_Batch":
        before, behind = max(len(one.before) for one in texts), max(len(one.written) for one in texts)
        ids = torch.zeros(len(texts), before, dtype=torch.long)
        mask = torch.zeros(len(texts), before + count + behind, dtype=torch.long)
        written = torch.zeros(len(texts), behind, dtype=torch.long)
        labels = torch.full((len(texts), count + behind), -100, dtype=torch.long)
        for row, one in enumerate(texts):
            # Padding stands to the left, so that all calls stand in the same columns.
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
        table = network.input_rows
        embedded = torch.cat([rows[self.forms].to(table.dtype), table[self.ids]], dim=1)
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
