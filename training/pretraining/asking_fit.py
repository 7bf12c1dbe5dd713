"""`fit_asking`: learn from messages that ask for a tool, and from others, which of both a message is."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch.nn.functional import binary_cross_entropy_with_logits, dropout, gelu

from toolken.training.prior.asking import AskingModel
from toolken.training.prior.request_reader import ReadTexts

#: Heads of the attention, and width of the hidden layer. All settings were chosen on dev domains.
HEADS, HIDDEN = 8, 64
STEPS, BATCH = 200, 256
RATE, QUERY_RATE, DECAY = 3e-3, 1e-2, 0.05
#: Shares of words, inputs and hidden units that are left out by chance.
WORDS_DROPPED, DROPPED = 0.1, 0.2


def fit_asking(
    texts: ReadTexts,
    asking: Sequence[int],
    others: Sequence[int],
    *,
    seed: int = 0,
    steps: int = STEPS,
    advance: Callable[[int], None] = lambda _: None,
) -> AskingModel:
    """Fit the model; both kinds of messages count alike.

    Parameters
    ----------
    texts
        All messages.
    asking, others
        Indices of messages that ask for a tool, and of others.
    seed
        Seed of start and batches.
    steps
        Steps of learning.
    advance
        Called after each step.
    """
    size, layers = texts.last.shape[1], texts.states.shape[1]
    words = texts.states[:: max(1, len(texts.states) // 40_000)].float()
    last = texts.last.float()
    means = torch.cat([words.mean(0), last.mean(0)[None]])
    deviations = torch.cat([words.std(0), last.std(0)[None]]).clamp(min=1e-4)
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    try:
        hidden = torch.nn.Linear((HEADS + 1) * size, HIDDEN)
        output = torch.nn.Linear(HIDDEN, 1)
        queries = torch.nn.Parameter(torch.randn(HEADS, size) * 0.02)
        # In units of each dimension's spread, which differs by orders of magnitude.
        units = deviations[[head % layers for head in range(HEADS)]] * size**0.5
        start = AskingModel(
            queries=queries.detach() / units,
            means=means,
            deviations=deviations,
            inner=hidden.weight.detach().T,
            inner_bias=hidden.bias.detach(),
            outer=output.weight.detach()[0],
            outer_bias=output.bias.detach(),
        )
        groups = ((QUERY_RATE, 0.0, [queries]), (RATE, DECAY, [*hidden.parameters(), *output.parameters()]))
        optimiser = torch.optim.AdamW([{"params": p, "lr": rate, "weight_decay": decay} for rate, decay, p in groups])
        rng, half = random.Random(seed), BATCH // 2
        targets = torch.cat([torch.ones(half), torch.zeros(half)])
        for step in range(1, steps + 1):
            for group, (rate, _, _) in zip(optimiser.param_groups, groups, strict=True):
                group["lr"] = rate * min(1, step / 20) * (1 - step / (steps + 1))
            rows = rng.choices(asking, k=half) + rng.choices(others, k=half)
            inputs = dropout(replace(start, queries=queries / units).inputs(texts, rows, WORDS_DROPPED), DROPPED)
            logits = output(dropout(gelu(hidden(inputs)), DROPPED))[:, 0]
            loss = binary_cross_entropy_with_logits(logits, targets)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            advance(1)
    finally:
        torch.set_rng_state(state)
    return replace(
        start,
        queries=queries.detach() / units,
        inner=hidden.weight.detach().T.contiguous(),
        inner_bias=hidden.bias.detach(),
        outer=output.weight.detach()[0],
        outer_bias=output.bias.detach(),
    )
