"""`Gate`: P(call), decided separately from the choice of the tool."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch

from toolken.training.estimation.closed_form import discriminant
from toolken.training.estimation.covariance import shrunk
from toolken.training.estimation.devices import decision_dtype
from toolken.training.estimation.logistic import Boundary, Whitened, log_odds_of, logistic_regression
from toolken.training.features.decision_states import NO_CALL, DecisionStates

#: Shrinkage of the covariance for the decision after an opening and in running text. Chosen on held-out problems of the
#: project's generators, and for running text on GSM8K-XL's training problems.
SHRINKAGE = 0.1
#: Shrinkage of the covariance and ridge penalty (in examples at one standard deviation) for the decision after a
#: result. Chosen on held-out problems of the project's generators.
FOLLOWING_SHRINKAGE, RIDGE = 0.01, 10.0
#: Ridge penalties that are tried in running text, the largest first, and the number of folds that choose among them.
RIDGES, FOLDS = (300.0, 100.0, 30.0, 10.0, 3.0), 3
#: Maximum of decisions on which the penalty and the threshold are chosen, which takes up to fifteen fits.
MAX_CROSS_VALIDATED = 40_000
#: Default threshold of P(call), and the bounds of the threshold that is chosen for running text.
THRESHOLD, THRESHOLDS = 0.5, (0.2, 0.8)
#: Weight, in decisions, of the assumption that a chain of calls is as likely to end after one result as after many.
PRIOR_CHAINS = 2.0


@dataclass(frozen=True)
class Gate:
    """P(call | h), with one learned boundary per kind of decision position.

    Whether a question needs a tool and whether a result needs another call are different questions about states that
    have little in common; one boundary for both is accurate for neither.

    Attributes
    ----------
    opening
        The boundary after the opening of an answer, or anywhere in running text.
    following
        The boundary after a result.
    lengths
        Log odds added after one result, after two, and so on; the last value holds for longer chains too. The state
        does not determine how long chains of calls get; the examples do.
    """

    opening: Boundary
    following: Boundary
    lengths: tuple[float, ...] = ()

    def to(self, device: torch.device) -> "Gate":
        """Return the gate on a device, in the precision that the device uses for decisions."""
        moved: dict[str, Any] = {}
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, Boundary):
                moved[one.name] = Boundary(value.weight.to(device, decision_dtype(device)), value.bias)
            elif isinstance(value, torch.Tensor):
                moved[one.name] = value.to(device)
        return replace(self, **moved)

    def log_odds(self, hidden: torch.Tensor, *, results: int | torch.Tensor) -> torch.Tensor:
        """Return the log odds of a call, `(n,)`.

        Parameters
        ----------
        hidden
            States `(n, d)`.
        results
            Number of tool results before each, `(n,) int64`, or one number for all; 0 where the decision does not
            follow a result.
        """
        lengths = self.lengths or (0.0,)
        if isinstance(results, int):
            if results == 0:
                return self.opening.log_odds(hidden)
            return self.following.log_odds(hidden) + lengths[min(results, len(lengths)) - 1]
        added = torch.tensor(lengths, dtype=hidden.dtype, device=hidden.device)[results.clamp(1, len(lengths)) - 1]
        return torch.where(results > 0, self.following.log_odds(hidden) + added, self.opening.log_odds(hidden))


def fit_gate(
    points: DecisionStates, background: DecisionStates, *, running_text: bool, no_call_weight: float = 1.0
) -> tuple[Gate, float]:
    """Fit the gate, and choose the threshold of P(call).

    After an opening, calls and text are two clusters, which linear discriminant analysis separates; background requests
    count as calls with a small weight, so that tools that are added later are called as well. After a result, and in
    running text, the states of calls and text overlap, and logistic regression is better. In running text there are
    tens of tokens per call: the penalty is the largest whose log loss is within a standard error of the lowest (Breiman
    et al. 1984), and the threshold has the best F1 of the calls, both on held-out examples.

    Parameters
    ----------
    points
        Decisions of the examples: those labelled `NO_CALL`, and calls.
    background
        Decisions of the background, labelled in the same way.
    running_text
        Whether calls may follow any token of running text.
    no_call_weight
        Sampling weight of the decisions without a call, relative to calls.

    Returns
    -------
    gate, threshold
        The gate, and the P(call) from which a tool is called.

    Raises
    ------
    HeadError
        If the states do not vary or are not finite.
    """
    own, following = points.where(~points.after_result), points.where(points.after_result)
    threshold = THRESHOLD
    if running_text and _has_both(own):
        weights = torch.where(own.labels == NO_CALL, no_call_weight, 1.0).double()
        white, calls = Whitened(own.hidden, weights, SHRINKAGE), own.labels != NO_CALL
        ridge, threshold = _chosen(white, calls, weights, own.examples)
        opening = white.boundary(*logistic_regression(white.hidden, calls, weights, ridge))
    else:
        weights = torch.cat([torch.ones(len(own.labels)), _background_weights(own, background)]).double()
        opening = discriminant_boundary(DecisionStates.join([own, background]), weights)
    if not _has_both(following):
        return Gate(opening, _never_calls(opening)), threshold
    lengths = chain_lengths(following)
    return Gate(opening, _boundary_after_results(following, lengths), lengths), threshold


def _boundary_after_results(points: DecisionStates, lengths: Sequence[float]) -> Boundary:
    """Return the boundary after a result, with log odds calibrated on held-out examples (Platt 1999).

    A boundary fitted on a few hundred states of as many dimensions is over-confident: its log odds would outweigh those
    of the chain's length.
    """
    offset = torch.tensor(lengths, dtype=torch.float64)[points.results - 1]
    weights = torch.ones(len(points.labels), dtype=torch.float64)
    white, calls = Whitened(points.hidden, weights, FOLLOWING_SHRINKAGE), points.labels != NO_CALL
    vector, bias = logistic_regression(white.hidden, calls, weights, RIDGE, offset=offset)
    folds = _folds(points.examples, calls)
    if folds is None:
        return white.boundary(vector, bias)
    held_out_odds = torch.zeros_like(weights)
    for mine in (folds == fold for fold in range(FOLDS)):
        if 0 < int(calls[~mine].sum()) < int((~mine).sum()):
            others, theirs = white.hidden[~mine], weights[~mine]
            metric = white.metric(others, theirs)
            fitted = logistic_regression(others, calls[~mine], theirs, RIDGE, metric=metric, offset=offset[~mine])
            held_out_odds[mine] = log_odds_of(white.hidden[mine], *fitted)
    truth = calls.double()
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)
    shift = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([scale, shift], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> float:
        optimiser.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(scale * held_out_odds + shift + offset, truth)
        loss.backward()
        return float(loss.detach())

    optimiser.step(closure)
    found, moved = float(scale.detach()), float(shift.detach())
    return white.boundary(vector * found, bias * found + moved)


def chain_lengths(points: DecisionStates) -> tuple[float, ...]:
    """Return the log odds of a call after one result, two, and so on, minus those after any number of results.

    Each difference is shrunk towards zero with the weight of `PRIOR_CHAINS` decisions.

    Parameters
    ----------
    points
        Decisions after results, some of which are calls.
    """
    calls = (points.labels != NO_CALL).double()
    share = calls.mean()
    longest = int(points.results.max())
    counts = torch.zeros(longest, dtype=torch.float64)
    called = counts.index_add(0, points.results - 1, calls)
    counts = counts.index_add(0, points.results - 1, torch.ones_like(calls))
    shares = (called + PRIOR_CHAINS * share) / (counts + PRIOR_CHAINS)
    return tuple((torch.logit(shares) - torch.logit(share)).tolist())


def discriminant_boundary(points: DecisionStates, weights: torch.Tensor, shrinkage: float = SHRINKAGE) -> Boundary:
    """Return the boundary of linear discriminant analysis, in which calls and no calls weigh the same.

    Parameters
    ----------
    points
        The decisions.
    weights
        Weight of each decision, `(n,) float64`.
    shrinkage
        Shrinkage of the covariance.
    """
    hidden, calls = points.hidden.double(), points.labels != NO_CALL
    means = []
    residuals = torch.empty_like(hidden)
    for mask in (calls, ~calls):
        mean = (hidden[mask] * weights[mask, None]).sum(0) / weights[mask].sum()
        residuals[mask] = hidden[mask] - mean
        means.append(mean)
    covariance = (residuals * weights[:, None]).T @ residuals / weights.sum()
    vectors, biases = discriminant(torch.stack(means), shrunk(covariance, shrinkage))
    return Boundary(vectors[0] - vectors[1], float(biases[0] - biases[1]))


def _chosen(white: Whitened, calls: torch.Tensor, weights: torch.Tensor, examples: torch.Tensor) -> tuple[float, float]:
    """Return the largest penalty that is as good as any on held-out examples, and the threshold with the best F1 there.

    With too few examples to hold any out, it is the middle penalty and the default threshold.
    """
    hidden = white.hidden
    if len(calls) > MAX_CROSS_VALIDATED:
        # A random sample thins calls and text alike, so the weights stay right.
        order = torch.randperm(len(calls), generator=torch.Generator().manual_seed(0))
        drawn = order[:MAX_CROSS_VALIDATED].sort().values
        hidden, calls, weights, examples = hidden[drawn], calls[drawn], weights[drawn], examples[drawn]
    folds = _folds(examples, calls)
    if folds is None:
        return RIDGES[len(RIDGES) // 2], THRESHOLD
    others = [folds != fold for fold in range(FOLDS)]
    metrics = [white.metric(hidden[mask], weights[mask]) for mask in others]
    found: list[tuple[torch.Tensor, float] | None] = [None] * FOLDS
    path: list[tuple[float, torch.Tensor]] = []
    losses: list[torch.Tensor] = []
    for ridge in RIDGES:
        log_odds = torch.zeros(len(calls), dtype=torch.float64)
        for at, (mask, metric) in enumerate(zip(others, metrics, strict=True)):
            fitted = logistic_regression(
                hidden[mask], calls[mask], weights[mask], ridge, metric=metric, start=found[at]
            )
            log_odds[~mask] = log_odds_of(hidden[~mask], *fitted)
            found[at] = fitted
        loss = torch.nn.functional.binary_cross_entropy_with_logits(log_odds, calls.double(), reduction="none")
        path.append((ridge, log_odds))
        losses.append(_by_example(weights * loss, examples))
        if len(losses) > 1 and losses[-1].sum() > losses[-2].sum():
            break  # the loss has one minimum along the path
    lowest = min(losses, key=lambda loss: float(loss.sum()))
    limit = lowest.sum() + lowest.std() * len(lowest) ** 0.5
    best, log_odds = next(one for one, loss in zip(path, losses, strict=True) if loss.sum() <= limit)
    tried = torch.linspace(*THRESHOLDS, 61, dtype=torch.float64)
    return best, best_threshold(torch.sigmoid(log_odds), calls, weights, tried)


def _by_example(values: torch.Tensor, examples: torch.Tensor) -> torch.Tensor:
    """Return the sum of the decisions' values per example."""
    ids, at = examples.unique(return_inverse=True)
    return torch.zeros(len(ids), dtype=values.dtype).index_add_(0, at, values)


def _folds(examples: torch.Tensor, calls: torch.Tensor) -> torch.Tensor | None:
    """Return the fold of each decision, `(n,)`, the same within an example; None if too few examples have a call."""
    calling = examples[calls].unique()
    if len(calling) < 2 * FOLDS:
        return None
    # Examples with calls are assigned first, so that every fold has calls.
    others = examples.unique()
    others = others[~torch.isin(others, calling)]
    fold_of = torch.zeros(int(examples.max()) + 1, dtype=torch.long)
    for group in (calling, others):
        order = group[torch.randperm(len(group), generator=torch.Generator().manual_seed(0))]
        fold_of[order] = torch.arange(len(order)) % FOLDS
    return fold_of[examples]


def best_threshold(
    probabilities: torch.Tensor, calls: torch.Tensor, weights: torch.Tensor, tried: torch.Tensor
) -> float:
    """Return the threshold of P(call) with the best F1.

    Parameters
    ----------
    probabilities
        P(call) of each decision, `(n,)`.
    calls
        Whether the decision is a call, `(n,) bool`.
    weights
        Weight of the decision, `(n,) float64`.
    tried
        The thresholds to try, `(t,) float64`.
    """
    fired = probabilities > tried[:, None]
    right = (fired & calls).double() @ weights
    wrong = (fired & ~calls).double() @ weights
    missed = (~fired & calls).double() @ weights
    return float(tried[(2 * right / (2 * right + wrong + missed).clamp(min=1e-9)).argmax()])


def _background_weights(own: DecisionStates, background: DecisionStates) -> torch.Tensor:
    """Return the background's weights: 1 for text, and for requests 0.1 if the examples have calls, else 1."""
    requests = 0.1 if bool((own.labels != NO_CALL).any()) else 1.0
    return torch.where(background.labels != NO_CALL, requests, 1.0)


def _has_both(points: DecisionStates) -> bool:
    calls = int((points.labels != NO_CALL).sum())
    return 0 < calls < len(points.labels)


def _never_calls(like: Boundary) -> Boundary:
    """Return a boundary that never calls: without examples of second calls, most second calls would be wrong."""
    return Boundary(torch.zeros_like(like.weight), -30.0)
