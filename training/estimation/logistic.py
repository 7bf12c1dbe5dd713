"""Logistic regression with a ridge penalty on whitened states, for boundaries between two kinds of decisions."""

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
    """States in coordinates in which their covariance is the identity: no direction is favoured there by its scale.

    They are whitened in blocks and kept in float32, sums are taken in float64: tens of thousands of states are a matter
    of memory, and their last digits are noise beside the penalty.

    Parameters
    ----------
    hidden
        States `(n, d)`.
    weights
        Weight of each, `(n,) float64`.
    shrinkage
        Of their covariance, towards a multiple of the identity: it keeps directions in which a few hundred states
        hardly vary from being blown up.

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

    def metric(self, part: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Return `(d, d) float64`: a row's squared length in the coordinates that whiten a part alone is `w' M w`.

        So the fit of a fold has the penalty of a separate fit, and held-out examples do not affect it.

        Parameters
        ----------
        part
            States `(m, d)` of the part, in these coordinates.
        weights
            Their weights `(m,) float64`.
        """
        own = shrunk(self._factor @ _moments(part, weights)[1] @ self._factor.T, self._shrinkage)
        return whitened_form(own, self._factor)

    def boundary(self, row: torch.Tensor, bias: float) -> Boundary:
        """Return the boundary, for states as they were, of a row in these coordinates."""
        whole = unwhitened(row[None], self._factor)[0]
        if not bool(torch.isfinite(whole).all()):
            raise HeadError("The gate did not come to a finite result: check the hidden states for extreme values.")
        return Boundary(whole, bias - float(whole @ self._mean))


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
    on_top: torch.Tensor | None = None,
    start: tuple[torch.Tensor, float] | None = None,
) -> tuple[torch.Tensor, float]:
    """Return row and bias of logistic regression in whitened coordinates; convex, so `start` only says how soon.

    It ends where the gradient is a millionth of the decisions: beyond, the last digits of float32 lead nowhere.

    Parameters
    ----------
    white
        Whitened states `(n, d) float32`.
    ridge
        Weight of half the row's squared length, in decisions.
    metric
        What the squared length is taken in, `(d, d) float64`; the identity by default.
    weights, on_top
        Weight of each decision and log odds that are added to the boundary's, `(n,) float64` each.
    """
    truth = calls.double()
    added = torch.zeros_like(truth) if on_top is None else on_top
    first, at = start or (torch.zeros(white.shape[1], dtype=torch.float64), 0.0)
    row = first.clone().requires_grad_()
    bias = torch.tensor(at, dtype=torch.float64, requires_grad=True)
    enough = 1e-6 * float(weights.sum())
    optimiser = torch.optim.LBFGS([row, bias], max_iter=200, tolerance_grad=enough, line_search_fn="strong_wolfe")

    def closure() -> float:
        optimiser.zero_grad()
        log_odds = log_odds_of(white, row, bias) + added
        losses = torch.nn.functional.binary_cross_entropy_with_logits(log_odds, truth, reduction="none")
        objective = weights @ losses + 0.5 * ridge * row @ (row if metric is None else metric @ row)
        objective.backward()
        return float(objective.detach())

    optimiser.step(closure)
    return row.detach(), float(bias.detach())


def log_odds_of(white: torch.Tensor, row: torch.Tensor, bias: torch.Tensor | float) -> torch.Tensor:
    """Return the log odds `(n,) float64` of states in the coordinates that row and bias are in."""
    return (white @ row.float()).double() + bias
