"""Learning P(call): the request's own logit, then a logistic model over sampled sets of tools."""

import random
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import torch

from toolken.training.pretraining.learning_set import LearningSet
from toolken.training.prior.call_features import CallGate, expanded, score_features

#: Penalty of the request's logit, chosen on dev domains, and of the model over sampled sets.
REQUEST_PENALTY, PENALTY = 1e-4, 1e-4
#: Sampled sets of each request.
REPEATS = 2
#: Share of the requests whose right tool is left out of the set.
LEFT_OUT = 0.3
#: Numbers of tools of other domains that are added to a set, and the most tools of its own.
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
    views
        Whitened views of all requests, `(n, m)`.
    requests, tools
        Places `(n, m)` and `(T, m)`.
    """

    held_out: Collection[str]
    views: torch.Tensor
    requests: torch.Tensor
    tools: torch.Tensor


def fit_gate(data: LearningSet, folds: Iterable[PlacedTexts], everything: PlacedTexts, *, seed: int = 0) -> CallGate:
    """Fit the gate on the train domains.

    Each fold of domains is scored by a request logit and a metric that were learned on the others, as they are for
    tools that were never seen.

    Parameters
    ----------
    data
        The corpora.
    folds
        The texts in the metric of each fold.
    everything
        The texts in the metric of all train domains.
    seed
        Seed of the sampled sets.
    """
    train = data.of_split("train")
    asks = torch.tensor([float(one.asks) for one in data.requests], dtype=torch.float64)
    sets = SampledSets(data, "train", seed)
    rows: list[torch.Tensor] = []
    labels: list[float] = []
    for fold in folds:
        inside = [at for at in train if data.requests[at].domain not in fold.held_out]
        outside = [at for at in train if data.requests[at].domain in fold.held_out]
        if not inside or not outside:
            continue
        weights, bias = logistic(fold.views[inside].double(), asks[inside], REQUEST_PENALTY)
        logits = (fold.views[outside].double() @ weights + bias).float()
        scores = fold.requests[outside] @ fold.tools.T
        for _ in range(REPEATS):
            for place in range(len(outside)):
                chosen, right = sets.draw(outside[place])
                rows.append(score_features(scores[place : place + 1, chosen], logits[place : place + 1]))
                labels.append(float(right))
    features, targets = torch.cat(rows).double(), torch.tensor(labels, dtype=torch.float64)
    mean, deviation = features.mean(0), features.std(0).clamp(min=1e-3)
    weights, bias = logistic(expanded((features - mean) / deviation), targets, PENALTY)
    request, request_bias = logistic(everything.views[train].double(), asks[train], REQUEST_PENALTY)
    return CallGate(*(one.float() for one in (request, request_bias, mean, deviation, weights, bias)))
