"""`States`: hidden states at chosen positions of a text."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class States:
    """Hidden states at chosen positions of one text.

    `hidden` is `(P, d) float32`, after the final norm, as the output matrix sees it; `logsumexp` is `(P,) float32`,
    the log of the sum of the exponentiated word logits (natural log).
    """

    hidden: torch.Tensor
    logsumexp: torch.Tensor
