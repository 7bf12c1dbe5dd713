"""Covariances: shrinkage towards a multiple of the identity, and Cholesky factors."""

import torch

from toolken.errors import HeadError


def shrunk(covariance: torch.Tensor, shrinkage: float) -> torch.Tensor:
    """Return `(1 - rho) S + rho (tr S / d) I`.

    Raises
    ------
    HeadError
        If the states do not vary at all, or are not finite.
    """
    size = covariance.shape[0]
    level = float(covariance.trace()) / size
    if not 0 < level < float("inf"):
        raise HeadError("The hidden states do not vary or are not finite: give differing examples, check the LM.")
    return (1 - shrinkage) * covariance + shrinkage * level * torch.eye(size, dtype=covariance.dtype)


def cholesky(covariance: torch.Tensor) -> torch.Tensor:
    """Return the lower Cholesky factor of a covariance.

    Raises
    ------
    HeadError
        If it is not positive definite.
    """
    factor, failed = torch.linalg.cholesky_ex(covariance)
    if int(failed):
        raise HeadError("The covariance of the hidden states is singular: use more shrinkage.")
    lower: torch.Tensor = factor
    return lower
