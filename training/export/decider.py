"""`Decider`: what the project's own decoder does at a step, as an exported checkpoint has to do it."""

from dataclasses import dataclass, fields, replace

import torch

from toolken.training.export.step_texts import StepKind
from toolken.training.head.toolken_head import ToolkenHead
from toolken.training.prior.evidence import Evidence

#: What comes next at a step: one of the LM's words, a tool, the token that ends a chain of calls, or a virtual one.
TEXT, CALL, ANSWER, VIRTUAL = 0, 1, 2, 3


@dataclass(frozen=True)
class Steps:
    """Steps of writing.

    Attributes
    ----------
    hidden
        States `(n, d) float32`.
    best
        The largest word logit there, `(n,) float32`.
    word
        The word it is the logit of, `(n,) int64`.
    kinds
        `(n,) int64`, of `StepKind`.
    results
        `(n,) int64`, how many results stand before.
    virtual
        `(n,) int64`, which of all virtual tokens comes next; below zero where none does.
    texts
        `(n,) int64`, the text each belongs to.
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
        `(n,) int64`: `TEXT`, `CALL`, `ANSWER` or `VIRTUAL`.
    tools
        The tool that is or would be called, `(n,) int64`; the virtual token where one comes.
    odds
        By how much the log odds of a call are above the threshold, `(n,) float64`; minus infinity where nothing is
        decided.
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
        seeks_evidence = "query" in head.forms and not head.prompt.everywhere
        self._evidence = Evidence.of(head) if seeks_evidence and bool((head.statistics.counts == 0).any()) else None

    def decide(self, steps: Steps) -> Decisions:
        """Return what the decoder does at each step."""
        head, hidden = self._head, steps.hidden
        scores = head.scores(hidden)
        behind = steps.of(StepKind.AFTER_RESULT)
        odds = head.gate.log_odds(hidden.double(), results=steps.results * behind)
        if self._evidence is not None:
            for at in steps.of(StepKind.OPENING, StepKind.AFTER_LEAD).nonzero()[:, 0].tolist():
                odds[at] += self._evidence.log_odds(hidden[at], None, lambda at=at: scores[at])  # type: ignore[misc]
        above = odds - torch.logit(torch.tensor(head.threshold, dtype=torch.float64))
        above[~steps.of(StepKind.OPENING, StepKind.RUNNING, StepKind.AFTER_LEAD, StepKind.AFTER_RESULT)] = -torch.inf
        instead = torch.where(steps.of(StepKind.AFTER_LEAD, StepKind.AFTER_RESULT), ANSWER, TEXT)
        virtual = steps.of(StepKind.VIRTUAL)
        instead[virtual] = VIRTUAL
        which = torch.where(virtual, steps.virtual, scores.argmax(1))
        return Decisions(torch.where(above >= 0, CALL, instead), which, above)
