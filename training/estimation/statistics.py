"""`ToolStatistics`: the additive sums from which a head is computed in closed form."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from toolken.errors import HeadError
from toolken.training.estimation.second_moment import SecondMoment
from toolken.training.tool_spec import unknown_tools

#: Tools that are computed with at a time: what is held of them in between is a constant, however many there are.
BLOCK = 2048


def blocks(count: int) -> list[slice]:
    """Return slices that cover a number of tools."""
    return [slice(begin, min(begin + BLOCK, count)) for begin in range(0, count, BLOCK)]


@dataclass
class ToolStatistics:
    """Counts, sums and second moment of the hidden states at which each tool is called.

    Everything is a sum over examples, so statistics can be extended, merged and reduced exactly, in any order and on
    any number of machines. Memory is at most `T d + d^2` numbers, whatever the number of examples.

    Attributes
    ----------
    names
        The T tools.
    counts
        Examples of each tool, `(T,) float64`.
    sums
        Sum of each tool's states, `(T, d) float64`.
    scatter
        Sum of `x x'` over the states x of all tools.
    retired
        Degrees of freedom left in `scatter` by tools that were dropped without their examples.
    """

    names: list[str]
    counts: torch.Tensor
    sums: torch.Tensor
    scatter: SecondMoment
    retired: float = field(default=0.0)

    @classmethod
    def empty(cls, names: Sequence[str], hidden_size: int) -> "ToolStatistics":
        """Return statistics of no examples."""
        return cls(
            list(names),
            torch.zeros(len(names), dtype=torch.float64),
            _untouched(len(names), hidden_size),
            SecondMoment.zero(hidden_size),
        )

    @property
    def hidden_size(self) -> int:
        """Dimension d of the states."""
        return int(self.sums.shape[1])

    @property
    def moment(self) -> torch.Tensor:
        """Sum of `x x'` over the states x of all tools, `(d, d) float64`; it may not be changed in place."""
        return self.scatter.dense()

    @property
    def total(self) -> float:
        """Number of examples of all tools."""
        return float(self.counts.sum())

    @property
    def freedom(self) -> float:
        """Degrees of freedom of the scatter of the states round their tool's mean."""
        return float((self.counts - 1).clamp(min=0).sum()) + self.retired

    def add(self, hidden: torch.Tensor, labels: torch.Tensor) -> None:
        """Add examples: states `(n, d)` and the index of each one's tool, `(n,) int64`."""
        self._accumulate(hidden, labels, 1.0)

    def remove(self, hidden: torch.Tensor, labels: torch.Tensor) -> None:
        """Take examples out again that were added before, given in the same form.

        Raises
        ------
        HeadError
            If a tool has fewer examples than are to be removed; nothing is changed then.
        """
        short = self.counts - torch.bincount(labels, minlength=len(self.names)) < 0
        if bool(short.any()):
            name = self.names[int(short.nonzero()[0])]
            raise HeadError(f"More examples of {name!r} are to be removed than were added: remove only added ones.")
        self._accumulate(hidden, labels, -1.0)

    def merge(self, other: "ToolStatistics") -> "ToolStatistics":
        """Return the statistics of both sets of examples; tools are matched by name.

        Raises
        ------
        HeadError
            If the hidden sizes differ.
        """
        if self.hidden_size != other.hidden_size:
            raise HeadError(
                f"Statistics of hidden size {self.hidden_size} and {other.hidden_size} cannot be merged: "
                "they come from different LMs."
            )
        names = list(dict.fromkeys([*self.names, *other.names]))
        merged = ToolStatistics.empty(names, self.hidden_size)
        index = {name: i for i, name in enumerate(names)}
        for part in (self, other):
            rows = torch.tensor([index[name] for name in part.names], dtype=torch.long)
            merged.counts.index_add_(0, rows, part.counts)
            for at, _, _ in seen_blocks(part):  # sums that are zero are not written, so that they take up no memory
                merged.sums.index_add_(0, rows[at], part.sums[at])
            merged.scatter.include(part.scatter)
            merged.retired += part.retired
        return merged

    def include(self, other: "ToolStatistics") -> None:
        """Add the statistics of further examples of the same tools in the same order, in place.

        Raises
        ------
        HeadError
            If they are of other tools.
        """
        if other.names != self.names:
            raise HeadError("Statistics of other tools cannot be included: merge them.")
        self.counts += other.counts
        for at, _, _ in seen_blocks(other):
            self.sums[at] += other.sums[at]
        self.scatter.include(other.scatter)
        self.retired += other.retired

    def with_tools(self, names: Sequence[str]) -> "ToolStatistics":
        """Return statistics with further tools that have no example yet."""
        return self.merge(ToolStatistics.empty(names, self.hidden_size))

    def without_tools(self, names: Sequence[str]) -> "ToolStatistics":
        """Return statistics without some tools.

        Their examples' spread round their own mean stays part of the pooled covariance, which is all that is still
        known of them; to forget that as well, `remove` the examples first.

        Raises
        ------
        ToolSpecError
            If a name is not among the tools.
        """
        unknown_tools(names, self.names)
        dropped = set(names)
        keep = torch.tensor([name not in dropped for name in self.names])
        gone, seen = ~keep & (self.counts > 0), self.counts > 0
        scatter = self.scatter.copy()
        scatter.add(self.sums[gone], -1 / self.counts[gone])
        return ToolStatistics(
            [name for name in self.names if name not in dropped],
            self.counts[keep],
            _spread(self.sums[keep & seen], seen[keep]),
            scatter,
            self.retired + float((self.counts[gone] - 1).sum()),
        )

    def within_scatter(self) -> tuple[torch.Tensor, float]:
        """Return the scatter of the states round their tool's mean, `(d, d)`, and its degrees of freedom."""
        scatter = self.moment
        for index, means, _ in seen_blocks(self):
            scatter = scatter - means.T @ self.sums[index]
        return (scatter + scatter.T) / 2, self.freedom

    def copy(self) -> "ToolStatistics":
        """Return statistics of the same examples that can be changed apart."""
        seen = self.counts > 0
        return ToolStatistics(
            list(self.names), self.counts.clone(), _spread(self.sums[seen], seen), self.scatter.copy(), self.retired
        )

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return everything but the names as tensors, for saving; tools without an example take up no sum."""
        return {
            "counts": self.counts,
            "sums": self.sums[self.counts > 0],
            **self.scatter.tensors(),
            "retired": torch.tensor([self.retired], dtype=torch.float64),
        }

    @classmethod
    def from_tensors(cls, names: Sequence[str], tensors: Mapping[str, torch.Tensor]) -> "ToolStatistics":
        """Undo `tensors`."""
        sums, counts = tensors["sums"], tensors["counts"]
        if len(sums) < len(counts):
            sums = _spread(sums, counts > 0)
        return cls(list(names), counts, sums, SecondMoment.from_tensors(tensors), float(tensors["retired"].item()))

    def _accumulate(self, hidden: torch.Tensor, labels: torch.Tensor, sign: float) -> None:
        states = hidden.to(torch.float64)
        if not bool(torch.isfinite(states).all()):
            raise HeadError("A hidden state is not a finite number: load the LM in float32 or check its weights.")
        if sign > 0:
            self.scatter.add(states)
        else:
            states = self.scatter.remove(states)  # what was added, if the LM's rounding gave another state now
        self.counts.index_add_(0, labels, torch.full((len(labels),), sign, dtype=torch.float64))
        self.sums.index_add_(0, labels, sign * states)


def seen_blocks(statistics: ToolStatistics) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Yield, for the tools that have examples, indices `(n,)`, mean states `(n, d)` and counts `(n, 1)`, in blocks."""
    seen = (statistics.counts > 0).nonzero()[:, 0]
    for block in blocks(len(seen)):
        index = seen[block]
        counts = statistics.counts[index, None]
        yield index, statistics.sums[index] / counts, counts


def _spread(sums: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """Return sums `(T, d)` of all tools from those of the ones that have examples."""
    spread = _untouched(len(seen), sums.shape[1])
    spread[seen] = sums
    return spread


def _untouched(count: int, size: int) -> torch.Tensor:
    """Return zeros `(count, size) float64` that take up no memory until they are written to.

    numpy asks the operating system for zeros; torch would write them.
    """
    return torch.from_numpy(np.zeros((count, size)))
