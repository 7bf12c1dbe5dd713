"""`RequestMetric`: the space in which requests lie near the tools that they ask for."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import ClassVar, Literal

import torch
from torch.nn.functional import normalize

from toolken.training.prior.attention import averages, chunks
from toolken.training.prior.request_reader import ReadTexts

#: Whose texts are placed in the space: each side has its maps.
Side = Literal["request", "tool"]


@dataclass(frozen=True, eq=False)
class RequestMetric:
    """A map of texts to m dimensions, learned such that a request is near the description of the right tool.

    A text has v views: for each head the average of its words' states after one layer, weighted by an attention over
    the words; and its last state. Each view is centred, whitened by the spread of requests within tools, and scaled to
    length 1. Side by side they are z, `(m,)` with m = v d, and the place of a text is `z + (z shared_down) shared_up`,
    for a tool also `+ (z tool_down) tool_up`, scaled to length 1.

    Attributes
    ----------
    queries
        Of the attention of h heads, for requests and for tools, `(2, h, d)`.
    token_weights
        Log weight of each token in the attention, `(h, V)`: words of every request count little.
    means
        Mean views of requests and of tools, `(2, v, d)`.
    whitening
        `(v, d, d)`.
    shared_down, shared_up
        `(m, r)` and `(r, m)`.
    tool_down, tool_up
        `(m, r')` and `(r', m)`.
    """

    #: The layer of each head, as an index of those that are read.
    head_layers: ClassVar[tuple[int, ...]] = (0, 1)

    queries: torch.Tensor
    token_weights: torch.Tensor
    means: torch.Tensor
    whitening: torch.Tensor
    shared_down: torch.Tensor
    shared_up: torch.Tensor
    tool_down: torch.Tensor
    tool_up: torch.Tensor

    def requests(self, texts: ReadTexts) -> torch.Tensor:
        """Return requests `(n, m) float32`, each of length 1."""
        return self._all(texts, "request")

    def tools(self, texts: ReadTexts) -> torch.Tensor:
        """Return the output embeddings of tools `(T, m) float32`, each of length 1."""
        return self._all(texts, "tool")

    def _all(self, texts: ReadTexts, side: Side) -> torch.Tensor:
        return torch.cat([self.placed(self.views(texts, side, rows), side) for rows in chunks(len(texts))])

    def views(
        self, texts: ReadTexts, side: Side, rows: Sequence[int] | None = None, dropped: float = 0
    ) -> torch.Tensor:
        """Return whitened views `(n, m)`.

        Parameters
        ----------
        texts
            The texts.
        side
            Whether they are requests or descriptions.
        rows
            Indices of the texts to be mapped; all by default.
        dropped
            Share of the words that are left out by chance, while the metric is learned.
        """
        at = 0 if side == "request" else 1
        words = averages(
            texts,
            self.queries[at],
            self.head_layers,
            token_weights=self.token_weights,
            rows=rows,
            dropped=dropped,
        )
        last = texts.last if rows is None else texts.last[list(rows)]
        found = torch.cat([words, last.float()[:, None]], dim=1)
        white = torch.einsum("nvd,vde->nve", found - self.means[at], self.whitening)
        flat: torch.Tensor = (normalize(white, dim=2) / len(self.whitening) ** 0.5).flatten(1)
        return flat

    def placed(self, views: torch.Tensor, side: Side) -> torch.Tensor:
        """Return the places `(n, m)` of whitened views."""
        moved = views + (views @ self.shared_down) @ self.shared_up
        if side == "tool":
            moved = moved + (views @ self.tool_down) @ self.tool_up
        return normalize(moved, dim=1)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the numbers by name, for files; matrices as float16."""
        return {f"metric.{one.name}": getattr(self, one.name).detach().half().contiguous() for one in fields(self)}

    @classmethod
    def of(cls, tensors: dict[str, torch.Tensor]) -> "RequestMetric":
        """Return the metric of numbers by name.

        Raises
        ------
        KeyError
            If one is missing.
        """
        return cls(**{one.name: tensors[f"metric.{one.name}"].float() for one in fields(cls)})
