"""`Estimate`: output embeddings and biases of a set of tools, computed from their descriptions and examples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch

from toolken.training.estimation.closed_form import closed_form
from toolken.training.estimation.refinement import Correction
from toolken.training.estimation.settings import ClosedFormSettings
from toolken.training.estimation.statistics import ToolStatistics
from toolken.training.prior.evidence import Evidence
from toolken.training.prior.geometry import PriorGeometry
from toolken.training.prior.moments import BackgroundMoments

#: Temperature without examples. Chosen on KAMEL's supervised dev split.
TEMPERATURE = 2.0


@dataclass(frozen=True, eq=False)
class Estimate:
    """Everything that the output embeddings of T tools follow from, and these themselves, computed when first used.

    An estimate is never changed; its methods return new ones.

    Attributes
    ----------
    forms
        Embeddings of the descriptions per source of the prior, `(T, d) float32` each.
    statistics
        Sums over the examples.
    background
        Mean and covariance of the background requests.
    settings
        Numbers of the closed form.
    temperature
        Divides the scores, so that probabilities are calibrated.
    correction
        What the refinement on the examples changed, if there was one.
    """

    forms: Mapping[str, torch.Tensor]
    statistics: ToolStatistics
    background: BackgroundMoments
    settings: ClosedFormSettings = field(default_factory=lambda: ClosedFormSettings())
    temperature: float = TEMPERATURE
    correction: Correction | None = None

    @property
    def geometry(self) -> PriorGeometry:
        """The background's metric, in which descriptions are compared."""
        return self.background.geometry(self.settings.prior_shrinkage)

    @property
    def output_embeddings(self) -> torch.Tensor:
        """W, the toolkens, `(T, d) float32`."""
        return self._vectors[0]

    @property
    def biases(self) -> torch.Tensor:
        """b, `(T,) float32`."""
        return self._vectors[1]

    @cached_property
    def offsets(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Lengths and spreads `(T,) float64` of the query forms; see `PriorGeometry.offsets`."""
        return self.geometry.offsets(self.forms["query"])

    @cached_property
    def evidence(self) -> Evidence | None:
        """The term of tools without examples; None where all have some, or the prior has no query forms."""
        counts = self.statistics.counts
        # How requests spread around another prior's forms is not known.
        if "query" not in self.forms or not bool((counts == 0).any()):
            return None
        return Evidence.of(self.geometry, self.forms["query"], self.offsets, counts)

    @cached_property
    def _vectors(self) -> tuple[torch.Tensor, torch.Tensor]:
        form = closed_form(self.geometry, self.forms, self.statistics, self.settings)
        embeddings, biases = form.output_vectors(self.temperature)
        if self.correction is not None:
            at = {name: i for i, name in enumerate(self.statistics.names)}
            index = torch.tensor([at[name] for name in self.correction.names])
            embeddings.index_add_(0, index, self.correction.output_embeddings.float())
            biases.index_add_(0, index, self.correction.biases.float())
        return embeddings, biases

    def known_as(
        self,
        output_embeddings: torch.Tensor,
        biases: torch.Tensor,
        offsets: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> "Estimate":
        """Return the estimate with vectors `(T, d)`, `(T,) float32` that were computed before, or learned elsewhere."""
        known = replace(self)
        known.__dict__["_vectors"] = (output_embeddings, biases)
        if offsets is not None:
            known.__dict__["offsets"] = offsets
        return known

    def with_tools(self, names: Sequence[str], forms: Mapping[str, torch.Tensor]) -> "Estimate":
        """Return the estimate with further tools, given the embeddings of their descriptions per source."""
        joined = {source: torch.cat([form, forms[source]]) for source, form in self.forms.items()}
        return replace(self, forms=joined, statistics=self.statistics.with_tools(names))

    def without_tools(self, names: Sequence[str]) -> "Estimate":
        """Return the estimate without some tools; `ToolStatistics.without_tools` says what stays of their examples."""
        gone = set(names)
        keep = [i for i, name in enumerate(self.statistics.names) if name not in gone]
        return replace(
            self,
            forms={source: form[keep] for source, form in self.forms.items()},
            statistics=self.statistics.without_tools(names),
            correction=self.correction.without(names) if self.correction else None,
        )

    def with_examples(self, hidden: torch.Tensor, labels: torch.Tensor) -> "Estimate":
        """Return the estimate with further examples: states `(n, d)` and the index of each one's tool `(n,)`."""
        statistics = self.statistics.copy()
        statistics.add(hidden, labels)
        return replace(self, statistics=statistics)

    def without_examples(self, hidden: torch.Tensor, labels: torch.Tensor) -> "Estimate":
        """Return the estimate without some of its examples.

        Raises
        ------
        HeadError
            If a tool has fewer examples than are to be removed.
        """
        statistics = self.statistics.copy()
        statistics.remove(hidden, labels)
        return replace(self, statistics=statistics)
