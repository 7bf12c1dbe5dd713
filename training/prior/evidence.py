"""`Evidence`: how much a request looks like the description of a tool that has no example yet."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from toolken.training.head.toolken_head import ToolkenHead
from toolken.training.prior.geometry import PriorGeometry

# In standard deviations of all requests towards the likeliest tool: below the first a request speaks against a call,
# above the second for one, each by so much log odds a deviation. Chosen on requests of MetaTool's dev split, with sets
# of 1 to 199 tools, and questions that need no tool.
LITTLE, MUCH = 1.0, 2.5
AGAINST, FOR = 2.0, 3.0
#: Where there are more tools without examples than the first, only so many are looked at, those with the best scores.
MANY, LOOKED_AT = 1024, 64


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
    forms
        Where the descriptions lie, `(T, d) float32`, the head's own.
    lengths
        How far that is from the middle of all requests, in whitened coordinates, `(T,) float64`.
    spreads
        Standard deviation of the cosine between a request and each description's direction, `(T,) float64`.
    unseen
        Which tools have no example, `(T,) bool`.
    output_embeddings
        The head's rows that this was computed beside.
    """

    geometry: PriorGeometry
    forms: torch.Tensor
    lengths: torch.Tensor
    spreads: torch.Tensor
    unseen: torch.Tensor
    output_embeddings: torch.Tensor

    @classmethod
    def of(cls, head: ToolkenHead) -> "Evidence":
        """Take the evidence's geometry from a head that knows its tools' query forms."""
        lengths, spreads = head.offsets
        return cls(
            head.geometry, head.forms["query"], lengths, spreads, head.statistics.counts == 0, head.output_embeddings
        )

    def log_odds(self, hidden: torch.Tensor, rows: torch.Tensor | None, scores: Callable[[], torch.Tensor]) -> float:
        """Return what to add to the gate's log odds at a state `(d,)` where some tools may be called.

        The likeliest of many tools is far out by chance: what is to be expected of the largest of so many normal
        variables, sqrt(2 log n), is taken off. Where tools with examples may be called too, nothing speaks against it.

        Parameters
        ----------
        rows
            The tools that may be called, as indices of the head's rows `(n,) int64`; None for all.
        scores
            Gives their scores in the race, `(n,)`. Of very many tools only those that score best are looked at.
        """
        unseen = self.unseen if rows is None else self.unseen[rows]
        count, whole = int(unseen.sum()), len(unseen)
        if not count:
            return 0.0
        if count > MANY:
            mine = torch.topk(scores().masked_fill(~unseen, -torch.inf), LOOKED_AT).indices
        else:
            mine = unseen.nonzero()[:, 0]
        if rows is not None:
            mine = rows[mine]
        state = self.geometry.whiten(hidden[None].double() - self.geometry.mean)[0]
        direction = torch.nn.functional.normalize(state, dim=0)[:, None]
        # Back through the metric once, rather than forward with each description.
        back = torch.linalg.solve_triangular(self.geometry.factor.T, direction, upper=True)[:, 0]
        cosines = (self.forms[mine] - self.geometry.mean) @ back / self.lengths[mine]
        largest = float((cosines / self.spreads[mine]).max()) - math.sqrt(2 * math.log(count))
        added = FOR * max(largest - MUCH, 0.0) - AGAINST * max(LITTLE - largest, 0.0)
        return added if count == whole else max(added, 0.0)
