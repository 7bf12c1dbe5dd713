"""Logistic regression on whitened states."""

import pytest
import torch

from toolken.errors import HeadError
from toolken.training.estimation.logistic import Whitened, log_odds_of, logistic_regression

COUNT, SIZE, SHRINKAGE = 600, 12, 0.01


@pytest.fixture
def sample() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return states of very different scales, what is a call among them, and weights."""
    random = torch.Generator().manual_seed(1)
    hidden = torch.randn(COUNT, SIZE, generator=random) * torch.logspace(-2, 2, SIZE)
    log_odds = hidden @ (1 / torch.logspace(-2, 2, SIZE)) + 0.5 * torch.randn(COUNT, generator=random)
    weights = 0.5 + torch.rand(COUNT, generator=random).double()
    return hidden + 3, log_odds > 1, weights


def test_whitened_states_have_unit_covariance(sample: tuple[torch.Tensor, ...]) -> None:
    hidden, _, weights = sample
    # Scales here differ by 10^4, where the little shrinkage counts; the large ones are as they should be.
    white = Whitened(hidden, weights, SHRINKAGE).hidden[:, -4:].double()
    centred = white - weights @ white / weights.sum()
    covariance = (centred * weights[:, None]).T @ centred / weights.sum()
    assert torch.allclose(covariance, torch.eye(4, dtype=torch.float64), atol=0.2)


def test_a_split_is_fitted_as_if_whitened_alone(sample: tuple[torch.Tensor, ...]) -> None:
    hidden, calls, weights = sample
    part = torch.arange(COUNT) % 3 > 0
    alone = Whitened(hidden[part], weights[part], SHRINKAGE)
    row, bias = logistic_regression(alone.hidden, calls[part], weights[part], 10.0)
    expected = alone.boundary(row, bias)

    together = Whitened(hidden, weights, SHRINKAGE)
    metric = together.metric(together.hidden[part], weights[part])
    found = logistic_regression(together.hidden[part], calls[part], weights[part], 10.0, metric=metric)
    boundary = together.boundary(*found)
    assert torch.allclose(boundary.log_odds(hidden.double()), expected.log_odds(hidden.double()), atol=2e-3)
    assert torch.allclose(log_odds_of(together.hidden, *found), boundary.log_odds(hidden.double()), atol=1e-3)
    plain = logistic_regression(together.hidden[part], calls[part], weights[part], 10.0)
    moved = together.boundary(*plain).log_odds(hidden.double()) - expected.log_odds(hidden.double())
    assert float(moved.abs().max()) > 0.01, "the metric makes the difference"


def test_a_start_does_not_change_what_is_found(sample: tuple[torch.Tensor, ...]) -> None:
    hidden, calls, weights = sample
    white = Whitened(hidden, weights, SHRINKAGE).hidden
    row, bias = logistic_regression(white, calls, weights, 3.0)
    other, other_bias = logistic_regression(white, calls, weights, 3.0, start=(torch.ones(SIZE).double(), 5.0))
    assert torch.allclose(row, other, atol=1e-3)
    assert bias == pytest.approx(other_bias, abs=1e-3)


def test_states_without_variance_are_refused() -> None:
    with pytest.raises(HeadError, match="do not vary"):
        Whitened(torch.ones(5, 3), torch.ones(5).double(), SHRINKAGE)
