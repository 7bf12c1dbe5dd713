"""`PriorGeometry`: directions of descriptions in the background's metric, and the tools' prior means along them."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from toolken.training.estimation.covariance import cholesky, shrunk, whitened, whitened_form
from toolken.training.estimation.settings import ClosedFormSettings
from toolken.training.estimation.statistics import ToolStatistics, blocks, seen_blocks

#: Weight of a source's direction in the prior, 1 by default. Chosen on KAMEL's supervised dev split.
SOURCE_WEIGHTS = {"teacher": 2.0}

#: Number of tools with examples from which the regression of prior means is used. With fewer, a tool's prior mean
#: follows its own examples so closely that leave-one-out overrates the prior (measured on GSM8K-XL's four tools).
SHARED_FROM = 20


@dataclass(frozen=True)
class PriorGeometry:
    """The background's metric, in which descriptions have directions from the mean of all requests.

    Attributes
    ----------
    mean
        Mean background state, `(d,) float64`.
    covariance
        The background's covariance before shrinkage, `(d, d)`.
    factor
        Cholesky factor of the covariance after shrinkage, `(d, d)`.
    """

    mean: torch.Tensor
    covariance: torch.Tensor
    factor: torch.Tensor

    @classmethod
    def of(cls, mean: torch.Tensor, covariance: torch.Tensor, settings: ClosedFormSettings) -> "PriorGeometry":
        """Compute the metric from the background's mean and covariance."""
        return cls.shrunk_by(mean, covariance, settings.prior_shrinkage)

    @classmethod
    def shrunk_by(cls, mean: torch.Tensor, covariance: torch.Tensor, shrinkage: float) -> "PriorGeometry":
        """Compute the metric at a shrinkage of the covariance."""
        return cls(mean, covariance, cholesky(shrunk(covariance, shrinkage)))

    def whiten(self, states: torch.Tensor) -> torch.Tensor:
        """Return states `(n, d)` in coordinates in which the background's covariance is the identity."""
        return whitened(states, self.factor)

    def directions(self, forms: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the whitened direction of each description from the mean of all, `(T, d)` in the dtype of `forms`.

        Lengths are dropped: the distance of a description embedding from the mean depends on its wording, and in
        whitened space the cosine separates tools better than the distance. The background counts as one more
        embedding, so that a single tool has a direction too.

        Parameters
        ----------
        forms
            Description embeddings `(T, d)` by source of the prior. The sources' unit directions are averaged with
            their weights; a source that has no embedding for a tool marks it with NaN and is left out there.
        """
        total = torch.zeros_like(next(iter(forms.values())))
        for source, form in forms.items():
            known = torch.cat([~form[block].isnan().any(1) for block in blocks(len(form))])
            number, weight = int(known.sum()), SOURCE_WEIGHTS.get(source, 1.0)
            centre, middle = self.mean.clone(), torch.zeros_like(self.mean)
            for block in blocks(len(form)):
                centre += form[block][known[block]].double().sum(0)
            centre /= number + 1
            for block in blocks(len(form)):
                unit = torch.nn.functional.normalize(self.whiten(form[block][known[block]].double() - centre), dim=1)
                middle += unit.sum(0)
                total[block][known[block]] += (weight * unit).to(total.dtype)
            if number > 1:  # the mean direction distinguishes no tools; a single tool keeps its direction
                for block in blocks(len(form)):
                    total[block][known[block]] -= (weight * middle / number).to(total.dtype)
        for block in blocks(len(total)):
            total[block] = torch.nn.functional.normalize(total[block].double(), dim=1).to(total.dtype)
        return total

    def offsets(self, form: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the distances of description embeddings from the mean request, and the spread of requests along them.

        Parameters
        ----------
        form
            Description embeddings `(T, d)` of one source.

        Returns
        -------
        lengths, spreads
            The distances in whitened coordinates, and the standard deviations of the cosine between a request and the
            description's direction, `(T,) float64` each.
        """
        white = whitened_form(self.covariance, self.factor)
        lengths, spreads = (torch.empty(len(form), dtype=torch.float64) for _ in range(2))
        for block in blocks(len(form)):
            offsets = self.whiten(form[block] - self.mean)
            lengths[block] = offsets.norm(dim=1)
            directions = torch.nn.functional.normalize(offsets, dim=1)
            # A whitened state's squared length is close to the trace, so the cosine's variance is their quotient.
            spreads[block] = (((directions @ white) * directions).sum(1) / white.trace()).sqrt()
        return lengths, spreads

    def prior_means(
        self, forms: Mapping[str, torch.Tensor], statistics: ToolStatistics, settings: ClosedFormSettings
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the prior means mu_j0, `(T, d) float64`, and each tool's leverage on its own prior mean, `(T,)`.

        `mu_j0 = m + c L (g_j - mean g) + B (g_j - mean g)`, with the unit directions g, the metric's factor L, the mean
        m of the tools' means, and the alignment c, the regression of the tools' means on their directions. If no tool
        has an example, m is the background's mean and c the assumed alignment; if fewer than `SHARED_FROM` have any, B
        is zero; see `_with_regression`.

        Parameters
        ----------
        forms
            As in `directions`.
        statistics, settings
            The examples' statistics, and the settings of the closed form.
        """
        directions = self.directions(forms)
        prior = self.prior(directions, statistics, settings)
        return prior.means(directions), prior.leverage

    def prior(self, directions: torch.Tensor, statistics: ToolStatistics, settings: ClosedFormSettings) -> "Prior":
        """Return the prior means as a function of the directions `(T, d)`; see `prior_means`."""
        seen = statistics.counts > 0
        number = int(seen.sum())
        middle, alignment = self.mean, settings.alignment
        count = len(directions)
        average = _average(directions, torch.ones(count, dtype=torch.bool))
        common = average if count > 1 else torch.zeros_like(average)
        if number:
            seen_average = _average(directions, seen)
            means_average = torch.zeros_like(self.mean)
            for _, means, _ in seen_blocks(statistics):
                means_average += means.sum(0) / number
            # The offset places the mean of the tools with examples at the mean of their examples.
            spread, crossing = 0.0, 0.0
            for index, means, _ in seen_blocks(statistics):
                along = directions[index].double() - seen_average
                spread += float(along.square().sum())
                crossing += float((self.whiten(means - means_average) * along).sum())
            weight = settings.alignment_weight
            alignment = (crossing + weight * alignment) / (spread + weight)
            middle = means_average - alignment * ((seen_average - common) @ self.factor.T)
        matrix = alignment * self.factor.T
        prior = Prior(middle - common @ matrix, matrix, torch.zeros(count, dtype=self.mean.dtype))
        if not settings.sharing or number < SHARED_FROM:
            return prior
        return _with_regression(directions, prior, statistics, settings)

    def pooled(
        self, statistics: ToolStatistics, prior: "Prior", directions: torch.Tensor, settings: ClosedFormSettings
    ) -> torch.Tensor:
        """Return the shrunk covariance of the states around their tool's mean, `(d, d)`.

        Three estimates are pooled: the scatter of the examples, the background's covariance, and the distances of the
        tools' means `xbar_j` from their prior means. In the normal-inverse-Wishart model the third adds
        `kappa n_j / (kappa + n_j) (xbar_j - mu_j0)(xbar_j - mu_j0)'` to the scatter (Gelman et al., Bayesian Data
        Analysis, section 3.6); if each tool has a single example, it is the only information on the spread.
        """
        scatter, freedom = statistics.within_scatter()
        for index, means, counts in seen_blocks(statistics):
            residuals = means - prior.means(directions[index])
            weighted = residuals * (settings.kappa * counts / (settings.kappa + counts)).sqrt()
            scatter = scatter + settings.residual_weight * (weighted.T @ weighted)
            freedom += settings.residual_weight * len(index)
        weight = settings.background_weight
        return shrunk((scatter + weight * self.covariance) / (freedom + weight), settings.shrinkage)


@dataclass(frozen=True)
class Prior:
    """The prior means of all tools, an affine function of their directions: `mu_j0 = offset + g_j matrix`.

    Attributes
    ----------
    offset, matrix
        `(d,)` and `(d, d) float64`.
    leverage
        Weight of a tool's own examples in its prior mean, `(T,) float64`, between 0 and 1.
    """

    offset: torch.Tensor
    matrix: torch.Tensor
    leverage: torch.Tensor

    def means(self, directions: torch.Tensor) -> torch.Tensor:
        """Return the prior means `(n, d) float64` of directions `(n, d)`."""
        return self.offset + directions.to(self.matrix.dtype) @ self.matrix


def _with_regression(
    directions: torch.Tensor, prior: Prior, statistics: ToolStatistics, settings: ClosedFormSettings
) -> Prior:
    """Return the prior after a regression of the tools' means on their directions, with the tools' leverages.

    A tool's mean is modelled as its prior mean, plus a linear function B of its description's direction, plus a
    deviation: `mu_j = mu_j0 + B g_j + t_j`, with `t_j ~ N(0, S / kappa)`, and with `sharing` times this variance as the
    prior variance of `B g_j`. The mean of n_j examples then has the variance `1 / kappa + 1 / n_j` (times S) around
    `mu_j0 + B g_j`, so B is a weighted ridge regression; all dimensions have the same weights, so S cancels. The
    posterior mean of `mu_j` is that of `posterior_means` with `mu_j0 + B g_j` in place of `mu_j0`. (Bayesian linear
    regression; Bishop 2006, section 3.3.)
    """
    seen = statistics.counts > 0
    average = _average(directions, seen)
    groups = list(seen_blocks(statistics))
    total = sum(float((directions[index].double() - average).square().sum()) for index, _, _ in groups)
    level = total / int(seen.sum())
    if level <= 1e-12:
        return prior
    penalty = settings.kappa * level / settings.sharing
    leverage = torch.zeros_like(prior.leverage)
    size = len(average)
    if int(seen.sum()) < size:
        # Fewer tools than dimensions: the dual form of the regression has one equation per tool.
        index, means, counts = (torch.cat(column) for column in zip(*groups, strict=True))
        known, noise = directions[index].double() - average, 1 / settings.kappa + 1 / counts[:, 0]
        products = known @ known.T
        factor = cholesky(products + penalty * torch.diag(noise))
        coefficients = known.T @ torch.cholesky_solve(means - prior.means(directions[index]), factor)
        leverage[index] = torch.cholesky_solve(products, factor).diagonal()
        return Prior(prior.offset - average @ coefficients, prior.matrix + coefficients, leverage)
    gram, crossing = (torch.zeros(size, size, dtype=average.dtype) for _ in range(2))
    for index, means, counts in groups:
        known = directions[index].double() - average
        weighted = known / (1 / settings.kappa + 1 / counts)
        gram += known.T @ weighted
        crossing += weighted.T @ (means - prior.means(directions[index]))
    factor = cholesky(gram + penalty * torch.eye(size, dtype=gram.dtype))
    coefficients = torch.cholesky_solve(crossing, factor)
    for index, _, counts in groups:
        known = directions[index].double() - average
        own = (known * torch.cholesky_solve(known.T, factor).T).sum(1)
        leverage[index] = own / (1 / settings.kappa + 1 / counts[:, 0])
    return Prior(prior.offset - average @ coefficients, prior.matrix + coefficients, leverage)


def _average(directions: torch.Tensor, which: torch.Tensor) -> torch.Tensor:
    """Return the mean `(d,) float64` of the directions `(T, d)` that a mask `(T,)` selects."""
    total = torch.zeros(directions.shape[1], dtype=torch.float64)
    for block in blocks(len(directions)):
        total += directions[block][which[block]].double().sum(0)
    return total / max(int(which.sum()), 1)
