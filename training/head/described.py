"""`DescribedTools`: tools known by their descriptions alone, through a pretrained prior."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch

from toolken.training.examples import FewShotExample
from toolken.training.head.decision import Decision
from toolken.training.lm import FrozenLM
from toolken.training.prior.call_gate import both
from toolken.training.prior.pretrained import PretrainedPrior
from toolken.training.prior.request_reader import Exchange
from toolken.training.prompts.few_shot import FewShotExamples
from toolken.training.tool_spec import ToolSpec, unknown_tools

#: Log odds of another call after a tool result: the prior decides about a user's message only.
AFTER_RESULT = -30.0


@dataclass(frozen=True, eq=False)
class PriorDecision(Decision):
    """A decision by a pretrained prior; `hidden` is what `PretrainedPrior.request` returns, with or without n.

    Attributes
    ----------
    prior
        The prior.
    embeddings
        Output embeddings of the tools that may be called, `(T, m)`.
    """

    prior: PretrainedPrior
    embeddings: torch.Tensor

    @cached_property
    def _similarities(self) -> torch.Tensor:
        return self.prior.similarities(self._states, self.embeddings)

    @cached_property
    def _scores(self) -> torch.Tensor:
        return self.prior.scale * self._similarities

    @cached_property
    def _log_odds(self) -> torch.Tensor:
        fits = self.prior.gate.log_odds(self._similarities).double()
        odds = both(self._states[:, -1].double(), fits)
        results = torch.as_tensor(self.results)
        return odds.masked_fill((results > 0).expand(odds.shape), AFTER_RESULT)


@dataclass(frozen=True, eq=False)
class DescribedTools:
    """Output embeddings that a pretrained prior gives to tools, with its call gate.

    Attributes
    ----------
    prior
        The prior.
    specs
        The T tools.
    embeddings
        `(T, m) float32`.
    threshold
        P(call) from which a tool is called.
    """

    few_shot: ClassVar[FewShotExamples] = FewShotExamples()

    prior: PretrainedPrior
    specs: Sequence[ToolSpec]
    embeddings: torch.Tensor
    threshold: float

    @cached_property
    def index(self) -> dict[str, int]:
        """Position of each tool's output embedding, by its name."""
        return {spec.name: at for at, spec in enumerate(self.specs)}

    def subset(self, names: Sequence[str]) -> torch.Tensor | None:
        """Return the indices `(m,) int64` of some tools; None where they are all tools in their order.

        Raises
        ------
        ToolSpecError
            If there is no such tool.
        """
        unknown_tools([name for name in names if name not in self.index][:1], list(self.index))
        chosen = [self.index[name] for name in names]
        return None if chosen == list(range(len(self.specs))) else torch.tensor(chosen, dtype=torch.long)

    def request(self, lm: FrozenLM, conversation: Sequence[Exchange]) -> torch.Tensor:
        """Return what a conversation that ends with a user's message is decided from, `(2 m + 1,) float32`."""
        return self.prior.request(lm, conversation)

    def decide(
        self, hidden: torch.Tensor, tools: torch.Tensor | None = None, *, results: int | torch.Tensor = 0
    ) -> PriorDecision:
        """Decide whether a tool is called and which one.

        Parameters
        ----------
        hidden
            Requests as `request` returns them, `(2 m + 1,)` or `(n, 2 m + 1)`.
        tools
            Indices of the tools that may be called; all by default.
        results
            Number of tool results before each decision; after one there is no further call.
        """
        chosen = self.embeddings if tools is None else self.embeddings[tools.cpu()]
        return PriorDecision(None, hidden.cpu(), tools, results, self.prior, chosen)

    def few_shot_for(self, _tool: str, _hidden: torch.Tensor) -> list[FewShotExample]:
        """Return no examples of arguments: there are none."""
        return []
