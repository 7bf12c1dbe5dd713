"""Logistic regression with a ridge penalty on whitened states, which separates calls from no calls."""

from dataclasses import dataclass

import torch

from toolken.errors import HeadError
from toolken.training.estimation.covariance import cholesky, shrunk, unwhitened, whitened, whitened_form
from toolken.training.estimation.statistics import blocks


@dataclass(frozen=True)
class Boundary:
    """A linear boundary between calls and no calls: `log odds of a call = v'h + c`.

    Attributes
    ----------
    weight
        v, `(d,) float64`.
    bias
        c.
    """

    weight: torch.Tensor
    bias: float

    def log_odds(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the log odds of a call, `(n,)`, for states `(n, d)`."""
        return hidden @ self.weight.to(hidden.dtype) + self.bias


class Whitened:
    """States in coordinates in which their covariance is the identity, so that a ridge penalty favours no direction.

    The states are whitened in blocks and kept in float32, which halves their memory; sums are float64. Rounding changes
    the fit less than the penalty does.

    Parameters
    ----------
    hidden
        States `(n, d)`.
    weights
        Weight of each, `(n,) float64`.
    shrinkage
        Shrinkage of the covariance towards a multiple of the identity. Without it, directions in which a few hundred
        states hardly vary would be amplified.

    Raises
    ------
    HeadError
        If the states do not vary or are not finite.
    """

    def __init__(self, hidden: torch.Tensor, weights: torch.Tensor, shrinkage: float) -> None:
        self._shrinkage = shrinkage
        self._mean, moment = _moments(hidden, weights)
        self._factor = cholesky(shrunk(moment, self._shrinkage))
        self.hidden = torch.empty(hidden.shape, dtype=torch.float32)
        for block in blocks(len(hidden)):
            centred = hidden[block].double() - self._mean
            self.hidden[block] = whitened(centred, self._factor).float()

    def metric(self, split: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Return the matrix M, `(d, d) float64`, of the ridge penalty `v' M v` of a fit to a split alone.

        With it the fit of a fold equals a separate fit, so that held-out examples do not affect the penalty.

        Parameters
        ----------
        split
            States `(m, d)` of the split, in these coordinates.
        weights
            Their weights `(m,) float64`.
        """
        own = shrunk(self._factor @ _moments(split, weights)[1] @ self._factor.T, self._shrinkage)
        return whitened_form(own, self._factor)

    def boundary(self, vector: torch.Tensor, bias: float) -> Boundary:
        """Return the boundary of states before whitening, given a weight vector `(d,)` in these coordinates.

        Raises
        ------
        HeadError
            If it is not finite.
        """
        weight = unwhitened(vector[None], self._factor)[0]
        if not bool(torch.isfinite(weight).all()):
            raise HeadError("The gate has no finite result: check the hidden states for extreme values.")
        return Boundary(weight, bias - float(weight @ self._mean))


def _moments(hidden: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean `(d,)` and covariance `(d, d)` of weighted states, in float64."""
    mean = torch.zeros(hidden.shape[1], dtype=torch.float64)
    covariance = torch.zeros(len(mean), len(mean), dtype=torch.float64)
    for block in blocks(len(hidden)):
        mean += weights[block] @ hidden[block].double() / weights.sum()
    for block in blocks(len(hidden)):
        centred = hidden[block].double() - mean
        covariance += (centred * weights[block, None]).T @ centred / weights.sum()
    return mean, covariance


def logistic_regression(
    white: torch.Tensor,
    calls: torch.Tensor,
    weights: torch.Tensor,
    ridge: float,
    *,
    metric: torch.Tensor | None = None,
    offset: torch.Tensor | None = None,
    start: tuple[torch.Tensor, float] | None = None,
) -> tuple[torch.Tensor, float]:
    """Return weight vector and bias of logistic regression in whitened coordinates.

    L-BFGS stops where the gradient is a millionth of the decisions: smaller ones are below the precision of float32.

    Parameters
    ----------
    white
        Whitened states `(n, d) float32`.
    calls
        Whether each decision is a call, `(n,) bool`.
    weights
        Weight of each decision, `(n,) float64`.
    ridge
        Weight of half the vector's squared length, in decisions.
    metric
        Matrix of the squared length, `(d, d) float64`; the identity by default.
    offset
        Log odds that are added to the boundary's, `(n,) float64`; 0 by default.
    start
        Initial vector and bias, which affect only the time: the objective is convex.
    """
    truth = calls.double()
    added = torch.zeros_like(truth) if offset is None else offset
    first, at = start or (torch.zeros(white.shape[1], dtype=torch.float64), 0.0)
    vector = first.clone().requires_grad_()
    bias = torch.tensor(at, dtype=torch.float64, requires_grad=True)
    enough = 1e-6 * float(weights.sum())
    optimiser = torch.optim.LBFGS([vector, bias], max_iter=200, tolerance_grad=enough, line_search_fn="strong_wolfe")

    def closure() -> float:
        optimiser.zero_grad()
        log_odds = log_odds_of(white, vector, bias) + added
        losses = torch.nn.functional.binary_cross_entropy_with_logits(log_odds, truth, reduction="none")
        objective = weights @ losses + 0.5 * ridge * vector @ (vector if metric is None else metric @ vector)
        objective.backward()
        return float(objective.detach())

    optimiser.step(closure)
    return vector.detach(), float(bias.detach())


def log_odds_of(white: torch.Tensor, vector: torch.Tensor, bias: torch.Tensor | float) -> torch.Tensor:
    """Return the log odds `(n,) float64` of states, given vector and bias in the same coordinates."""
    return (white @ vector.float()).double() + bias
