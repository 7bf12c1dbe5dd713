"""`CallGate`: P(call) for any set of tools, from the request and from how its similarities to the tools are spread."""

import math
from dataclasses import dataclass

import torch

#: Stand-ins for a single tool, which has no second best: the margin, and the best score in units of the spread.
LONE_MARGIN, LONE_SPREAD = 0.3, 2.0
#: Added to the spread of the other tools' similarities, which is small by chance for few tools.
SPREAD_FLOOR = 0.02


def score_features(scores: torch.Tensor, request_logits: torch.Tensor) -> torch.Tensor:
    """Return the features of decisions, `(n, 5)`.

    They are the best similarity, its margin over the second, the best in units of the spread of the others, the log of
    the number of tools, and the request's own logit.

    Parameters
    ----------
    scores
        Similarities to the tools, `(n, T)`.
    request_logits
        `(n,)`.
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
    return torch.stack([best, margin, spread, torch.full_like(best, math.log(count)), request_logits], dim=1)


def expanded(features: torch.Tensor) -> torch.Tensor:
    """Return standardised features `(n, 5)` with some products and all squares, `(n, 13)`."""
    best, margin, _, count, request = features.unbind(1)
    products = torch.stack([best * request, margin * request, best * count], dim=1)
    return torch.cat([features, products, features.square()], dim=1)


@dataclass(frozen=True, eq=False)
class CallGate:
    """A logistic model of whether a request asks for one of the tools at hand.

    Attributes
    ----------
    request, request_bias
        The request's own logit is `z request + request_bias`: `(m,)` and `(1,)`, of its views z. It knows negated,
        hypothetical and quoted requests, thanks and small talk.
    mean, deviation
        Mean and standard deviation of the features, `(5,)`.
    weights, bias
        Of the expanded features, `(13,)` and `(1,)`.
    """

    request: torch.Tensor
    request_bias: torch.Tensor
    mean: torch.Tensor
    deviation: torch.Tensor
    weights: torch.Tensor
    bias: torch.Tensor

    def log_odds(self, requests: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return the log odds of a call `(n,)`, given the requests' views `(n, m)` and similarities `(n, T)`."""
        features = score_features(scores, requests @ self.request + self.request_bias)
        return expanded((features - self.mean) / self.deviation) @ self.weights + self.bias

    def to(self, device: torch.device) -> "CallGate":
        """Return the gate on a device."""
        return CallGate(*(tensor.to(device) for tensor in self.tensors().values()))

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the numbers by name, for files."""
        names = ("request", "request_bias", "mean", "deviation", "weights", "bias")
        return {f"gate.{name}": getattr(self, name) for name in names}

    @classmethod
    def of(cls, tensors: dict[str, torch.Tensor]) -> "CallGate":
        """Return the gate of numbers by name.

        Raises
        ------
        KeyError
            If one is missing.
        """
        names = ("request", "request_bias", "mean", "deviation", "weights", "bias")
        return cls(*(tensors[f"gate.{name}"] for name in names))
