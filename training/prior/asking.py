"""`AskingModel`: whether a message asks for something to be done now, whatever the tools are."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch.nn.functional import gelu

from toolken.training.prior.attention import averages, chunks
from toolken.training.prior.request_reader import ReadTexts


@dataclass(frozen=True, eq=False)
class AskingModel:
    """A network of one hidden layer on averages of a message's words and its last state.

    It knows orders and questions for a tool from negated, hypothetical and quoted ones, thanks and small talk.

    Attributes
    ----------
    queries
        Of the attention of h heads, `(h, d)`; they take the layers that are read in turn.
    means, deviations
        Of the states of each layer that is read, and of the last state, `(l + 1, d)`.
    inner, inner_bias
        `((h + 1) d, k)` and `(k,)`.
    outer, outer_bias
        `(k,)` and `(1,)`.
    """

    queries: torch.Tensor
    means: torch.Tensor
    deviations: torch.Tensor
    inner: torch.Tensor
    inner_bias: torch.Tensor
    outer: torch.Tensor
    outer_bias: torch.Tensor

    def log_odds(self, texts: ReadTexts) -> torch.Tensor:
        """Return the log odds of asking, `(n,) float32`."""
        hidden = [gelu(self.inputs(texts, rows) @ self.inner + self.inner_bias) for rows in chunks(len(texts))]
        return torch.cat(hidden) @ self.outer + self.outer_bias

    def inputs(self, texts: ReadTexts, rows: Sequence[int] | None = None, dropped: float = 0) -> torch.Tensor:
        """Return the standardised inputs of the network, `(n, (h + 1) d)`; see `averages` for the parameters."""
        layers = [head % (len(self.means) - 1) for head in range(len(self.queries))]
        words = averages(texts, self.queries, layers, rows=rows, dropped=dropped)
        last = texts.last if rows is None else texts.last[list(rows)]
        found = torch.cat([words, last.float()[:, None]], dim=1)
        return ((found - self.means[[*layers, -1]]) / self.deviations[[*layers, -1]]).flatten(1)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the numbers by name, for files; the large matrix as float16."""
        found = {f"asking.{one.name}": getattr(self, one.name).detach().contiguous() for one in fields(self)}
        return found | {"asking.inner": self.inner.detach().half().contiguous()}

    @classmethod
    def of(cls, tensors: dict[str, torch.Tensor]) -> "AskingModel":
        """Return the model of numbers by name.

        Raises
        ------
        KeyError
            If one is missing.
        """
        return cls(**{one.name: tensors[f"asking.{one.name}"].float() for one in fields(cls)})
