"""Leave-one-out cross-validation of the closed form, itself in closed form, and the choice of settings by it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product

import torch

from toolken.training.estimation.calibration import calibrate
from toolken.training.estimation.closed_form import ClosedForm, allowed, closed_form
from toolken.training.estimation.covariance import cholesky
from toolken.training.estimation.settings import ClosedFormSettings
from toolken.training.estimation.statistics import ToolStatistics
from toolken.training.features.decision_states import DecisionStates
from toolken.training.prior.geometry import PriorGeometry

#: Values that are tried for each setting.
GRID: dict[str, tuple[float, ...]] = {
    "kappa": (2.0, 4.0, 8.0, 16.0, 32.0, 64.0),
    "shrinkage": (0.01, 0.02, 0.05, 0.1, 0.2),
    "background_weight": (30.0, 100.0, 300.0),
}
#: Values of the setting that only held-out examples can tell.
HELD_OUT_GRID: dict[str, tuple[float, ...]] = {"intraclass_correlation": (0.0, 0.02, 0.05, 0.1, 0.2)}
#: Maximum of examples that are scored, and of scores in memory, so that with very many tools fewer examples are scored.
#: More examples change the choice little and take longer.
MAX_SCORED, MAX_SCORES = 2000, 20_000_000


@dataclass(frozen=True)
class SettingsChoice:
    """The chosen settings, and how well they do on left-out examples.

    Attributes
    ----------
    settings
        The settings with the lowest log loss.
    temperature
        Temperature of the scores at which their softmax is calibrated.
    log_loss
        Mean log loss (natural logarithm) of the left-out examples, in which every tool weighs the same.
    accuracy
        Share of the left-out examples whose tool has the highest score.
    scores
        Scores of the left-out examples, `(n, T) float64`.
    """

    settings: ClosedFormSettings
    temperature: float
    log_loss: float
    accuracy: float
    scores: torch.Tensor


def leave_one_out_scores(
    form: ClosedForm,
    statistics: ToolStatistics,
    settings: ClosedFormSettings,
    hidden: torch.Tensor,
    labels: torch.Tensor,
) -> torch.Tensor:
    """Return each example's scores under the closed form that is fitted without it, `(n, T) float64`.

    Without x, tool j has the posterior mean `m = (s_j - x + kappa mu_j0) / (n_j - 1 + kappa)`, and the covariance's
    numerator is smaller by

        (1 - r) n_j / (n_j - 1) (x - xbar_j)(x - xbar_j)' + r (n_j - 1 + kappa) / (n_j + kappa) (x - m)(x - m)'

    with the residuals' weight r. This is a change of rank two, whose inverse is known (Woodbury 1950). The tool's prior
    mean moves by its leverage. The allowance stays that of all examples: it compares tools with different numbers of
    examples, and here it is always the example's own tool that has one less. Other tools' prior means and the share of
    the identity stay fixed; one example in hundreds does not change them.

    Parameters
    ----------
    form
        The closed form of all examples.
    statistics, settings
        Statistics and settings of `form`, with an intraclass correlation of zero: a left-out example is as similar to
        the others as they are to each other.
    hidden, labels
        States and tools of some of the examples, `(n, d)` and `(n,) int64`.
    """
    x = hidden.double()
    counts = statistics.counts[labels, None]
    without = counts - 1 + settings.kappa
    centre = form.means.mean(0)  # a common shift changes all scores alike, and keeps their rounding small
    factor = cholesky(form.covariance)

    def whiten(states: torch.Tensor) -> torch.Tensor:
        white: torch.Tensor = torch.linalg.solve_triangular(factor, (states - centre).T, upper=False)
        return white.T

    # Everything below is linear in states, means and prior means, which are whitened once.
    tools, at = labels.unique(return_inverse=True)
    white, means, prior = whiten(x), whiten(form.means), whiten(form.prior[tools])[at]
    averages = whiten(statistics.sums[tools] / statistics.counts[tools, None])[at]
    leverage = form.leverage[labels, None]
    # Without its only example, a tool has the prior mean that the other tools predict: leave-one-out in regression.
    own_share = torch.where(counts > 1, leverage / (counts - 1).clamp(min=1), leverage / (1 - leverage))
    own_prior = prior - own_share * (white - torch.where(counts > 1, averages, prior))
    own = (counts * averages - white + settings.kappa * own_prior) / without
    residual = settings.residual_weight
    freedom = statistics.freedom + residual * float((statistics.counts > 0).sum()) + settings.background_weight
    scale = (1 - settings.shrinkage) / freedom
    # If x is the only example of its tool, it is the mean, and the first term is zero.
    parts = [
        (scale * (1 - residual) * counts / (counts - 1).clamp(min=1), white - averages),
        (scale * residual * without / (without + 1), white - own),
    ]
    change = torch.stack([weight.clamp(min=0).sqrt() * direction for weight, direction in parts], dim=1)
    gain = torch.linalg.inv(torch.eye(2, dtype=x.dtype) - change @ change.mT)
    along = (gain @ change @ white[:, :, None]).squeeze(2)
    # The smaller number of degrees of freedom scales all scores alike, which the temperature makes up for.
    crossing = torch.einsum("nrd,td->nrt", change, means)
    size = x.shape[1]
    scores = white @ means.T - 0.5 * means.square().sum(1) + allowed(statistics.counts, size, settings)
    scores += torch.einsum("nr,nrt->nt", along, crossing) - 0.5 * (crossing * (gain @ crossing)).sum(1)
    own_crossing = (change @ own[:, :, None]).squeeze(2)
    own_scores = (white * own).sum(1) - 0.5 * own.square().sum(1) + allowed(counts[:, 0], size, settings)
    own_scores += (along * own_crossing).sum(1)
    own_scores -= 0.5 * (own_crossing * (gain @ own_crossing[:, :, None]).squeeze(2)).sum(1)
    return scores.scatter(1, labels[:, None], own_scores[:, None])


def choose_settings(
    geometry: PriorGeometry,
    forms: Mapping[str, torch.Tensor],
    statistics: ToolStatistics,
    calls: DecisionStates,
    start: ClosedFormSettings,
    held_out: DecisionStates,
    *,
    fixed: bool = False,
) -> SettingsChoice:
    """Choose the settings in `GRID` by the log loss of left-out examples at their best temperature.

    Coordinate descent, two rounds. The log loss is proper, so it does not reward over-confidence, and it distinguishes
    settings of equal accuracy. If no tool has two examples, left-out tools would compete with tools that kept theirs,
    which says nothing about kappa: the settings stay as they are. The intraclass correlation is chosen on held-out
    examples only; leave-one-out assumes 0, and the result has the value of `start`.

    Parameters
    ----------
    geometry, forms
        The prior's metric and the description embeddings, as in `closed_form`.
    statistics
        Statistics of all examples.
    calls
        Some or all of the calls that `statistics` sums up.
    start
        Initial settings, which win ties.
    held_out
        Calls of other examples; if there are any, they are scored instead of left-out ones.
    fixed
        Whether to keep `start` and only calibrate.
    """
    several = statistics.counts[calls.labels] > 1
    points, begin, grid = held_out, start, GRID | HELD_OUT_GRID
    if not len(held_out.labels):
        begin, grid = start.model_copy(update={"intraclass_correlation": 0.0}), GRID
        fixed = fixed or not bool(several.any())
        points = calls.where(several) if bool(several.any()) else calls
        scored = min(MAX_SCORED, max(MAX_SCORES // len(statistics.names), 1))
        if len(points.labels) > scored:
            every = torch.arange(scored) * len(points.labels) // scored
            points = points.where(torch.zeros(len(points.labels), dtype=torch.bool).index_fill(0, every, True))
    directions = geometry.directions(forms)
    tried: dict[ClosedFormSettings, SettingsChoice] = {}

    def measured(settings: ClosedFormSettings) -> SettingsChoice:
        if settings not in tried:
            form = closed_form(geometry, forms, statistics, settings, directions)
            if len(held_out.labels):
                scores = points.hidden.double() @ form.output_embeddings.T + form.biases
            else:
                scores = leave_one_out_scores(form, statistics, settings, points.hidden, points.labels)
            near = next(reversed(tried.values())).temperature if tried else 1.0
            tried[settings] = measured_choice(settings, scores, points.labels, near)
        return tried[settings]

    best = measured(begin)
    for _, (name, values) in product(range(0 if fixed else 2), grid.items()):
        for value in values:
            candidate = measured(best.settings.model_copy(update={name: value}))
            if candidate.log_loss < best.log_loss - 1e-6:
                best = candidate
    if len(held_out.labels):
        return best
    unchanged = {"intraclass_correlation": start.intraclass_correlation}
    return replace(best, settings=best.settings.model_copy(update=unchanged))


def measured_choice(
    settings: ClosedFormSettings, scores: torch.Tensor, labels: torch.Tensor, near: float = 1.0
) -> SettingsChoice:
    """Calibrate the scores `(n, T)` of held-out examples, starting at the temperature `near`, and measure them."""
    temperature = calibrate(scores, labels, near)
    losses = torch.nn.functional.cross_entropy(scores / temperature, labels, reduction="none")
    weights = 1 / torch.bincount(labels).double()[labels]
    log_loss = float((losses * weights).sum() / weights.sum())
    accuracy = float((scores.argmax(1) == labels).double().mean())
    return SettingsChoice(settings, temperature, log_loss, accuracy, scores)
