"""The closed form: posterior means, a pooled covariance, and the linear discriminant they give."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch

from toolken.training.estimation.covariance import cholesky
from toolken.training.estimation.settings import ClosedFormSettings
from toolken.training.estimation.statistics import ToolStatistics, blocks
from toolken.training.prior.geometry import SHARED_FROM, Prior, PriorGeometry


@dataclass(frozen=True)
class ClosedForm:
    """Means and covariance of the states at which each tool is called, and the discriminant that follows from them.

    Attributes
    ----------
    directions
        Of the descriptions, `(T, d)`.
    prior_map
        From these to the prior means.
    statistics, settings
        What it was computed from.
    covariance
        Of the states round their tool's mean, `(d, d) float64`.
    """

    directions: torch.Tensor
    prior_map: Prior
    statistics: ToolStatistics
    settings: ClosedFormSettings
    covariance: torch.Tensor

    @property
    def leverage(self) -> torch.Tensor:
        """How far a tool's prior mean follows its own examples, `(T,) float64`, between 0 and 1."""
        return self.prior_map.leverage

    @cached_property
    def prior(self) -> torch.Tensor:
        """Prior means, `(T, d) float64`."""
        return self.prior_map.means(self.directions)

    @cached_property
    def means(self) -> torch.Tensor:
        """Posterior means, `(T, d) float64`."""
        return posterior_means(self.statistics, self.prior, self.settings)

    @property
    def output_embeddings(self) -> torch.Tensor:
        """`(T, d) float64`."""
        return self._discriminant[0]

    @property
    def biases(self) -> torch.Tensor:
        """`(T,) float64`."""
        return self._discriminant[1]

    @cached_property
    def _discriminant(self) -> tuple[torch.Tensor, torch.Tensor]:
        rows, biases = discriminant(self.means, self.covariance)
        return rows, biases + allowed(self.statistics.counts, rows.shape[1], self.settings)

    def output_vectors(self, temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Return rows `(T, d)` and biases `(T,) float32`, divided by a temperature, in little more memory than that.

        Directions in float32 are overwritten by the rows, so that this is the last that is asked of the closed form.
        """
        count = len(self.directions)
        in_place = self.directions.dtype == torch.float32
        rows = self.directions if in_place else torch.empty(self.directions.shape, dtype=torch.float32)
        biases = torch.empty(count, dtype=torch.float32)
        factor = cholesky(self.covariance)
        for block in blocks(count):
            counts = self.statistics.counts[block]
            prior = self.prior_map.means(self.directions[block])
            means = _between(self.statistics.sums[block], counts, prior, self.settings)
            part = torch.cholesky_solve(means.T, factor).T
            bias = -0.5 * (part * means).sum(1) + allowed(counts, part.shape[1], self.settings)
            rows[block] = (part / temperature).float()
            biases[block] = (bias / temperature).float()
        return rows, biases


def closed_form(
    geometry: PriorGeometry,
    forms: Mapping[str, torch.Tensor],
    statistics: ToolStatistics,
    settings: ClosedFormSettings,
    directions: torch.Tensor | None = None,
) -> ClosedForm:
    """Compute the tools' rows and biases (design: method, facts 3 and 4).

    A tool of n_j examples has its mean known with variance `v_j = 1 / (kappa + n_j)` (times S), and its own states lie
    farther from the estimate by that in each dimension: `d v_j / 2` less of a score, whatever the state. `allowance`
    of it is given back by the bias, or tools known by their descriptions alone would never win against trained ones.

    Among fewer than `SHARED_FROM` tools with examples these are trusted as they are (an intraclass correlation of
    zero): prior means that no other tool has taught anything are too poor to lean on.

    Time and memory grow in proportion to the number of tools, beside a few matrices `(d, d)`.

    Parameters
    ----------
    forms
        Where each source of the prior puts the tools, `(T, d)` each.
    directions
        What `geometry.directions(forms)` gives, where that is known.
    """
    if directions is None:
        directions = geometry.directions(forms)
    if int((statistics.counts > 0).sum()) < SHARED_FROM:
        settings = settings.model_copy(update={"intraclass_correlation": 0.0})
    prior = geometry.prior(directions, statistics, settings)
    covariance = geometry.pooled(statistics, prior, directions, settings)
    return ClosedForm(directions, prior, statistics, settings, covariance)


def allowed(counts: torch.Tensor, hidden_size: int, settings: ClosedFormSettings) -> torch.Tensor:
    """Return what is added to the scores of tools with these numbers of examples, in the shape of `counts`."""
    return settings.allowance * hidden_size / 2 / (settings.kappa + effective_sample_size(counts, settings))


def effective_sample_size(counts: torch.Tensor, settings: ClosedFormSettings) -> torch.Tensor:
    """Return how many independent examples the examples of a tool are worth, in the shape of `counts`.

    Examples are written by few people, often to a pattern, and requests are not. With the intraclass correlation r, n
    examples are worth `n / (1 + (n - 1) r)`, the effective size of a sample taken in clusters (Kish 1965, Survey
    Sampling): one is worth one, and no number of them is worth more than `1 / r`.
    """
    return counts / (1 + (counts - 1).clamp(min=0) * settings.intraclass_correlation)


def posterior_means(statistics: ToolStatistics, prior: torch.Tensor, settings: ClosedFormSettings) -> torch.Tensor:
    """Return the posterior mean of each tool's states, `(T, d) float64`.

    `mu_j = (w_j xbar_j + kappa mu_j0) / (w_j + kappa)`: the prior mean counts like kappa examples (design: method, fact
    4), and the mean of the examples like as many as they are worth.

    Parameters
    ----------
    prior
        Prior means mu_j0, `(T, d)`.
    """
    return _between(statistics.sums, statistics.counts, prior, settings)


def _between(
    sums: torch.Tensor, counts: torch.Tensor, prior: torch.Tensor, settings: ClosedFormSettings
) -> torch.Tensor:
    weights = effective_sample_size(counts, settings)
    return (sums * (weights / counts.clamp(min=1))[:, None] + settings.kappa * prior) / (weights + settings.kappa)[
        :, None
    ]


def discriminant(means: torch.Tensor, covariance: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return rows `(T, d)` and biases `(T,)` of linear discriminant analysis with equal class weights.

    `w_j = S^-1 mu_j`, `b_j = -1/2 mu_j' S^-1 mu_j` (design: method, fact 3).

    Raises
    ------
    HeadError
        If the covariance is not positive definite.
    """
    rows = torch.cholesky_solve(means.T, cholesky(covariance)).T
    return rows, -0.5 * (rows * means).sum(1)
