"""`Decider`: what the project's own decoder does at each step, which an exported checkpoint has to reproduce."""

from dataclasses import dataclass, fields, replace

import torch

from toolken.training.export.texts import StepKind
from toolken.training.head.toolken_head import ToolkenHead

#: What comes next at a step: a vocabulary token, a tool, the token that ends a chain of calls, or a virtual token.
WORD, CALL, ANSWER, VIRTUAL = 0, 1, 2, 3


@dataclass(frozen=True)
class Steps:
    """Decoding steps.

    Attributes
    ----------
    hidden
        States `(n, d) float32`.
    best
        The largest next-token logit there, `(n,) float32`.
    word
        The vocabulary token with this logit, `(n,) int64`.
    kinds
        `(n,) int64`, of `StepKind`.
    results
        Number of tool results before each step, `(n,) int64`.
    virtual
        Index of the virtual token that comes next, `(n,) int64`; negative where none does.
    texts
        Index of the text each step belongs to, `(n,) int64`.
    """

    hidden: torch.Tensor
    best: torch.Tensor
    word: torch.Tensor
    kinds: torch.Tensor
    results: torch.Tensor
    virtual: torch.Tensor
    texts: torch.Tensor

    def where(self, mask: torch.Tensor) -> "Steps":
        """Return the steps at which a mask `(n,) bool` holds."""
        return replace(self, **{one.name: getattr(self, one.name)[mask] for one in fields(self)})

    def of(self, *kinds: StepKind) -> torch.Tensor:
        """Return which steps are of these kinds, `(n,) bool`."""
        return torch.isin(self.kinds, torch.tensor([int(one) for one in kinds]))


@dataclass(frozen=True)
class Decisions:
    """What the decoder does at some steps.

    Attributes
    ----------
    classes
        `(n,) int64`: `WORD`, `CALL`, `ANSWER` or `VIRTUAL`.
    tools
        The tool that is called or would be, `(n,) int64`; the virtual token where one comes.
    odds
        Log odds of a call minus those of the threshold, `(n,) float64`; minus infinity where no call can be made.
    """

    classes: torch.Tensor
    tools: torch.Tensor
    odds: torch.Tensor


class Decider:
    """Decides as the decoder does with all tools of a head at temperature 0.

    Parameters
    ----------
    head
        The head.
    """

    def __init__(self, head: ToolkenHead) -> None:
        self._head = head

    def decide(self, steps: Steps) -> Decisions:
        """Return what the decoder does at each step."""
        results = steps.results * steps.of(StepKind.FOLLOWING)
        decision = self._head.decide(steps.hidden, results=results)
        above = decision.log_odds.double() - torch.logit(torch.tensor(self._head.threshold, dtype=torch.float64))
        above[~steps.of(StepKind.OPENING, StepKind.RUNNING, StepKind.LED, StepKind.FOLLOWING)] = -torch.inf
        instead = torch.where(steps.of(StepKind.LED, StepKind.FOLLOWING), ANSWER, WORD)
        virtual = steps.of(StepKind.VIRTUAL)
        instead[virtual] = VIRTUAL
        which = torch.where(virtual, steps.virtual, decision.scores.argmax(1))
        return Decisions(torch.where(above >= 0, CALL, instead), which, above)
