"""The closed form: posterior means, a pooled covariance, and their linear discriminant."""

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
    """Means and covariance of the states at which each tool is called, and their linear discriminant.

    Attributes
    ----------
    directions
        Directions of the descriptions, `(T, d)`.
    prior_map
        Map from directions to prior means.
    statistics, settings
        The examples' statistics, and the settings.
    covariance
        Covariance of the states around their tool's mean, `(d, d) float64`.
    """

    directions: torch.Tensor
    prior_map: Prior
    statistics: ToolStatistics
    settings: ClosedFormSettings
    covariance: torch.Tensor

    @property
    def leverage(self) -> torch.Tensor:
        """Weight of a tool's own examples in its prior mean, `(T,) float64`, between 0 and 1."""
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
        """Output embeddings, `(T, d) float64`."""
        return self._discriminant[0]

    @property
    def biases(self) -> torch.Tensor:
        """Biases, `(T,) float64`."""
        return self._discriminant[1]

    @cached_property
    def _discriminant(self) -> tuple[torch.Tensor, torch.Tensor]:
        embeddings, biases = discriminant(self.means, self.covariance)
        return embeddings, biases + allowed(self.statistics.counts, embeddings.shape[1], self.settings)

    def output_vectors(self, temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Return output embeddings `(T, d)` and biases `(T,)`, divided by a temperature, as float32.

        To save memory the embeddings overwrite float32 directions: the closed form cannot be used afterwards.
        """
        count = len(self.directions)
        in_place = self.directions.dtype == torch.float32
        embeddings = self.directions if in_place else torch.empty(self.directions.shape, dtype=torch.float32)
        biases = torch.empty(count, dtype=torch.float32)
        factor = cholesky(self.covariance)
        for block in blocks(count):
            counts = self.statistics.counts[block]
            prior = self.prior_map.means(self.directions[block])
            means = _between(self.statistics.sums[block], counts, prior, self.settings)
            exact = torch.cholesky_solve(means.T, factor).T
            bias = -0.5 * (exact * means).sum(1) + allowed(counts, exact.shape[1], self.settings)
            embeddings[block] = (exact / temperature).float()
            biases[block] = (bias / temperature).float()
        return embeddings, biases


def closed_form(
    geometry: PriorGeometry,
    forms: Mapping[str, torch.Tensor],
    statistics: ToolStatistics,
    settings: ClosedFormSettings,
    directions: torch.Tensor | None = None,
) -> ClosedForm:
    """Compute the tools' output embeddings and biases.

    The mean of a tool with n_j examples is known with variance `v_j = 1 / (kappa + n_j)` (times S). Its own states are
    farther from the estimate by this in each dimension, which lowers their score by `d v_j / 2`. The bias makes up for
    the share `allowance` of it; otherwise tools without examples would never win against tools with examples.

    With fewer than `SHARED_FROM` tools with examples, the intraclass correlation is taken for zero: prior means without
    the regression on other tools are too inaccurate for more weight.

    Time and memory are linear in the number of tools, plus a few matrices `(d, d)`.

    Parameters
    ----------
    geometry
        The prior's metric.
    forms
        Description embeddings `(T, d)` by source of the prior.
    statistics, settings
        The examples' statistics, and the settings.
    directions
        `geometry.directions(forms)`, if already computed.
    """
    if directions is None:
        directions = geometry.directions(forms)
    if int((statistics.counts > 0).sum()) < SHARED_FROM:
        settings = settings.model_copy(update={"intraclass_correlation": 0.0})
    prior = geometry.prior(directions, statistics, settings)
    covariance = geometry.pooled(statistics, prior, directions, settings)
    return ClosedForm(directions, prior, statistics, settings, covariance)


def allowed(counts: torch.Tensor, hidden_size: int, settings: ClosedFormSettings) -> torch.Tensor:
    """Return the allowance of tools with these numbers of examples, which is added to their scores."""
    return settings.allowance * hidden_size / 2 / (settings.kappa + effective_sample_size(counts, settings))


def effective_sample_size(counts: torch.Tensor, settings: ClosedFormSettings) -> torch.Tensor:
    """Return the effective sample size of each tool's examples, in the shape of `counts`.

    Few people write the examples, often to a pattern; requests vary more. The effective sample size of n clustered
    examples with the intraclass correlation r is `n / (1 + (n - 1) r)` (Kish 1965, Survey Sampling): 1 for one example,
    and never more than `1 / r`.
    """
    return counts / (1 + (counts - 1).clamp(min=0) * settings.intraclass_correlation)


def posterior_means(statistics: ToolStatistics, prior: torch.Tensor, settings: ClosedFormSettings) -> torch.Tensor:
    """Return the posterior mean of each tool's states, `(T, d) float64`.

    `mu_j = (w_j xbar_j + kappa mu_j0) / (w_j + kappa)`: the prior mean weighs kappa examples, and the mean of the
    examples their effective sample size w_j.

    Parameters
    ----------
    statistics, settings
        The examples' statistics, and the settings.
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
    """Return output embeddings `(T, d)` and biases `(T,)` of linear discriminant analysis with equal class weights.

    `w_j = S^-1 mu_j`, `b_j = -1/2 mu_j' S^-1 mu_j`.

    Raises
    ------
    HeadError
        If the covariance is not positive definite.
    """
    embeddings = torch.cholesky_solve(means.T, cholesky(covariance)).T
    return embeddings, -0.5 * (embeddings * means).sum(1)
