"""`Decider`: the decision of the library's decoder at each step, which an exported checkpoint has to reproduce."""

from dataclasses import dataclass, fields, replace

import torch

from toolken.training.export.step_texts import StepKind
from toolken.training.head.toolken_head import ToolkenHead

#: Classes of the next token: one of the vocabulary, a tool, the token that ends a chain of calls, or a virtual token.
TEXT, CALL, ANSWER, VIRTUAL = 0, 1, 2, 3


@dataclass(frozen=True)
class Steps:
    """Decoding steps.

    Attributes
    ----------
    hidden
        Hidden states, `(n, d) float32`.
    best
        Largest next-token logit over the vocabulary, `(n,) float32`.
    word
        Vocabulary token with that logit, `(n,) int64`.
    kinds
        `StepKind` of each step, `(n,) int64`.
    results
        Number of results before each step, `(n,) int64`.
    virtual
        Index of the virtual token that comes next, `(n,) int64`; negative if none does.
    texts
        Index of the text of each step, `(n,) int64`.
    """

    hidden: torch.Tensor
    best: torch.Tensor
    word: torch.Tensor
    kinds: torch.Tensor
    results: torch.Tensor
    virtual: torch.Tensor
    texts: torch.Tensor

    def where(self, mask: torch.Tensor) -> "Steps":
        """Return the steps that a mask `(n,) bool` selects."""
        return replace(self, **{one.name: getattr(self, one.name)[mask] for one in fields(self)})

    def of(self, *kinds: StepKind) -> torch.Tensor:
        """Return a mask `(n,) bool` of the steps of these kinds."""
        return torch.isin(self.kinds, torch.tensor([int(one) for one in kinds]))


@dataclass(frozen=True)
class Decisions:
    """The decisions of the decoder at some steps.

    Attributes
    ----------
    classes
        `TEXT`, `CALL`, `ANSWER` or `VIRTUAL`, `(n,) int64`.
    tools
        Index of the tool with the highest score or, if a virtual token comes next, of that token, `(n,) int64`.
    odds
        Log odds of a call minus those of the threshold, `(n,) float64`; minus infinity except at decision positions.
    """

    classes: torch.Tensor
    tools: torch.Tensor
    odds: torch.Tensor


class Decider:
    """Decides like the decoder with all tools of a head at temperature 0.

    Parameters
    ----------
    head
        The head.
    """

    def __init__(self, head: ToolkenHead) -> None:
        self._head = head

    def decide(self, steps: Steps) -> Decisions:
        """Return the decision of the decoder at each step."""
        results = steps.results * steps.of(StepKind.AFTER_RESULT)
        decision = self._head.decide(steps.hidden, results=results)
        above = decision.log_odds.double() - torch.logit(torch.tensor(self._head.threshold, dtype=torch.float64))
        above[~steps.of(StepKind.OPENING, StepKind.RUNNING, StepKind.AFTER_LEAD, StepKind.AFTER_RESULT)] = -torch.inf
        instead = torch.where(steps.of(StepKind.AFTER_LEAD, StepKind.AFTER_RESULT), ANSWER, TEXT)
        virtual = steps.of(StepKind.VIRTUAL)
        instead[virtual] = VIRTUAL
        which = torch.where(virtual, steps.virtual, decision.scores.argmax(1))
        return Decisions(torch.where(above >= 0, CALL, instead), which, above)
