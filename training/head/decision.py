"""`Decision`: whether a tool is called at some hidden states, and which one."""

from dataclasses import dataclass
from functools import cached_property

import torch

from toolken.training.estimation.devices import decision_dtype
from toolken.training.estimation.gate import Gate
from toolken.training.prior.evidence import Evidence

#: Share of the tools up to which their output embeddings are gathered; for more, all are multiplied.
GATHERED = 0.05


@dataclass(frozen=True, eq=False)
class DecisionRule:
    """What decisions are computed from, on one device.

    Attributes
    ----------
    output_embeddings, biases
        W and b, `(T, d)` and `(T,) float32`.
    gate
        The gate.
    evidence
        The term of tools without examples, if it counts.
    """

    output_embeddings: torch.Tensor
    biases: torch.Tensor
    gate: Gate
    evidence: Evidence | None

    def to(self, device: torch.device) -> "DecisionRule":
        """Return the rule on a device."""
        return DecisionRule(
            self.output_embeddings.to(device),
            self.biases.to(device),
            self.gate.to(device),
            self.evidence.to(device) if self.evidence is not None else None,
        )


@dataclass(frozen=True, eq=False)
class Decision:
    """P(call | h) and P(tool | call, h) at n states, for m tools; each number is computed when it is first asked for.

    A tool's probability is the product of both. The numbers lie on the states' device. A decision at one state `(d,)`
    has no dimension n.

    Attributes
    ----------
    rule
        What it is computed from.
    hidden
        States `(n, d)` or `(d,)`.
    tools
        Indices of the m tools that may be called, `(m,) int64`; None for all.
    results
        Number of tool results before each state, `(n,) int64` or one for all. 0 is the decision about the request
        itself, and any decision in running text.
    """

    rule: DecisionRule | None
    hidden: torch.Tensor
    tools: torch.Tensor | None
    results: int | torch.Tensor

    @property
    def log_odds(self) -> torch.Tensor:
        """Log odds of a call, `(n,) float64` (float32 on MPS)."""
        return self._log_odds if self.hidden.ndim == 2 else self._log_odds[0]

    @property
    def call_probability(self) -> torch.Tensor:
        """P(call), `(n,)`."""
        return torch.sigmoid(self.log_odds)

    @property
    def scores(self) -> torch.Tensor:
        """`W h + b` of the m tools, `(n, m) float32`."""
        return self._scores if self.hidden.ndim == 2 else self._scores[0]

    @property
    def log_shares(self) -> torch.Tensor:
        """Log P(tool | call), `(n, m) float32`."""
        return torch.log_softmax(self.scores, dim=-1)

    @property
    def shares(self) -> torch.Tensor:
        """P(tool | call), `(n, m) float32`."""
        return torch.softmax(self.scores, dim=-1)

    @property
    def probabilities(self) -> torch.Tensor:
        """P(tool), the joint probability of a call and of the tool, `(n, m) float32`."""
        return self.call_probability.float()[..., None] * self.shares

    def logits(self, logsumexp: torch.Tensor) -> torch.Tensor:
        """Return logits `(n, m) float32` of the tools for one softmax with the vocabulary's next-token logits.

        Parameters
        ----------
        logsumexp
            Of the next-token logits, `(n,)`.
        """
        return (self.log_odds.float() + logsumexp)[..., None] + self.log_shares

    @cached_property
    def _states(self) -> torch.Tensor:
        return self.hidden if self.hidden.ndim == 2 else self.hidden[None]

    @cached_property
    def _scores(self) -> torch.Tensor:
        rule, states, tools = self.rule, self._states.float(), self.tools
        assert rule is not None
        if tools is None:
            return torch.addmm(rule.biases, states, rule.output_embeddings.T)
        if len(tools) > len(rule.biases) * GATHERED:
            return torch.addmm(rule.biases, states, rule.output_embeddings.T)[:, tools]
        return torch.addmm(rule.biases[tools], states, rule.output_embeddings[tools].T)

    @cached_property
    def _log_odds(self) -> torch.Tensor:
        states = self._states
        assert self.rule is not None
        odds = self.rule.gate.log_odds(states.to(decision_dtype(states.device)), results=self.results)
        evidence = self.rule.evidence
        if evidence is None or (isinstance(self.results, int) and self.results):
            return odds
        added = evidence.log_odds(states, self.tools, lambda: self._scores)
        if not isinstance(self.results, int):
            added = added.masked_fill(self.results > 0, 0.0)
        return odds + added
