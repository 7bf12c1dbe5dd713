"""The closed form: prior means, posterior means, a pooled covariance, and the linear discriminant they give."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from pydantic import BaseModel, ConfigDict, Field

from toolken.errors import HeadError
from toolken.training.statistics import ToolStatistics, blocks, seen_blocks

#: Weight of a source's direction in the prior; 1 for those that are not named. Chosen on KAMEL's supervised dev split.
SOURCE_WEIGHTS = {"teacher": 2.0}

#: Tools with examples from which on they teach about each other. Among fewer, a tool's prior mean follows its own
#: examples so closely that leave-one-out overrates the prior (GSM8K-XL's four tools, training problems).
SHARED_FROM = 20


class Settings(BaseModel):
    """Numbers of the closed form; the defaults were chosen on the supervised dev split of KAMEL.

    `fit` chooses the first three anew for its examples, by leave-one-out.

    Attributes
    ----------
    kappa
        Weight of a description, in examples.
    intraclass_correlation
        How far a tool's examples are alike in what sets them apart from the requests to come; see `worth`.
    shrinkage
        Share of a multiple of the identity in the covariance, between 0 and 1.
    background_weight
        Weight of the background's covariance, in degrees of freedom.
    residual_weight
        Weight of the tools' distances from their prior means in the covariance; 1 where the model of normal means
        were exact.
    prior_shrinkage
        The same share in the metric in which descriptions are compared.
    sharing
        How much of what the descriptions leave open about the tools' means is expected to be common to tools with
        similar descriptions, as a multiple of what is each tool's own; 0 to learn nothing from one tool about another.
    allowance
        Share of the d dimensions in which not knowing a tool's mean adds to its distance from its own states.
    alignment
        Expected length of a tool's mean along its description's direction, in standard deviations of the background;
        what is assumed of tools before any of them has an example.
    alignment_weight
        Weight of that assumption, in tools.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kappa: float = Field(default=4.0, gt=0)
    intraclass_correlation: float = Field(default=0.05, ge=0, lt=1)
    shrinkage: float = Field(default=0.05, ge=0, lt=1)
    background_weight: float = Field(default=100.0, gt=0)
    residual_weight: float = Field(default=0.3, ge=0, le=1)
    prior_shrinkage: float = Field(default=0.1, ge=0, lt=1)
    sharing: float = Field(default=0.5, ge=0)
    allowance: float = Field(default=0.2, ge=0)
    alignment: float = Field(default=5.0, gt=0)
    alignment_weight: float = Field(default=5.0, gt=0)


#: Where to begin for a prior with a teacher, which is worth more examples. Chosen on KAMEL's supervised dev split.
TAUGHT = Settings(kappa=8.0)


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
    def of(cls, mean: torch.Tensor, covariance: torch.Tensor, settings: Settings) -> "PriorGeometry":
        """Compute the metric from the background's mean and covariance."""
        return cls(mean, covariance, cholesky(shrunk(covariance, settings.prior_shrinkage)))

    def whiten(self, states: torch.Tensor) -> torch.Tensor:
        """Return states `(n, d)` in coordinates in which the background is spherical."""
        white: torch.Tensor = torch.linalg.solve_triangular(self.factor, states.to(self.factor.dtype).T, upper=False)
        return white.T

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
        half = torch.linalg.solve_triangular(self.factor, self.covariance, upper=False)
        white = torch.linalg.solve_triangular(self.factor, half.T, upper=False)
        lengths, spreads = (torch.empty(len(form), dtype=torch.float64) for _ in range(2))
        for block in blocks(len(form)):
            offsets = self.whiten(form[block] - self.mean)
            lengths[block] = offsets.norm(dim=1)
            directions = torch.nn.functional.normalize(offsets, dim=1)
            # A whitened state's squared length is close to the trace, so the cosine's variance is their quotient.
            spreads[block] = (((directions @ white) * directions).sum(1) / white.trace()).sqrt()
        return lengths, spreads

    def prior_means(
        self, forms: Mapping[str, torch.Tensor], statistics: ToolStatistics, settings: Settings
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

    def prior(self, directions: torch.Tensor, statistics: ToolStatistics, settings: Settings) -> "Prior":
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
        self, statistics: ToolStatistics, prior: "Prior", directions: torch.Tensor, settings: Settings
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
    settings: Settings
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
    def rows(self) -> torch.Tensor:
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

    def into_rows(self, temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
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
    settings: Settings,
    directions: torch.Tensor | None = None,
) -> ClosedForm:
    """Compute the tools' rows and biases (design: method, facts 3 and 4).

    A tool of n_j examples has its mean known with variance `v_j = 1 / (kappa + n_j)` (times S), and its own states lie
    farther from the estimate by that in each dimension: `d v_j / 2` less of a score, whatever the state. `allowance`
    of it is given back by the bias, or tools known by their descriptions alone would never win against trained ones.

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
    prior = geometry.prior(directions, statistics, settings)
    covariance = geometry.pooled(statistics, prior, directions, settings)
    return ClosedForm(directions, prior, statistics, settings, covariance)


def allowed(counts: torch.Tensor, hidden_size: int, settings: Settings) -> torch.Tensor:
    """Return what is added to the scores of tools with these numbers of examples, in the shape of `counts`."""
    return settings.allowance * hidden_size / 2 / (settings.kappa + worth(counts, settings))


def worth(counts: torch.Tensor, settings: Settings) -> torch.Tensor:
    """Return how many independent examples the examples of a tool are worth, in the shape of `counts`.

    Examples are written by few people, often to a pattern, and requests are not. With the intraclass correlation r, n
    examples are worth `n / (1 + (n - 1) r)`, the effective size of a sample taken in clusters (Kish 1965, Survey
    Sampling): one is worth one, and no number of them is worth more than `1 / r`.
    """
    return counts / (1 + (counts - 1).clamp(min=0) * settings.intraclass_correlation)


def _shared(directions: torch.Tensor, prior: Prior, statistics: ToolStatistics, settings: Settings) -> Prior:
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


def shrunk(covariance: torch.Tensor, shrinkage: float) -> torch.Tensor:
    """Return `(1 - rho) S + rho (tr S / d) I`.

    Raises
    ------
    HeadError
        If the states do not vary at all, or are not finite.
    """
    size = covariance.shape[0]
    level = float(covariance.trace()) / size
    if not 0 < level < float("inf"):
        raise HeadError("The hidden states do not vary or are not finite: give differing examples, check the LM.")
    return (1 - shrinkage) * covariance + shrinkage * level * torch.eye(size, dtype=covariance.dtype)


def posterior_means(statistics: ToolStatistics, prior: torch.Tensor, settings: Settings) -> torch.Tensor:
    """Return the posterior mean of each tool's states, `(T, d) float64`.

    `mu_j = (w_j xbar_j + kappa mu_j0) / (w_j + kappa)`: the prior mean counts like kappa examples (design: method, fact
    4), and the mean of the examples like as many as they are worth.

    Parameters
    ----------
    prior
        Prior means mu_j0, `(T, d)`.
    """
    return _between(statistics.sums, statistics.counts, prior, settings)


def _between(sums: torch.Tensor, counts: torch.Tensor, prior: torch.Tensor, settings: Settings) -> torch.Tensor:
    weights = worth(counts, settings)
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


def cholesky(covariance: torch.Tensor) -> torch.Tensor:
    """Return the lower Cholesky factor of a covariance.

    Raises
    ------
    HeadError
        If it is not positive definite.
    """
    factor, failed = torch.linalg.cholesky_ex(covariance)
    if int(failed):
        raise HeadError("The covariance of the hidden states is singular: use more shrinkage.")
    lower: torch.Tensor = factor
    return lower
