"""`Evidence`: how much a request resembles the descriptions of tools that have no example yet."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from toolken.training.estimation.covariance import whitened
from toolken.training.estimation.devices import decision_dtype
from toolken.training.prior.geometry import PriorGeometry

# The similarity of a request and the best description is measured in standard deviations over all requests. Below the
# first value it speaks against a call, above the second for one, each by this many log odds per standard deviation.
# Chosen on requests of MetaTool's dev split, with sets of 1 to 199 tools, and questions that need no tool.
Z_LOW, Z_HIGH = 1.0, 2.5
AGAINST, FOR = 2.0, 3.0
#: Of more tools without examples than the first, only the second number is compared: those with the best scores.
MANY, COMPARED = 1024, 64


@dataclass(frozen=True, eq=False)
class Evidence:
    """The term of a call's log odds that comes from the descriptions of tools without examples.

    A gate that no example has shaped separates requests from questions of fact, whatever the tools are: it takes "What
    is the weather like in Paris?" for a question of fact. Whether a tool's description is about the request shows in
    the angle between the state and the description's state, in the background's metric.

    Attributes
    ----------
    mean, factor
        The background's mean state `(d,)` and the Cholesky factor `(d, d)` of its shrunk covariance.
    forms
        States of the descriptions, `(T, d) float32`.
    lengths
        Distances of these from the background's mean, in whitened coordinates, `(T,)`.
    spreads
        Standard deviation of the cosine between a request and each description's direction, `(T,)`.
    unseen
        Which tools have no example, `(T,) bool`.
    """

    mean: torch.Tensor
    factor: torch.Tensor
    forms: torch.Tensor
    lengths: torch.Tensor
    spreads: torch.Tensor
    unseen: torch.Tensor

    @classmethod
    def of(
        cls,
        geometry: PriorGeometry,
        forms: torch.Tensor,
        offsets: tuple[torch.Tensor, torch.Tensor],
        counts: torch.Tensor,
    ) -> "Evidence":
        """Return the evidence of tools with these query forms, offsets (`PriorGeometry.offsets`) and example counts."""
        return cls(geometry.mean, geometry.factor, forms, *offsets, counts == 0)

    def to(self, device: torch.device) -> "Evidence":
        """Return the evidence on a device, in the precision in which the device decides."""
        dtype = decision_dtype(device)
        exact = {key: getattr(self, key).to(device, dtype) for key in ("mean", "factor", "lengths", "spreads")}
        return replace(self, forms=self.forms.to(device), unseen=self.unseen.to(device), **exact)

    def log_odds(
        self, hidden: torch.Tensor, tools: torch.Tensor | None, scores: Callable[[], torch.Tensor]
    ) -> torch.Tensor:
        """Return what is added to the gate's log odds, `(n,)`.

        The largest of n standard normal variables is about sqrt(2 log n), which is subtracted from the best tool's
        similarity. Where tools with examples may be called too, nothing speaks against a call.

        Parameters
        ----------
        hidden
            States `(n, d)`.
        tools
            Indices of the tools that may be called, `(m,) int64`; None for all.
        scores
            Returns their scores `(n, m)`; used where there are more than `MANY` tools without examples.
        """
        unseen = self.unseen if tools is None else self.unseen[tools]
        count, total = int(unseen.sum()), len(unseen)
        if not count:
            return torch.zeros(len(hidden), dtype=self.factor.dtype, device=hidden.device)
        directions = torch.nn.functional.normalize(
            whitened(hidden.to(self.factor.dtype) - self.mean, self.factor), dim=1
        )
        # The directions go back through the metric once, instead of every description going forward.
        back = torch.linalg.solve_triangular(self.factor.T, directions.T, upper=True)
        if count > MANY:
            best = torch.topk(scores().masked_fill(~unseen, -torch.inf), COMPARED).indices
            largest = torch.stack([self._largest(back[:, [at]], one, tools)[0] for at, one in enumerate(best)])
        else:
            largest = self._largest(back, unseen.nonzero()[:, 0], tools)
        largest = largest - math.sqrt(2 * math.log(count))
        added = FOR * (largest - Z_HIGH).clamp(min=0) - AGAINST * (Z_LOW - largest).clamp(min=0)
        return added if count == total else added.clamp(min=0)

    def _largest(self, back: torch.Tensor, chosen: torch.Tensor, tools: torch.Tensor | None) -> torch.Tensor:
        """Return the largest similarity to some tools' descriptions, in standard deviations, `(n,)`."""
        at = chosen if tools is None else tools[chosen]
        cosines = (self.forms[at] - self.mean) @ back / self.lengths[at, None]
        largest: torch.Tensor = (cosines / self.spreads[at, None]).max(dim=0).values
        return largest
