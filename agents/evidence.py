"""`Evidence`: how much a request looks like the description of a tool that has no example yet."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from toolken.training.closed_form import PriorGeometry
from toolken.training.head import ToolkenHead

# In standard deviations of all requests towards the likeliest tool: below the first a request speaks against a call,
# above the second for one, each by so much log odds a deviation. Chosen on requests of MetaTool's dev split, with sets
# of 1 to 199 tools, and questions that need no tool.
LITTLE, MUCH = 1.0, 2.5
AGAINST, FOR = 2.0, 3.0


@dataclass(frozen=True)
class Evidence:
    """What the descriptions of tools without examples say on whether any of them is called.

    A gate that no example has shaped knows requests from questions of fact, whatever the tools are: it takes "What is
    the weather like in Paris?" for the latter. That a tool's description is about just this is seen from the angle
    between the state and the description's own, in the background's metric, in units of its spread over all requests.

    Attributes
    ----------
    geometry
        The background's metric.
    directions
        Unit directions of the descriptions from the middle of all requests, whitened, `(T, d) float64`.
    spreads
        Standard deviation of the cosine between a request and each direction, `(T,)`.
    unseen
        Indices of the tools that have no example, by name.
    rows
        The head's rows that this was computed beside.
    """

    geometry: PriorGeometry
    directions: torch.Tensor
    spreads: torch.Tensor
    unseen: dict[str, int]
    rows: torch.Tensor

    @classmethod
    def of(cls, head: ToolkenHead) -> "Evidence":
        """Compute the evidence's geometry from a head."""
        geometry = head.geometry
        unseen = {name: at for at, name in enumerate(head.names) if float(head.statistics.counts[at]) == 0}
        directions = torch.nn.functional.normalize(geometry.whiten(head.forms["query"] - geometry.mean), dim=1)
        half = torch.linalg.solve_triangular(geometry.factor, head.covariance, upper=False)
        white = torch.linalg.solve_triangular(geometry.factor, half.T, upper=False)
        # The squared length of a whitened state is close to the trace, so the cosine's variance is their quotient.
        spreads = (((directions @ white) * directions).sum(1) / white.trace()).sqrt()
        return cls(geometry, directions, spreads, unseen, head.rows)

    def log_odds(self, hidden: torch.Tensor, names: Sequence[str]) -> float:
        """Return what to add to the gate's log odds at a state `(d,)` where some tools may be called.

        The likeliest of many tools is far out by chance: what is to be expected of the largest of so many normal
        variables, sqrt(2 log n), is taken off. Where tools with examples may be called too, nothing speaks against it.
        """
        mine = [self.unseen[name] for name in names if name in self.unseen]
        if not mine:
            return 0.0
        state = self.geometry.whiten(hidden[None].double() - self.geometry.mean)[0]
        cosines = self.directions[mine] @ torch.nn.functional.normalize(state, dim=0)
        largest = float((cosines / self.spreads[mine]).max()) - math.sqrt(2 * math.log(len(mine)))
        added = FOR * max(largest - MUCH, 0.0) - AGAINST * max(LITTLE - largest, 0.0)
        return added if len(mine) == len(names) else max(added, 0.0)
