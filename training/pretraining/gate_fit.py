"""Learning whether a tool fits: a logistic model over sampled sets of tools, with the right one in or out."""

import random
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import torch

from toolken.errors import DataFormatError
from toolken.training.pretraining.learning_set import LearningSet
from toolken.training.prior.call_gate import CallGate, expanded, score_features

#: Penalty of the squared weights.
PENALTY = 1e-4
#: The kind of requests that ask for something that no tool of their domain does.
NO_TOOL = "no_tool"
#: Sampled sets of each request.
REPEATS = 2
#: Share of the requests whose right tool is left out of the set.
LEFT_OUT = 0.3
#: Numbers of tools of other domains that are added to a set, and the most tools of its domain.
OTHERS = (0, 0, 5, 20, 60)
OWN = 20


def logistic(inputs: torch.Tensor, targets: torch.Tensor, penalty: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return weights `(m,)` and bias `(1,)` of a penalised logistic regression, fitted by L-BFGS in float64."""
    weights = torch.zeros(inputs.shape[1] + 1, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([weights], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        logits = inputs @ weights[:-1] + weights[-1]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets)
        loss = loss + penalty * weights[:-1].square().sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    found = weights.detach()
    return found[:-1], found[-1:]


class SampledSets:
    """Sets of tools for requests: those of its domain, perhaps without the right one, and some of others.

    Parameters
    ----------
    data
        The corpora.
    split
        Tools of this split are sampled.
    seed
        Seed of the samples.
    """

    def __init__(self, data: LearningSet, split: str, seed: int = 0) -> None:
        self.data = data
        self._rng = random.Random(seed)
        self._tools = {domain: data.tools_of(domain) for domain, where in data.splits.items() if where == split}

    def draw(self, at: int, others: int | None = None, *, left_out: bool | None = None) -> tuple[list[int], bool]:
        """Return the tools of a set for a request, and whether the request asks for one of them.

        Parameters
        ----------
        at
            Index of the request.
        others
            Number of tools of other domains; drawn by default.
        left_out
            Whether the right tool is left out; drawn by default.
        """
        request, rng = self.data.requests[at], self._rng
        own = list(self._tools[request.domain])
        own = own if len(own) <= OWN else rng.sample(own, OWN)
        right = request.tool if request.tool >= 0 else request.about if request.asks else -1
        pool = [tool for domain, tools in self._tools.items() if domain != request.domain for tool in tools]
        count = rng.choice(OTHERS) if others is None else others
        chosen = own + rng.sample(pool, min(count, len(pool)))
        if others is None and rng.random() < 0.3:
            chosen = rng.sample(chosen, max(1, len(chosen) // 2))
        if right < 0:
            return chosen, False
        gone = rng.random() < LEFT_OUT if left_out is None else left_out
        if gone:
            chosen = [tool for tool in chosen if tool != right]
            return chosen or [rng.choice(pool or own)], False
        return (chosen if right in chosen else [*chosen, right]), True


@dataclass(frozen=True)
class PlacedTexts:
    """Requests and tools in a metric that was learned without some domains.

    Attributes
    ----------
    held_out
        The domains.
    requests, tools
        Places `(n, m)` and `(T, m)`.
    """

    held_out: Collection[str]
    requests: torch.Tensor
    tools: torch.Tensor


def fit_gate(data: LearningSet, folds: Iterable[PlacedTexts], *, seed: int = 0) -> CallGate:
    """Fit the gate on requests of the train domains that ask for something, for which a tool may be there or not.

    Each fold of domains is scored by a metric that was learned on the others, as it is for tools that were never seen.

    Parameters
    ----------
    data
        The corpora.
    folds
        The texts in the metric of each fold.
    seed
        Seed of the sampled sets.
    """
    asking = [at for at in data.of_split("train") if data.requests[at].asks or data.requests[at].kind == NO_TOOL]
    sets = SampledSets(data, "train", seed)
    rows: list[torch.Tensor] = []
    labels: list[float] = []
    for fold in folds:
        outside = [at for at in asking if data.requests[at].domain in fold.held_out]
        scores = fold.requests[outside] @ fold.tools.T
        for _ in range(REPEATS):
            for place, at in enumerate(outside):
                chosen, right = sets.draw(at)
                rows.append(score_features(scores[place : place + 1, chosen]))
                labels.append(float(right))
    if not rows:
        raise DataFormatError("The train domains are too few: give corpora of at least two.")
    features, targets = torch.cat(rows).double(), torch.tensor(labels, dtype=torch.float64)
    mean, deviation = features.mean(0), features.std(0).clamp(min=1e-3)
    weights, bias = logistic(expanded((features - mean) / deviation), targets, PENALTY)
    return CallGate(*(one.float() for one in (mean, deviation, weights, bias)))
