"""`Gate`: whether anything is called at all, apart from the question which tool it is."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch

from toolken.training.estimation.closed_form import discriminant
from toolken.training.estimation.covariance import shrunk
from toolken.training.estimation.devices import decision_dtype
from toolken.training.estimation.logistic import Boundary, Whitened, log_odds_of, logistic_regression
from toolken.training.features.decision_states import NO_CALL, DecisionStates

#: Shrinkage of the covariance behind an opening's boundary and in running text. Chosen on held-out problems: of the
#: project's own generators, and in running text of GSM8K-XL's training problems.
SHRINKAGE = 0.1
#: Shrinkage of the covariance and ridge penalty (in examples at one standard deviation) after a result. Chosen
#: on held-out problems of the project's own generators.
FOLLOWING_SHRINKAGE, RIDGE = 0.01, 10.0
#: Ridge penalties that are tried in running text, the largest first, and folds of the examples to choose by.
RIDGES, FOLDS = (300.0, 100.0, 30.0, 10.0, 3.0), 3
#: Decisions on which the penalty and the threshold are chosen, at most: up to fifteen fits for one that uses them all.
CHOSEN_ON = 40_000
#: P(call) from which a tool is called by default, and the bounds of what is chosen for running text.
THRESHOLD, THRESHOLDS = 0.5, (0.2, 0.8)
#: Decisions that speak for chains of calls being as likely to end behind one result as behind many.
PRIOR_CHAINS = 2.0


@dataclass(frozen=True)
class Gate:
    """P(call | h), one learned vector for each kind of place at which it is decided.

    Whether a question wants a tool and whether a result wants another one are different questions, asked of states that
    have little in common; one vector for both answers neither well.

    Attributes
    ----------
    opening
        After the opening of an answer, or anywhere in running text.
    following
        After a result.
    lengths
        Log odds that come on top behind one result, behind two, and so on; the last one counts behind more as well.
        How long chains of calls get is not to be read from a state, but from the examples.
    """

    opening: Boundary
    following: Boundary
    lengths: tuple[float, ...] = ()

    def to(self, device: torch.device) -> "Gate":
        """Return the gate on a device, in the precision in which the device decides."""
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
    """Fit the gate; return it, and the P(call) from which a tool is best called.

    After an opening, calls and text are two clusters, separated by linear discriminant analysis; background requests
    count as calls with a small weight, so that tools that are added later are called as well. After a result, and in
    running text, the states of calls and words overlap, and logistic regression is better. In running text there are
    tens of words to a call: the penalty is the largest whose log loss is within a standard error of the lowest (Breiman
    et al. 1984), and the threshold has the best F1 of the calls, both on examples that the boundary was not fitted on.

    Parameters
    ----------
    points
        Decisions of the examples, those labelled `NO_CALL` against all others.
    background
        Decisions of the background, labelled in the same way.
    running_text
        Whether the examples' decisions fall everywhere in running text.
    no_call_weight
        How many words of the examples each one in `points` stands for, for each call that a call there stands for.

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
        return Gate(opening, _never(opening)), threshold
    lengths = chain_lengths(following)
    return Gate(opening, _boundary_after_results(following, lengths), lengths), threshold


def _boundary_after_results(points: DecisionStates, lengths: Sequence[float]) -> Boundary:
    """Return the boundary after a result, with log odds calibrated on held-out examples (Platt 1999).

    Fitted on a few hundred states of as many dimensions, a boundary is too sure of itself: beside the length of the
    chain it would always have the last word.
    """
    on_top = torch.tensor(lengths, dtype=torch.float64)[points.results - 1]
    weights = torch.ones(len(points.labels), dtype=torch.float64)
    white, calls = Whitened(points.hidden, weights, FOLLOWING_SHRINKAGE), points.labels != NO_CALL
    row, bias = logistic_regression(white.hidden, calls, weights, RIDGE, on_top=on_top)
    folds = _folds(points.examples, calls)
    if folds is None:
        return white.boundary(row, bias)
    held_out_odds = torch.zeros_like(weights)
    for mine in (folds == fold for fold in range(FOLDS)):
        if 0 < int(calls[~mine].sum()) < int((~mine).sum()):
            others, theirs = white.hidden[~mine], weights[~mine]
            metric = white.metric(others, theirs)
            part = logistic_regression(others, calls[~mine], theirs, RIDGE, metric=metric, on_top=on_top[~mine])
            held_out_odds[mine] = log_odds_of(white.hidden[mine], *part)
    truth = calls.double()
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)
    shift = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([scale, shift], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> float:
        optimiser.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(scale * held_out_odds + shift + on_top, truth)
        loss.backward()
        return float(loss.detach())

    optimiser.step(closure)
    found, moved = float(scale.detach()), float(shift.detach())
    return white.boundary(row * found, bias * found + moved)


def chain_lengths(points: DecisionStates) -> tuple[float, ...]:
    """Return by how much the log odds of a call behind one result, two, and so on differ from those behind any.

    Each is estimated with the weight of `PRIOR_CHAINS` decisions on there being no difference.

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
    """Return the boundary of linear discriminant analysis with equal weight of the two classes.

    Parameters
    ----------
    weights
        Weight of each decision, `(n,) float64`.
    """
    hidden, calls = points.hidden.double(), points.labels != NO_CALL
    means = []
    residuals = torch.empty_like(hidden)
    for mask in (calls, ~calls):
        mean = (hidden[mask] * weights[mask, None]).sum(0) / weights[mask].sum()
        residuals[mask] = hidden[mask] - mean
        means.append(mean)
    covariance = (residuals * weights[:, None]).T @ residuals / weights.sum()
    rows, biases = discriminant(torch.stack(means), shrunk(covariance, shrinkage))
    return Boundary(rows[0] - rows[1], float(biases[0] - biases[1]))


def _chosen(white: Whitened, calls: torch.Tensor, weights: torch.Tensor, examples: torch.Tensor) -> tuple[float, float]:
    """Return the largest penalty that is as good as any on held-out examples, and the threshold with the best F1 there.

    Where there are too few examples to hold any out, the penalty is the middle one of those that would be tried.
    """
    hidden = white.hidden
    if len(calls) > CHOSEN_ON:
        # At random, whatever order they stand in: calls and words are thinned alike, and weights keep their meaning.
        drawn = torch.randperm(len(calls), generator=torch.Generator().manual_seed(0))[:CHOSEN_ON].sort().values
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
            part = logistic_regression(hidden[mask], calls[mask], weights[mask], ridge, metric=metric, start=found[at])
            log_odds[~mask] = log_odds_of(hidden[~mask], *part)
            found[at] = part
        loss = torch.nn.functional.binary_cross_entropy_with_logits(log_odds, calls.double(), reduction="none")
        path.append((ridge, log_odds))
        losses.append(_by_example(weights * loss, examples))
        if len(losses) > 1 and losses[-1].sum() > losses[-2].sum():
            break  # the loss has one valley along the path
    lowest = min(losses, key=lambda loss: float(loss.sum()))
    bar = lowest.sum() + lowest.std() * len(lowest) ** 0.5
    best, log_odds = next(one for one, loss in zip(path, losses, strict=True) if loss.sum() <= bar)
    tried = torch.linspace(*THRESHOLDS, 61, dtype=torch.float64)
    return best, best_threshold(torch.sigmoid(log_odds), calls, weights, tried)


def _by_example(values: torch.Tensor, examples: torch.Tensor) -> torch.Tensor:
    """Return the sum of the decisions' values for each example that has any."""
    ids, at = examples.unique(return_inverse=True)
    return torch.zeros(len(ids), dtype=values.dtype).index_add_(0, at, values)


def _folds(examples: torch.Tensor, calls: torch.Tensor) -> torch.Tensor | None:
    """Return the fold of each decision, `(n,)`, those of an example together; None where too few examples call."""
    calling = examples[calls].unique()
    if len(calling) < 2 * FOLDS:
        return None
    # Calling examples are dealt out first, so that no fold is without calls.
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
    """Return the threshold at which the calls have the best F1.

    Parameters
    ----------
    probabilities
        P(call) of each decision, `(n,)`.
    calls
        Whether it is a call, `(n,) bool`.
    weights
        What it counts, `(n,) float64`.
    tried
        The thresholds, `(t,) float64`.
    """
    fired = probabilities > tried[:, None]
    right = (fired & calls).double() @ weights
    wrong = (fired & ~calls).double() @ weights
    missed = (~fired & calls).double() @ weights
    return float(tried[(2 * right / (2 * right + wrong + missed).clamp(min=1e-9)).argmax()])


def _background_weights(own: DecisionStates, background: DecisionStates) -> torch.Tensor:
    """Return the background's weights: words count fully, requests a tenth where there are calls of one's own."""
    requests = 0.1 if bool((own.labels != NO_CALL).any()) else 1.0
    return torch.where(background.labels != NO_CALL, requests, 1.0)


def _has_both(points: DecisionStates) -> bool:
    calls = int((points.labels != NO_CALL).sum())
    return 0 < calls < len(points.labels)


def _never(like: Boundary) -> Boundary:
    """Return the boundary that never calls: without an example of a second call, one is more often wrong than right."""
    return Boundary(torch.zeros_like(like.weight), -30.0)
