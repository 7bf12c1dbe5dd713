"""`CallGate`: whether one of the tools at hand fits a request, from how its similarities to the tools are spread."""

import math
from dataclasses import dataclass, fields

import torch

#: Stand-ins for a single tool, which has no second best: the margin, and the best score in units of the spread.
LONE_MARGIN, LONE_SPREAD = 0.3, 2.0
#: Added to the spread of the other tools' similarities, which is small by chance for few tools.
SPREAD_FLOOR = 0.02


def score_features(scores: torch.Tensor) -> torch.Tensor:
    """Return the features `(n, 4)` of similarities to the tools `(n, T)`.

    They are the best similarity, its margin over the second, the best in units of the spread of the others, and the log
    of the number of tools.
    """
    count = scores.shape[1]
    best = scores.amax(1)
    if count > 1:
        top = torch.topk(scores, 2, dim=1).values
        margin = top[:, 0] - top[:, 1]
    else:
        margin = torch.full_like(best, LONE_MARGIN)
    if count > 3:
        # Sums without the best one, whose removal changes mean and spread.
        rest = count - 1
        mean = (scores.sum(1) - best) / rest
        variance = ((scores.square().sum(1) - best.square()) / rest - mean.square()).clamp(min=0) * rest / (rest - 1)
        spread = (best - mean) / (variance.sqrt() + SPREAD_FLOOR)
    else:
        spread = torch.full_like(best, LONE_SPREAD)
    return torch.stack([best, margin, spread, torch.full_like(best, math.log(count))], dim=1)


def expanded(features: torch.Tensor) -> torch.Tensor:
    """Return standardised features `(n, 4)` with all their products, `(n, 14)`."""
    count = features.shape[1]
    products = [features[:, a] * features[:, b] for a in range(count) for b in range(a, count)]
    return torch.cat([features, torch.stack(products, dim=1)], dim=1)


@dataclass(frozen=True, eq=False)
class CallGate:
    """A logistic model of whether one of the tools at hand fits a request that asks for something.

    Attributes
    ----------
    mean, deviation
        Mean and standard deviation of the features, `(4,)`.
    weights, bias
        Of the expanded features, `(14,)` and `(1,)`.
    """

    mean: torch.Tensor
    deviation: torch.Tensor
    weights: torch.Tensor
    bias: torch.Tensor

    def log_odds(self, scores: torch.Tensor) -> torch.Tensor:
        """Return the log odds `(n,)` that a tool fits, given similarities to the tools `(n, T)`."""
        return expanded((score_features(scores) - self.mean) / self.deviation) @ self.weights + self.bias

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the numbers by name, for files."""
        return {f"gate.{one.name}": getattr(self, one.name).contiguous() for one in fields(self)}

    @classmethod
    def of(cls, tensors: dict[str, torch.Tensor]) -> "CallGate":
        """Return the gate of numbers by name.

        Raises
        ------
        KeyError
            If one is missing.
        """
        return cls(**{one.name: tensors[f"gate.{one.name}"] for one in fields(cls)})


def both(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Return the log odds that two independent events happen, given the log odds of each."""
    log_both = torch.nn.functional.logsigmoid(one) + torch.nn.functional.logsigmoid(other)
    # 1 - p q = (1 - p) + p (1 - q), which keeps precision where the product is nearly 1.
    log_not = torch.logaddexp(
        torch.nn.functional.logsigmoid(-one),
        torch.nn.functional.logsigmoid(one) + torch.nn.functional.logsigmoid(-other),
    )
    return log_both - log_not
