"""The refinement: a convex polish of the closed form on the examples themselves, and the calibration of its scores."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from toolken.errors import HeadError
from toolken.training.estimation.covariance import cholesky, unwhitened, whitened
from toolken.training.estimation.folds import stratified_folds

#: The optimum counts as found where no entry of the gradient of the mean objective, in whitened coordinates, exceeds
#: this; held-out losses have long stopped changing in their sixth decimal there.
GRADIENT_TOLERANCE = 1e-7
#: Settings that are tried by default.
PENALTIES, SCALES = (1.0, 5.0, 20.0, 60.0), (0.05, 0.15, 0.3)
#: Rounds of at most 100 L-BFGS iterations; all but pathological problems need one.
ROUNDS = 20
#: Temperatures outside these bounds are those of scores that are always right (0) or say nothing (infinity).
TEMPERATURE_BOUNDS = (1e-3, 1e4)
#: Relative precision of a temperature; log losses no longer differ at this distance.
TEMPERATURE_PRECISION = 1e-6


class Anchor(NamedTuple):
    """A closed form: rows `(T, d)`, biases `(T,)`, and the covariance `(d, d)` in whose metric rows are compared."""

    output_embeddings: torch.Tensor
    biases: torch.Tensor
    covariance: torch.Tensor


@dataclass(frozen=True)
class Refinement:
    """Settings of the refinement: the penalty, in examples, and the factor on the closed form's scores."""

    penalty: float
    scale: float


@dataclass(frozen=True)
class Correction:
    """What a refinement changed of the closed form's scaled rows and biases, by tool.

    Kept apart from the closed form, so that tools can still be added and removed: the others keep their correction.

    Attributes
    ----------
    names
        The tools that were refined.
    output_embeddings, biases
        `(len(names), d)` and `(len(names),) float64`.
    """

    names: tuple[str, ...]
    output_embeddings: torch.Tensor
    biases: torch.Tensor

    def without(self, names: Sequence[str]) -> "Correction | None":
        """Return the correction of the other tools, or None where none is left."""
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
    anchor_rows: torch.Tensor,
    anchor_biases: torch.Tensor,
    covariance: torch.Tensor,
    *,
    penalty: float,
    scale: float,
    start: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the rows `(T, d)` and biases `(T,) float64` that minimise an anchored cross-entropy over the tools.

    The objective, with scores `s_j(h) = w_j'h + b_j` and the closed form's scores `a_j(h)`, is

        sum_i -log softmax_j(s(h_i))[y_i] + penalty / 2 sum_j E[(s_j(h) - scale a_j(h))^2],

    where the expectation is over states with the examples' mean m and the covariance S. That is
    `(w_j - scale a_j)' S (w_j - scale a_j)` for the rows, plus the squared change of the score at m for the bias: in
    whitened coordinates a plain ridge. It is strictly convex, so the result depends on neither a start nor a seed; it
    is found by L-BFGS in float64. Source: design/method, facts 2 and 3.

    Parameters
    ----------
    hidden, labels
        States at which tools were called `(n, d)`, and the index of each one's tool, `(n,) int64`.
    anchor_rows, anchor_biases
        The closed form, `(T, d)` and `(T,)`.
    covariance
        The metric S, `(d, d)`: the pooled covariance of the states round their tool's mean.
    penalty
        Weight of the anchor, in examples; above 0.
    scale
        Factor on the anchor's scores, the inverse of a temperature. Scores of discriminant analysis are over-confident
        in many dimensions, so that 0.05 to 0.3 is a good range.
    start
        Rows and biases to begin at; only the time depends on them. The scaled anchor if absent.

    Raises
    ------
    HeadError
        If the penalty is not above 0, a state is not finite, a label is no tool's, or the covariance is singular.
    """
    if not 0 < penalty < float("inf"):
        raise HeadError(f"The refinement's penalty is {penalty}: give one above 0, or there is no single optimum.")
    _check(hidden, labels, len(anchor_rows))
    if not len(labels):
        return scale * anchor_rows.double(), scale * anchor_biases.double()
    space = _Whitened.of(hidden, covariance)
    anchor = scale * space.encode(anchor_rows, anchor_biases)
    begin = anchor if start is None else space.encode(*start)
    return space.decode(_optimum(space.states(hidden), labels, anchor, penalty, begin))


def choose_refinement(
    hidden: torch.Tensor,
    labels: torch.Tensor,
    anchor: Callable[[torch.Tensor], Anchor],
    *,
    penalties: Sequence[float] = PENALTIES,
    scales: Sequence[float] = SCALES,
    examples: torch.Tensor | None = None,
    least: float = 0.0,
    folds: int = 3,
    seed: int = 0,
) -> Refinement | None:
    """Return the refinement that does best on held-out examples, or None where the closed form is as good.

    Examples are held out in stratified folds. The closed form is refitted without each fold, refined at every setting,
    and both are scored on the fold. The setting with the lowest log loss is returned if it is better than the closed
    form by more than one standard error in log loss *and* in accuracy (the one-standard-error rule of Breiman et al.
    1984, with the closed form as the simpler model). The closed form's log loss is taken at the temperature that suits
    it best on the very examples it is scored on, so that a refinement has to do more than calibrate.

    Parameters
    ----------
    hidden, labels
        States at which tools were called `(n, d)`, and the index of each one's tool, `(n,) int64`.
    anchor
        Fits the closed form to the examples of a mask `(n,) bool`.
    penalties, scales
        The settings to try, each penalty with each scale.
    examples
        Index of the example each state belongs to, `(n,) int64`; states of one example stay in one fold. By default
        each state is an example.
    least
        Accuracy that has to be gained at least, besides.
    folds
        Number of folds, at least 2.
    seed
        Of the order in which examples are dealt to the folds.

    Raises
    ------
    HeadError
        As `refine`, or if there are fewer than two folds or no settings.
    """
    if folds < 2 or not penalties or not scales:
        raise HeadError(
            f"A refinement cannot be chosen from {folds} folds, {len(penalties)} penalties and {len(scales)} scales: "
            "give at least two folds and one of each."
        )
    groups = torch.arange(len(labels)) if examples is None else torch.unique(examples, return_inverse=True)[1]
    pairs = torch.unique(torch.stack([labels, groups]), dim=1)
    if pairs.shape[1] == 0 or int(torch.bincount(pairs[0]).max()) < 2:
        # With one example a tool no held-out example has another of its tool to be learnt from.
        return None
    fold_of = stratified_folds(labels, groups, folds, seed)
    settings = [Refinement(penalty, scale) for scale in scales for penalty in sorted(penalties, reverse=True)]
    losses = torch.zeros(len(settings), len(labels), dtype=torch.float64)
    hits = torch.zeros(len(settings), len(labels), dtype=torch.float64)
    plain: torch.Tensor | None = None
    for fold in range(folds):
        train, test = fold_of != fold, fold_of == fold
        if not bool(train.any() & test.any()):
            continue
        fitted = anchor(train)
        _check(hidden, labels, len(fitted.output_embeddings))
        space = _Whitened.of(hidden[train], fitted.covariance)
        held_out, states = space.states(hidden[test]), space.states(hidden[train])
        encoded = space.encode(fitted.output_embeddings, fitted.biases)
        if plain is None:
            plain = torch.empty(len(labels), len(encoded), dtype=torch.float64)
        plain[test] = held_out @ encoded.T
        optimum = encoded
        for index, setting in enumerate(settings):
            scaled = setting.scale * encoded
            # The optimum of the next larger penalty is a better start than the anchor is.
            begin = scaled if index % len(penalties) == 0 else optimum
            optimum = _optimum(states, labels[train], scaled, setting.penalty, begin)
            scores = held_out @ optimum.T
            losses[index, test], hits[index, test] = _log_losses(scores, labels[test]), _hits(scores, labels[test])
    assert plain is not None
    best = int(losses.mean(1).argmin())
    plain_losses = _log_losses(plain / calibrate(plain, labels), labels)
    gains = torch.stack([plain_losses - losses[best], hits[best] - _hits(plain, labels)])
    sums = torch.zeros(2, int(groups.max()) + 1, dtype=torch.float64).index_add_(1, groups, gains)
    error = sums.std(1) / sums.shape[1] ** 0.5
    clear = bool((sums.mean(1) > error).all()) and float(gains[1].mean()) >= least
    return settings[best] if clear else None


def held_out_refinement(
    hidden: torch.Tensor,
    labels: torch.Tensor,
    anchor: Anchor,
    held_out: torch.Tensor,
    known: torch.Tensor,
    *,
    scale: float,
    penalties: Sequence[float] = PENALTIES,
) -> Refinement | None:
    """Return the refinement that does best on held-out examples that were given, or None where the closed form does.

    The rule is that of `choose_refinement`: more than one standard error better in log loss and in accuracy.

    Parameters
    ----------
    hidden, labels
        States to refine on, `(n, d)` and `(n,) int64`.
    anchor
        The closed form of all examples.
    held_out, known
        States of other examples, `(m, d)` and `(m,) int64`.
    scale
        Factor on the closed form's scores.
    """
    states = held_out.double()
    plain = scale * (states @ anchor.output_embeddings.double().T + anchor.biases.double())
    best: tuple[float, Refinement, torch.Tensor] | None = None
    for penalty in penalties:
        rows, biases = refine(hidden, labels, *anchor, penalty=penalty, scale=scale)
        scores = states @ rows.T + biases
        loss = float(_log_losses(scores, known).mean())
        if best is None or loss < best[0]:
            best = loss, Refinement(penalty, scale), scores
    if best is None:
        return None
    gains = torch.stack(
        [
            _log_losses(plain / calibrate(plain, known), known) - _log_losses(best[2], known),
            _hits(best[2], known) - _hits(plain, known),
        ]
    )
    error = gains.std(1) / len(known) ** 0.5
    return best[1] if bool((gains.mean(1) > error).all()) else None


def calibrate(scores: torch.Tensor, labels: torch.Tensor, start: float = 1.0) -> float:
    """Return the temperature t at which `softmax(scores / t)` has the lowest log loss.

    The loss is convex in 1/t, so the minimum is one root of its derivative, found by Newton's method inside a bracket.
    Temperature scaling leaves the order of the tools as it is. Source: Guo et al. 2017, "On Calibration of Modern
    Neural Networks" (arXiv 1706.04599), section 4.2.

    Parameters
    ----------
    scores
        `(n, T)`, at states that were not used to fit them.
    labels
        `(n,) int64`.
    start
        A guess at the temperature; a good one saves time and changes nothing.

    Returns
    -------
    float
        Within `TEMPERATURE_BOUNDS`: the lower bound where the scores are always right, so that too few of them are
        known to say how sure they should be, and the upper where they are no better than none.

    Raises
    ------
    HeadError
        If there is no score, or one is not finite.
    """
    z = scores.double()
    if not len(z) or not bool(torch.isfinite(z).all()):
        raise HeadError("Scores cannot be calibrated: give at least one row, and finite numbers only.")
    z = z - z.gather(1, labels[:, None])
    if bool((z <= 0).all()):
        return TEMPERATURE_BOUNDS[0]
    if float(z.mean()) >= 0:
        return TEMPERATURE_BOUNDS[1]
    low, high = 1 / TEMPERATURE_BOUNDS[1], 1 / TEMPERATURE_BOUNDS[0]
    inverse = following = min(max(1 / start, low), high)
    for _ in range(100):
        probabilities = torch.softmax(inverse * z, dim=1)
        means = (probabilities * z).sum(1)
        slope = float(means.mean())
        curvature = float(((probabilities * z.square()).sum(1) - means.square()).mean())
        low, high = (inverse, high) if slope < 0 else (low, inverse)
        newton = inverse - slope / curvature if curvature > 0 else 0.0
        following = newton if low < newton < high else (low * high) ** 0.5
        if abs(following - inverse) <= TEMPERATURE_PRECISION * inverse:
            break
        inverse = following
    return 1 / following


def expected_calibration_error(probabilities: torch.Tensor, labels: torch.Tensor, bins: int = 15) -> float:
    """Return the expected calibration error: how far confidence and accuracy lie apart, weighted by how often.

    `sum_b n_b / n |accuracy_b - confidence_b|` over bins of equal width of the largest probability. Source: Guo et al.
    2017 (arXiv 1706.04599), equation 3, with the 15 bins used there.

    Parameters
    ----------
    probabilities
        `(n, T)`, each row summing to 1.
    labels
        `(n,) int64`.
    bins
        Number of bins.

    Raises
    ------
    HeadError
        If there is no row.
    """
    if not len(labels):
        raise HeadError("There is no calibration error of no predictions: give at least one.")
    confidence, predicted = probabilities.max(1)
    return float(calibration_error(confidence, predicted == labels, bins))


def calibration_error(confidence: torch.Tensor, hits: torch.Tensor, bins: int = 15) -> torch.Tensor:
    """Return the expected calibration error of confidences and hits `(..., n)`, `(...) float64`."""
    exact = confidence.double()
    # A bin holds its upper edge and not its lower one, as in the source.
    index = (torch.ceil(exact * bins).long() - 1).clamp(0, bins - 1)
    sums = torch.zeros(*exact.shape[:-1], bins, dtype=torch.float64).scatter_add_(-1, index, hits.double() - exact)
    return sums.abs().sum(-1) / exact.shape[-1]


@dataclass(frozen=True)
class _Whitened:
    """Coordinates in which the metric is the identity: states are centred, whitened and extended by a constant 1."""

    mean: torch.Tensor
    factor: torch.Tensor

    @classmethod
    def of(cls, hidden: torch.Tensor, covariance: torch.Tensor) -> "_Whitened":
        return cls(hidden.double().mean(0), cholesky(covariance.double()))

    def states(self, hidden: torch.Tensor) -> torch.Tensor:
        white = whitened(hidden.double() - self.mean, self.factor)
        return torch.cat([white.T, torch.ones(1, len(hidden), dtype=torch.float64)]).T.contiguous()

    def encode(self, rows: torch.Tensor, biases: torch.Tensor) -> torch.Tensor:
        wide = rows.double()
        return torch.cat([wide @ self.factor, (wide @ self.mean + biases.double())[:, None]], dim=1)

    def decode(self, encoded: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        rows = unwhitened(encoded[:, :-1], self.factor)
        return rows, encoded[:, -1] - rows @ self.mean


def _optimum(
    states: torch.Tensor, labels: torch.Tensor, anchor: torch.Tensor, penalty: float, start: torch.Tensor
) -> torch.Tensor:
    """Minimise the objective over parameters `(T, d + 1)` of whitened states `(n, d + 1)`."""
    parameters = start.clone()
    each, rows = 1 / len(labels), torch.arange(len(labels))
    optimiser = torch.optim.LBFGS(
        [parameters],
        max_iter=100,
        history_size=20,
        tolerance_grad=GRADIENT_TOLERANCE,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )

    def closure() -> float:
        # The gradient by hand: nothing but two products, where autograd would keep copies of the scores.
        scores = states @ parameters.T
        picked = scores[rows, labels].sum()
        sums = torch.logsumexp(scores, dim=1)
        scores.sub_(sums[:, None]).exp_()
        scores[rows, labels] -= 1
        offset = parameters - anchor
        parameters.grad = each * torch.addmm(offset, scores.T, states, beta=penalty)
        return each * float(sums.sum() - picked + 0.5 * penalty * offset.square().sum())

    largest = float("inf")
    for _ in range(ROUNDS):
        optimiser.step(closure)
        closure()
        assert parameters.grad is not None
        before, largest = largest, float(parameters.grad.abs().max())
        # Where a round no longer gains anything, what is left of the gradient is rounding.
        if largest <= GRADIENT_TOLERANCE or not largest < before:
            break
    if not bool(torch.isfinite(parameters).all()):
        raise HeadError("The refinement did not come to a finite result: check the hidden states for extreme values.")
    return parameters


def _check(hidden: torch.Tensor, labels: torch.Tensor, tools: int) -> None:
    if not bool(torch.isfinite(hidden).all()):
        raise HeadError("A hidden state is not a finite number: load the LM in float32 or check its weights.")
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < tools:
        raise HeadError(
            f"A label among {int(labels.min())} to {int(labels.max())} is none of the {tools} tools: "
            "refine on the positions at which a tool was called."
        )


def _log_losses(scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(scores, labels, reduction="none")


def _hits(scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return (scores.argmax(1) == labels).double()
