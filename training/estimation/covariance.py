"""Covariances: shrinkage towards a multiple of the identity, Cholesky factors, and whitening with them."""

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


def whitened(states: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Return states `(n, d)` in the coordinates in which `L L'` is the identity: `x' L^-T`, given the factor L.

    States are centred before, where their mean matters.
    """
    white: torch.Tensor = torch.linalg.solve_triangular(factor, states.to(factor.dtype).T, upper=False)
    return white.T


def unwhitened(weights: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Return weight vectors `(n, d)` of whitened states as weight vectors of the states themselves: `w' L^-1`."""
    whole: torch.Tensor = torch.linalg.solve_triangular(factor.T, weights.to(factor.dtype).T, upper=True)
    return whole.T


def whitened_form(form: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Return a quadratic form `(d, d)` such as a covariance in whitened coordinates: `L^-1 M L^-T`."""
    half = torch.linalg.solve_triangular(factor, form, upper=False)
    whole: torch.Tensor = torch.linalg.solve_triangular(factor, half.T, upper=False)
    return whole
