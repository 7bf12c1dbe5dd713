"""`Gate`: whether anything is called at all, apart from the question which tool it is."""

from dataclasses import dataclass

import torch

from toolken.errors import HeadError
from toolken.training.closed_form import discriminant, shrunk
from toolken.training.features import WORDS, Decisions

#: Shrinkage of the covariance behind an opening's boundary, and ridge penalty (in examples at one standard deviation)
#: on that behind a result. Chosen on held-out problems of the project's own generators.
SHRINKAGE, RIDGE = 0.1, 1.0


@dataclass(frozen=True)
class Boundary:
    """A linear boundary between calls and words: `log odds of a call = v'h + c`.

    Attributes
    ----------
    row
        v, `(d,) float64`.
    bias
        c.
    """

    row: torch.Tensor
    bias: float

    def log_odds(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the log odds of a call, `(n,)`, for states `(n, d)`."""
        return hidden @ self.row.to(hidden.dtype) + self.bias


@dataclass(frozen=True)
class Gate:
    """P(call | h), one learned vector for each kind of place at which it is decided.

    Whether a question wants a tool and whether a result wants another one are different questions, asked of states that
    have little in common; one vector for both answers neither well.

    Attributes
    ----------
    opening
        Behind the opening of an answer, or anywhere in running text.
    following
        Behind a result.
    """

    opening: Boundary
    following: Boundary

    def log_odds(self, hidden: torch.Tensor, *, after_result: bool) -> torch.Tensor:
        """Return the log odds of a call, `(n,)`, for states `(n, d)` of one kind of place."""
        return (self.following if after_result else self.opening).log_odds(hidden)


def fit_gate(points: Decisions, background: Decisions, *, running_text: bool) -> Gate:
    """Fit the gate.

    Behind an opening, calls and words are two clouds and linear discriminant analysis parts them; the background's
    requests count as calls of little weight, so that a tool that is added later is called as well. Behind a result,
    and in running text, the states of calls and words overlap, and logistic regression is better.

    Parameters
    ----------
    points
        Decisions of the examples, those labelled `WORDS` against all others.
    background
        Decisions of the background, labelled in the same way.
    running_text
        Whether the examples' decisions fall everywhere in running text.

    Raises
    ------
    HeadError
        If the states do not vary or are not finite.
    """
    own, following = points.where(~points.after_result), points.where(points.after_result)
    if running_text and _has_both(own):
        opening = logistic_boundary(own)
    else:
        weights = torch.cat([torch.ones(len(own.labels)), _background_weights(own, background)]).double()
        opening = discriminant_boundary(Decisions.join([own, background]), weights)
    return Gate(opening, logistic_boundary(following) if _has_both(following) else _never(opening))


def discriminant_boundary(points: Decisions, weights: torch.Tensor, shrinkage: float = SHRINKAGE) -> Boundary:
    """Return the boundary of linear discriminant analysis with equal weight of the two classes.

    Parameters
    ----------
    weights
        Weight of each decision, `(n,) float64`.
    """
    hidden, calls = points.hidden.double(), points.labels != WORDS
    means = []
    residuals = torch.empty_like(hidden)
    for mask in (calls, ~calls):
        mean = (hidden[mask] * weights[mask, None]).sum(0) / weights[mask].sum()
        residuals[mask] = hidden[mask] - mean
        means.append(mean)
    covariance = (residuals * weights[:, None]).T @ residuals / weights.sum()
    rows, biases = discriminant(torch.stack(means), shrunk(covariance, shrinkage))
    return Boundary(rows[0] - rows[1], float(biases[0] - biases[1]))


def logistic_boundary(points: Decisions, ridge: float = RIDGE) -> Boundary:
    """Return the boundary of logistic regression; convex, so the result does not depend on where it starts.

    The penalty is on the row in whitened coordinates (design: method, fact 3): no direction is favoured by its scale.
    """
    hidden, calls = points.hidden.double(), (points.labels != WORDS).double()
    mean = hidden.mean(0)
    centred = hidden - mean
    factor = torch.linalg.cholesky(shrunk(centred.T @ centred / len(hidden), 0.01))
    white = torch.linalg.solve_triangular(factor, centred.T, upper=False).T
    row = torch.zeros(hidden.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([row, bias], max_iter=200, tolerance_grad=1e-6, line_search_fn="strong_wolfe")

    def closure() -> float:
        optimiser.zero_grad()
        losses = torch.nn.functional.binary_cross_entropy_with_logits(white @ row + bias, calls, reduction="sum")
        objective = losses + 0.5 * ridge * row.square().sum()
        objective.backward()
        return float(objective.detach())

    optimiser.step(closure)
    whole = torch.linalg.solve_triangular(factor.T, row.detach()[:, None], upper=True)[:, 0]
    if not bool(torch.isfinite(whole).all()):
        raise HeadError("The gate did not come to a finite result: check the hidden states for extreme values.")
    return Boundary(whole, float(bias.detach()) - float(whole @ mean))


def _background_weights(own: Decisions, background: Decisions) -> torch.Tensor:
    """Return the background's weights: words count fully, requests a tenth where there are calls of one's own."""
    requests = 0.1 if bool((own.labels != WORDS).any()) else 1.0
    return torch.where(background.labels != WORDS, requests, 1.0)


def _has_both(points: Decisions) -> bool:
    calls = int((points.labels != WORDS).sum())
    return 0 < calls < len(points.labels)


def _never(like: Boundary) -> Boundary:
    """Return the boundary that never calls: without an example of a second call, one is more often wrong than right."""
    return Boundary(torch.zeros_like(like.row), -30.0)
