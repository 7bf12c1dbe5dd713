"""The refinement: the closed form, moved towards the optimum of the examples' log loss."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from toolken.errors import HeadError
from toolken.training.estimation.covariance import cholesky, unwhitened, whitened

#: The optimum counts as found where no entry of the mean objective's gradient, in whitened coordinates, exceeds this;
#: held-out losses no longer change in their sixth decimal there.
GRADIENT_TOLERANCE = 1e-7
#: Rounds of at most 100 L-BFGS iterations; well-conditioned problems need one.
ROUNDS = 20


class Anchor(NamedTuple):
    """A closed form: output embeddings `(T, d)`, biases `(T,)`, and the covariance `(d, d)` of the metric."""

    output_embeddings: torch.Tensor
    biases: torch.Tensor
    covariance: torch.Tensor


@dataclass(frozen=True)
class Refinement:
    """Settings of a refinement: the anchor's weight, in examples, and the factor on the closed form's scores."""

    penalty: float
    scale: float


@dataclass(frozen=True)
class Correction:
    """The difference between a refinement and the scaled closed form, per tool.

    It is stored apart from the closed form, so that tools can be added and removed: the other tools keep their
    correction.

    Attributes
    ----------
    names
        The refined tools.
    output_embeddings, biases
        Differences of the output embeddings `(len(names), d)` and of the biases `(len(names),)`, both float64.
    """

    names: tuple[str, ...]
    output_embeddings: torch.Tensor
    biases: torch.Tensor

    def without(self, names: Sequence[str]) -> "Correction | None":
        """Return the correction of the other tools, or None if none of them was refined."""
        gone = set(names)
        keep = [i for i, name in enumerate(self.names) if name not in gone]
        return (
            Correction(tuple(self.names[i] for i in keep), self.output_embeddings[keep], self.biases[keep])
            if keep
            else None
        )


def refine(
    hidden: torch.Tensor,
    labels: torch.Tensor,
    anchor_embeddings: torch.Tensor,
    anchor_biases: torch.Tensor,
    covariance: torch.Tensor,
    *,
    penalty: float,
    scale: float,
    start: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the output embeddings `(T, d)` and biases `(T,) float64` that minimise an anchored cross-entropy.

    The objective, with scores `s_j(h) = w_j'h + b_j` and the closed form's scores `a_j(h)`, is

        sum_i -log softmax_j(s(h_i))[y_i] + penalty / 2 sum_j E[(s_j(h) - scale a_j(h))^2],

    where the expectation is over states with the examples' mean m and the covariance S. The second term is
    `(w_j - scale a_j)' S (w_j - scale a_j)` for the embeddings, plus the squared change of the score at m for the
    biases: a ridge penalty in whitened coordinates. The objective is strictly convex, so neither a start nor a seed
    changes the result. L-BFGS minimises it in float64.

    Parameters
    ----------
    hidden, labels
        States at which tools were called `(n, d)`, and the index of each one's tool, `(n,) int64`.
    anchor_embeddings, anchor_biases
        The closed form, `(T, d)` and `(T,)`.
    covariance
        The metric S, `(d, d)`: the pooled covariance of the states around their tool's mean.
    penalty
        Weight of the anchor, in examples; above 0.
    scale
        Factor on the anchor's scores, the inverse of a temperature. Scores of discriminant analysis are over-confident
        in many dimensions: 0.05 to 0.3 is a good range.
    start
        Initial output embeddings and biases, which affect only the time; by default the scaled anchor.

    Raises
    ------
    HeadError
        If the penalty is not above 0, a state is not finite, a label is no tool's, or the covariance is singular.
    """
    if not 0 < penalty < float("inf"):
        raise HeadError(f"The refinement's penalty is {penalty}: give a finite one above 0.")
    check_decisions(hidden, labels, len(anchor_embeddings))
    if not len(labels):
        return scale * anchor_embeddings.double(), scale * anchor_biases.double()
    space = WhitenedScores.of(hidden, covariance)
    anchor = scale * space.encode(anchor_embeddings, anchor_biases)
    begin = anchor if start is None else space.encode(*start)
    return space.decode(optimum(space.states(hidden), labels, anchor, penalty, begin))


@dataclass(frozen=True)
class WhitenedScores:
    """Coordinates in which the metric is the identity: states are centred, whitened and extended by a constant 1.

    Output embedding and bias of a tool are one vector there, `(d + 1,)`, whose product with a state is the score.
    """

    mean: torch.Tensor
    factor: torch.Tensor

    @classmethod
    def of(cls, hidden: torch.Tensor, covariance: torch.Tensor) -> "WhitenedScores":
        """Return the coordinates given by the mean of states `(n, d)` and a covariance `(d, d)`."""
        return cls(hidden.double().mean(0), cholesky(covariance.double()))

    def states(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return states `(n, d)` in these coordinates, `(n, d + 1) float64`."""
        white = whitened(hidden.double() - self.mean, self.factor)
        return torch.cat([white.T, torch.ones(1, len(hidden), dtype=torch.float64)]).T.contiguous()

    def encode(self, embeddings: torch.Tensor, biases: torch.Tensor) -> torch.Tensor:
        """Return output embeddings `(T, d)` and biases `(T,)` in these coordinates, `(T, d + 1) float64`."""
        wide = embeddings.double()
        return torch.cat([wide @ self.factor, (wide @ self.mean + biases.double())[:, None]], dim=1)

    def decode(self, encoded: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Invert `encode`."""
        embeddings = unwhitened(encoded[:, :-1], self.factor)
        return embeddings, encoded[:, -1] - embeddings @ self.mean


def optimum(
    states: torch.Tensor, labels: torch.Tensor, anchor: torch.Tensor, penalty: float, start: torch.Tensor
) -> torch.Tensor:
    """Minimise the objective of `refine` over parameters `(T, d + 1)`, given whitened states `(n, d + 1)`.

    Raises
    ------
    HeadError
        If the result is not finite.
    """
    parameters = start.clone()
    weight, each = 1 / len(labels), torch.arange(len(labels))
    optimiser = torch.optim.LBFGS(
        [parameters],
        max_iter=100,
        history_size=20,
        tolerance_grad=GRADIENT_TOLERANCE,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )

    def closure() -> float:
        # The gradient takes two products here; autograd would keep copies of the scores.
        scores = states @ parameters.T
        picked = scores[each, labels].sum()
        sums = torch.logsumexp(scores, dim=1)
        scores.sub_(sums[:, None]).exp_()
        scores[each, labels] -= 1
        offset = parameters - anchor
        parameters.grad = weight * torch.addmm(offset, scores.T, states, beta=penalty)
        return weight * float(sums.sum() - picked + 0.5 * penalty * offset.square().sum())

    largest = float("inf")
    for _ in range(ROUNDS):
        optimiser.step(closure)
        closure()
        assert parameters.grad is not None
        before, largest = largest, float(parameters.grad.abs().max())
        # If a round no longer reduces the gradient, the remainder is rounding.
        if largest <= GRADIENT_TOLERANCE or not largest < before:
            break
    if not bool(torch.isfinite(parameters).all()):
        raise HeadError("The refinement has no finite result: check the hidden states for extreme values.")
    return parameters


def check_decisions(hidden: torch.Tensor, labels: torch.Tensor, tools: int) -> None:
    """Check that states are finite and labels are those of tools.

    Raises
    ------
    HeadError
        If they are not.
    """
    if not bool(torch.isfinite(hidden).all()):
        raise HeadError("A hidden state is not a finite number: load the LM in float32 or check its weights.")
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < tools:
        raise HeadError(
            f"A label among {int(labels.min())} to {int(labels.max())} is none of the {tools} tools: "
            "refine on the positions at which a tool was called."
        )
