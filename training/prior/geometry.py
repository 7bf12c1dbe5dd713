"""`PriorGeometry`: where descriptions point in the background's metric, and the tools' prior means that follow."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from toolken.training.estimation.covariance import cholesky, shrunk, whitened, whitened_form
from toolken.training.estimation.settings import ClosedFormSettings
from toolken.training.estimation.statistics import ToolStatistics, blocks, seen_blocks

#: Weight of a source's direction in the prior; 1 for those that are not named. Chosen on KAMEL's supervised dev split.
SOURCE_WEIGHTS = {"teacher": 2.0}

#: Tools with examples from which on they teach about each other. Among fewer, a tool's prior mean follows its own
#: examples so closely that leave-one-out overrates the prior (GSM8K-XL's four tools, training problems).
SHARED_FROM = 20


@dataclass(frozen=True)
class PriorGeometry:
    """The background's metric: where descriptions point, seen from the middle of all requests.

    Attributes
    ----------
    mean
        Mean background state, `(d,) float64`.
    covariance
        The background's covariance as it was estimated, `(d, d)`.
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
        """Return states `(n, d)` in coordinates in which the background is spherical."""
        return whitened(states, self.factor)

    def directions(self, forms: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the direction of each description from the middle of all, whitened, `(T, d)` in the forms' own dtype.

        Only the direction is kept: how far a form lies from the middle depends on its wording, and in the whitened
        space the cosine tells tools apart better than the distance (design: method, section 4). The background
        counts as one more form, so that a single tool has a direction too.

        Parameters
        ----------
        forms
            Where each source of the prior puts the tools, `(T, d)` each; the sources' unit directions are averaged
            with their weights. A source that knows nothing of a tool gives it a form that is not a number, and has no
            voice there.
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
            if number > 1:  # less their common part, which tells no tool from another; a single one keeps its direction
                for block in blocks(len(form)):
                    total[block][known[block]] -= (weight * middle / number).to(total.dtype)
        for block in blocks(len(total)):
            total[block] = torch.nn.functional.normalize(total[block].double(), dim=1).to(total.dtype)
        return total

    def offsets(self, form: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return how far descriptions `(T, d)` lie from the middle of all requests, and how requests spread that way.

        Returns
        -------
        lengths, spreads
            The distance in whitened coordinates, and the standard deviation of the cosine between a request and the
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
        """Return the prior means mu_j0, `(T, d) float64`, and each tool's leverage on its own, `(T,)`.

        `mu_j0 = m + c L (g_j - mean g) + B (g_j - mean g)`, with the unit directions g, the metric's factor L, the
        middle m of the tools' means, and the alignment c, the regression of the tools' means on their directions.
        Where no tool has an example, m is the background's mean and c the assumed alignment; where fewer than
        `SHARED_FROM` have any, B is zero; see `_shared`.

        Parameters
        ----------
        forms
            As in `directions`.
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
            # The prior's middle is such that the tools with examples lie where their examples are.
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
        return _shared(directions, prior, statistics, settings)

    def pooled(
        self, statistics: ToolStatistics, prior: "Prior", directions: torch.Tensor, settings: ClosedFormSettings
    ) -> torch.Tensor:
        """Return the covariance of the states round their tool's mean, `(d, d)`, shrunk.

        Three estimates are pooled: the scatter of the examples, the background's covariance, and how far the tools'
        means `xbar_j` lie from their prior means. In the normal-inverse-Wishart model the third adds
        `kappa n_j / (kappa + n_j) (xbar_j - mu_j0)(xbar_j - mu_j0)'` to the scatter (Gelman et al., Bayesian Data
        Analysis, section 3.6); where each tool has a single example it is all that is known of the spread.
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
        How far a tool's prior mean follows its own examples, `(T,) float64`, between 0 and 1.
    """

    offset: torch.Tensor
    matrix: torch.Tensor
    leverage: torch.Tensor

    def means(self, directions: torch.Tensor) -> torch.Tensor:
        """Return the prior means for some directions `(n, d)`, `(n, d) float64`."""
        return self.offset + directions.to(self.matrix.dtype) @ self.matrix


def _shared(directions: torch.Tensor, prior: Prior, statistics: ToolStatistics, settings: ClosedFormSettings) -> Prior:
    """Return the prior with what the tools with examples teach about all tools' means, and their leverages.

    A tool's mean is modelled as its prior mean, plus a linear function B of its description's direction, plus what is
    the tool's own: `mu_j = mu_j0 + B g_j + t_j`, with `t_j ~ N(0, S / kappa)` and the prior variance of `B g_j`
    `sharing` times that. The mean of n_j examples then lies `1 / kappa + 1 / n_j` (times S) round `mu_j0 + B g_j`, and
    B is a ridge regression with these as weights; as all dimensions have the same weights, S does not enter. The
    posterior mean of `mu_j` is that of fact 4 with `mu_j0 + B g_j` in the place of `mu_j0`. (Bayesian linear
    regression; Bishop 2006, section 3.3.)
    """
    seen = statistics.counts > 0
    average = _average(directions, seen)
    parts = [(index, means, counts) for index, means, counts in seen_blocks(statistics)]
    level = sum(float((directions[index].double() - average).square().sum()) for index, _, _ in parts) / int(seen.sum())
    if level <= 1e-12:
        return prior
    penalty = settings.kappa * level / settings.sharing
    leverage = torch.zeros_like(prior.leverage)
    size = len(average)
    if int(seen.sum()) < size:
        # Fewer tools than dimensions: the same regression in its dual form, whose system is as large as the tools.
        index, means, counts = (torch.cat(part) for part in zip(*parts, strict=True))
        known, noise = directions[index].double() - average, 1 / settings.kappa + 1 / counts[:, 0]
        products = known @ known.T
        factor = cholesky(products + penalty * torch.diag(noise))
        coefficients = known.T @ torch.cholesky_solve(means - prior.means(directions[index]), factor)
        leverage[index] = torch.cholesky_solve(products, factor).diagonal()
        return Prior(prior.offset - average @ coefficients, prior.matrix + coefficients, leverage)
    gram, crossing = (torch.zeros(size, size, dtype=average.dtype) for _ in range(2))
    for index, means, counts in parts:
        known = directions[index].double() - average
        weighted = known / (1 / settings.kappa + 1 / counts)
        gram += known.T @ weighted
        crossing += weighted.T @ (means - prior.means(directions[index]))
    factor = cholesky(gram + penalty * torch.eye(size, dtype=gram.dtype))
    coefficients = torch.cholesky_solve(crossing, factor)
    for index, _, counts in parts:
        known = directions[index].double() - average
        own = (known * torch.cholesky_solve(known.T, factor).T).sum(1)
        leverage[index] = own / (1 / settings.kappa + 1 / counts[:, 0])
    return Prior(prior.offset - average @ coefficients, prior.matrix + coefficients, leverage)


def _average(directions: torch.Tensor, which: torch.Tensor) -> torch.Tensor:
    """Return the mean of the directions `(T, d)` at which a mask `(T,)` holds, `(d,) float64`."""
    total = torch.zeros(directions.shape[1], dtype=torch.float64)
    for block in blocks(len(directions)):
        total += directions[block][which[block]].double().sum(0)
    return total / max(int(which.sum()), 1)
