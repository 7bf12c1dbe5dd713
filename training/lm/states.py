"""`States`: hidden states at chosen positions of a text."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class States:
    """Hidden states at chosen positions of one text, or of several texts one after another.

    Attributes
    ----------
    hidden
        `(P, d) float32`, after the final norm, as the output matrix takes them.
    logsumexp
        `(P,) float32`, the natural log of the sum of the exponentiated next-token logits.
    """

    hidden: torch.Tensor
    logsumexp: torch.Tensor


def on_cpu(found: Sequence[States]) -> list[States]:
    """Move the states of some texts to the CPU, all of them in two copies."""
    if all(one.hidden.device.type == "cpu" for one in found):
        return list(found)
    counts = [len(one.logsumexp) for one in found]
    hidden = torch.cat([one.hidden for one in found]).cpu().split(counts)
    logsumexp = torch.cat([one.logsumexp for one in found]).cpu().split(counts)
    return [States(*pair) for pair in zip(hidden, logsumexp, strict=True)]
