"""`SecondMoment`: the sum of `x x'` over hidden states, kept as the states themselves while these are smaller."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

#: Relative distance up to which two states belong to one text: an LM in bfloat16 repeats a state to about two digits
#: when the text is in another batch, and the states of different requests are several times as far apart.
SAME = 0.05


@dataclass
class SecondMoment:
    """A weighted sum `sum_i w_i x_i x_i'` of n states of d dimensions.

    Up to `d / 2` terms are kept as they are, `(n, d)`; more are summed up, `(d, d)`. At d = 4096 the sum takes 134 MB,
    and ten examples 0.3 MB.

    Attributes
    ----------
    states, weights
        The terms that are not summed up, `(n, d)` and `(n,) float64`.
    summed
        The sum of all other terms, `(d, d) float64`; None while there are none.
    """

    states: torch.Tensor
    weights: torch.Tensor
    summed: torch.Tensor | None = None

    @classmethod
    def zero(cls, size: int) -> "SecondMoment":
        """Return the moment of no states of a dimension."""
        return cls(torch.zeros(0, size, dtype=torch.float64), torch.zeros(0, dtype=torch.float64))

    @property
    def size(self) -> int:
        """Dimension d of the states."""
        return int(self.states.shape[1])

    def add(self, states: torch.Tensor, weights: torch.Tensor | float = 1.0) -> None:
        """Add states `(n, d) float64`, each with its weight `(n,)`, or all with one."""
        each = weights if isinstance(weights, torch.Tensor) else torch.full((len(states),), weights).double()
        self.__dict__.pop("_dense", None)
        if self.summed is not None:
            self.summed = self.summed + (states.T * each) @ states
        else:
            self.states, self.weights = torch.cat([self.states, states]), torch.cat([self.weights, each])
            if 2 * len(self.states) > self.size:
                self._sum_up()

    def remove(self, states: torch.Tensor) -> torch.Tensor:
        """Remove states that were added before with weight 1, and return those that were removed.

        An LM repeats the state of a text only up to rounding. So the nearest kept state is dropped, and returned, if it
        is that close; a state without one is subtracted.

        Parameters
        ----------
        states
            `(n, d) float64`.
        """
        removed = []
        for state in states:
            distances = (self.states - state).norm(dim=1).masked_fill(self.weights != 1, torch.inf)
            at = int(distances.argmin()) if len(distances) else -1
            if at < 0 or not float(distances[at]) <= SAME * float(state.norm()):
                self.add(state[None], -1.0)
                removed.append(state)
                continue
            removed.append(self.states[at])
            keep = torch.arange(len(self.states)) != at
            self.states, self.weights = self.states[keep], self.weights[keep]
            self.__dict__.pop("_dense", None)
        return torch.stack(removed) if removed else states

    def include(self, other: "SecondMoment") -> None:
        """Add the states of another moment."""
        if other.summed is None:
            self.add(other.states, other.weights)
            return
        self._sum_up()
        assert self.summed is not None
        self.summed = self.summed + other.summed
        self.__dict__.pop("_dense", None)

    def dense(self) -> torch.Tensor:
        """Return the sum, `(d, d) float64`; it may not be changed in place."""
        if self.summed is not None:
            return self.summed
        known: torch.Tensor | None = self.__dict__.get("_dense")
        if known is None:
            known = self.__dict__["_dense"] = (self.states.T * self.weights) @ self.states
        return known

    def copy(self) -> "SecondMoment":
        """Return a moment of the same states that can be added to separately."""
        return SecondMoment(self.states, self.weights, self.summed)  # nothing of it is changed in place

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the moment as tensors to be saved."""
        if self.summed is not None:
            return {"moment": self.summed}
        return {"moment.states": self.states, "moment.weights": self.weights}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, torch.Tensor]) -> "SecondMoment":
        """Undo `tensors`."""
        if "moment" in tensors:
            moment = cls.zero(tensors["moment"].shape[0])
            moment.summed = tensors["moment"]
            return moment
        return cls(tensors["moment.states"], tensors["moment.weights"])

    def _sum_up(self) -> None:
        if self.summed is None:
            self.summed = self.dense()
            empty = SecondMoment.zero(self.size)
            self.states, self.weights = empty.states, empty.weights
