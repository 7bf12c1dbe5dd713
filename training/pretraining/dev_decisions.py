"""`DevDecisions`: the decisions about dev requests, from which scale and threshold are chosen."""

from dataclasses import dataclass

import torch

from toolken.training.pretraining.gate_fit import PlacedTexts, SampledSets
from toolken.training.pretraining.learning_set import LearningSet
from toolken.training.prior.call_gate import CallGate, both

#: Tools of other domains beside those of a request.
OTHERS = 10


@dataclass(frozen=True)
class DevDecision:
    """A decision about a dev request.

    Attributes
    ----------
    kind
        The request's kind, "no tool of the set fits" if its tool is left out.
    probability
        P(call).
    similarities
        To the tools of the set, `(T,)`.
    right
        Place of the right tool in the set; -1 if no tool of the set is asked for.
    """

    kind: str
    probability: float
    similarities: torch.Tensor
    right: int

    @property
    def nearest(self) -> bool:
        """Whether the right tool is the nearest."""
        return int(self.similarities.argmax()) == self.right


class DevDecisions(tuple[DevDecision, ...]):
    """The decisions about all dev requests, each with the tools of its domain and some others.

    A request for a tool is decided a second time, with its tool left out.
    """

    @classmethod
    def of(
        cls, data: LearningSet, texts: PlacedTexts, asking: torch.Tensor, gate: CallGate, seed: int
    ) -> "DevDecisions":
        """Decide about the dev requests.

        Parameters
        ----------
        data
            The corpora.
        texts
            All texts in the metric.
        asking
            Log odds that each request asks for something, `(n,)`.
        gate
            The gate.
        seed
            Seed of the sampled sets.
        """
        sets = SampledSets(data, "dev", seed)
        found = []
        for at in data.of_split("dev"):
            request = data.requests[at]
            for left_out in (False, True) if request.tool >= 0 else (False,):
                tools, _ = sets.draw(at, OTHERS, left_out=left_out)
                similarities = texts.requests[at] @ texts.tools[tools].T
                odds = both(asking[at : at + 1], gate.log_odds(similarities[None]))
                right = request.tool if request.tool >= 0 else request.about if request.asks else -1
                found.append(
                    DevDecision(
                        kind="no tool of the set fits" if left_out else request.kind,
                        probability=float(torch.sigmoid(odds)),
                        similarities=similarities,
                        right=tools.index(right) if right in tools else -1,
                    )
                )
        return cls(found)

    def log_loss(self, scale: float) -> float:
        """Return the mean log loss of the right tool at a scale of the softmax."""
        asked = [one for one in self if one.kind == "call"]
        losses = [-float(torch.log_softmax(scale * one.similarities, dim=0)[one.right]) for one in asked]
        return sum(losses) / max(len(losses), 1)

    def threshold(self, declined: float) -> float:
        """Return P(call) below which a share of the requests lies whose right tool is the nearest."""
        known = sorted(one.probability for one in self if one.kind == "call" and one.nearest)
        return round(known[int(declined * len(known))], 4) if known else 0.5

    def figures(self, threshold: float) -> dict[str, float]:
        """Return the share of right tools, and for each kind the share that is declined at a threshold."""
        asked = [one for one in self if one.kind == "call"]
        kinds: dict[str, list[bool]] = {}
        for one in self:
            name = f"{one.kind}, another tool is nearest" if one.right >= 0 and not one.nearest else one.kind
            kinds.setdefault(name, []).append(one.probability < threshold)
        declined = {f"declined: {kind}": round(sum(of) / len(of), 4) for kind, of in sorted(kinds.items())}
        right = round(sum(one.nearest for one in asked) / max(len(asked), 1), 4)
        return {"requests": len(asked), f"right tool among its domain's and {OTHERS} others": right} | declined
