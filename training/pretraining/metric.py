"""`Metric`: whitening by the spread within tools, and the ridge regression of requests on descriptions."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import normalize

#: Share of the mean variance that is added to each direction before whitening. Chosen on the dev domains.
SHRINKAGE = 0.5
#: Penalties of the ridge regression to choose among.
PENALTIES = (0.3, 1.0, 3.0)
#: Rank that the map is stored with.
RANK = 192


@dataclass(frozen=True)
class Metric:
    """Requests and descriptions as whitened views.

    Attributes
    ----------
    request_means, tool_means
        `(v, d) float64`.
    whitening
        `(v, d, d) float64`.
    """

    request_means: torch.Tensor
    tool_means: torch.Tensor
    whitening: torch.Tensor

    @classmethod
    def fitted(cls, requests: torch.Tensor, tools: torch.Tensor, labels: Sequence[int]) -> "Metric":
        """Fit the metric.

        Parameters
        ----------
        requests
            Views of requests with one right tool, `(n, v, d)`.
        tools
            Views of all descriptions, `(T, v, d)`.
        labels
            Index of each request's tool.
        """
        found = torch.tensor(labels)
        means, whitening = requests.double().mean(0), []
        for view in range(requests.shape[1]):
            states = requests[:, view].double()
            covariance = torch.zeros(states.shape[1], states.shape[1], dtype=torch.float64)
            freedom = 0
            for tool in found.unique().tolist():
                own = states[found == tool]
                centred = own - own.mean(0)
                covariance += centred.T @ centred
                freedom += len(own) - 1
            covariance /= max(freedom, 1)
            size = len(covariance)
            values, vectors = torch.linalg.eigh(covariance + SHRINKAGE * covariance.diagonal().mean() * torch.eye(size))
            whitening.append((vectors * values.rsqrt()) @ vectors.T)
        return cls(means, tools.double().mean(0), torch.stack(whitening))

    def requests(self, views: torch.Tensor) -> torch.Tensor:
        """Return requests in the metric, `(n, v d) float64`."""
        return self._whitened(views, self.request_means)

    def tools(self, views: torch.Tensor) -> torch.Tensor:
        """Return descriptions in the metric, `(T, v d) float64`."""
        return self._whitened(views, self.tool_means)

    def _whitened(self, views: torch.Tensor, means: torch.Tensor) -> torch.Tensor:
        white = torch.einsum("nvd,vde->nve", views.double() - means, self.whitening)
        flat: torch.Tensor = (normalize(white, dim=2) / len(means) ** 0.5).flatten(1)
        return flat


@dataclass(frozen=True)
class DescriptionMap:
    """The ridge regression of tools' mean requests on their descriptions: `y + (y left) right`.

    Attributes
    ----------
    left, right
        `(m, r)` and `(r, m) float64`.
    """

    left: torch.Tensor
    right: torch.Tensor

    @classmethod
    def fitted(
        cls, requests: torch.Tensor, tools: torch.Tensor, labels: Sequence[int], penalty: float, rank: int | None = RANK
    ) -> "DescriptionMap":
        """Fit the map, in the dual form: fewer tools than dimensions.

        Parameters
        ----------
        requests, tools
            In the metric, `(n, m)` and `(T, m)`.
        labels
            Index of each request's tool.
        penalty
            Of the squared coefficients.
        rank
            Rank of the map, by its largest singular values; None for all.
        """
        found = torch.tensor(labels)
        seen = found.unique()
        means = torch.stack([requests[found == tool].mean(0) for tool in seen.tolist()])
        known = tools[seen]
        gram = known @ known.T + penalty * torch.eye(len(seen), dtype=torch.float64)
        right = torch.linalg.solve(gram, means - known)
        left = known.T
        if rank is not None and rank < len(seen):
            # The singular values of left @ right, without forming the m x m product.
            outer, upper = torch.linalg.qr(left)
            inner, lower = torch.linalg.qr(right.T)
            u, values, v = torch.linalg.svd(upper @ lower.T)
            left = outer @ (u[:, :rank] * values[:rank])
            right = (inner @ v.T[:, :rank]).T
        return cls(left, right)

    def output_embeddings(self, tools: torch.Tensor) -> torch.Tensor:
        """Return output embeddings `(T, m)` of length 1."""
        return normalize(tools + (tools @ self.left) @ self.right, dim=1)
