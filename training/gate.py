"""`Gate`: whether anything is called at all, apart from the question which tool it is."""

from dataclasses import dataclass

import torch

from toolken.errors import HeadError
from toolken.training.features import WORDS, Decisions

#: Weight of the ridge penalty on the gate, in units of one example at one standard deviation. Chosen on GSM8K-XL train.
RIDGE = 1.0


@dataclass(frozen=True)
class Gate:
    """One learned vector against the words: `P(call) = sigmoid(u'h + c - logsumexp(z))`.

    `u'h + c` is the logit of all tools together, competing with the word logits z in one softmax
    (design: method, gate and selection).

    Attributes
    ----------
    row
        u, `(d,) float64`.
    bias
        c.
    """

    row: torch.Tensor
    bias: float

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the joint logit of the tools, `(n,)`, for states `(n, d)`."""
        return hidden @ self.row.to(hidden.dtype) + self.bias

    def probabilities(self, hidden: torch.Tensor, logsumexp: torch.Tensor) -> torch.Tensor:
        """Return P(call), `(n,)`, for states `(n, d)` and the words' logsumexp `(n,)`."""
        return torch.sigmoid(self.logits(hidden) - logsumexp)


def fit_gate(points: Decisions, ridge: float = RIDGE) -> Gate:
    """Fit the gate by logistic regression with an offset; convex, so the result does not depend on where it starts.

    The penalty is on the row in whitened coordinates (design: method, fact 3): no direction is favoured by its scale.

    Parameters
    ----------
    points
        Decisions, those labelled `WORDS` against all others.

    Raises
    ------
    HeadError
        If there is no decision of one of the two kinds, or the fit does not come to a finite result.
    """
    calls = (points.labels != WORDS).to(torch.float64)
    if not 0 < float(calls.sum()) < len(calls):
        raise HeadError("The gate needs decisions of both kinds, calls and words: give examples of each.")
    hidden = points.hidden.to(torch.float64)
    mean = hidden.mean(0)
    centred = hidden - mean
    covariance = centred.T @ centred / len(hidden)
    size = covariance.shape[0]
    level = float(covariance.trace()) / size
    factor = torch.linalg.cholesky(covariance + 0.01 * level * torch.eye(size, dtype=torch.float64))
    white = torch.linalg.solve_triangular(factor, centred.T, upper=False).T
    offset = points.logsumexp.to(torch.float64)
    # Calls and words weigh the same in total: how many words an answer has says nothing about the next question.
    share = calls.mean()
    weights = torch.where(calls > 0, 0.5 / share, 0.5 / (1 - share))

    row = torch.zeros(size, dtype=torch.float64, requires_grad=True)
    bias = offset.mean().clone().requires_grad_(True)
    optimiser = torch.optim.LBFGS([row, bias], max_iter=200, tolerance_grad=1e-6, line_search_fn="strong_wolfe")

    def closure() -> float:
        optimiser.zero_grad()
        margins = white @ row + bias - offset
        losses = torch.nn.functional.binary_cross_entropy_with_logits(margins, calls, weight=weights, reduction="sum")
        objective = losses + 0.5 * ridge * row.square().sum()
        objective.backward()
        return float(objective.detach())

    optimiser.step(closure)
    whole = torch.linalg.solve_triangular(factor.T, row.detach()[:, None], upper=True)[:, 0]
    if not bool(torch.isfinite(whole).all()):
        raise HeadError("The gate did not come to a finite result: check the hidden states for extreme values.")
    return Gate(whole, float(bias.detach()) - float(whole @ mean))
