"""Calibration finds the temperature with the lowest log loss, and measures the calibration error by its definition."""

import math

import pytest
import torch

from toolken.errors import HeadError
from toolken.training.estimation.calibration import TEMPERATURE_BOUNDS, calibrate, expected_calibration_error


def test_calibration_lowers_the_error_of_overconfident_scores_and_keeps_their_order() -> None:
    random = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(4000, 6, generator=random)
    labels = torch.multinomial(torch.softmax(logits, 1), 1, generator=random)[:, 0]
    temperature = calibrate(7 * logits, labels)
    assert math.isclose(temperature, 7, rel_tol=0.1)
    before = expected_calibration_error(torch.softmax(7 * logits, 1), labels)
    after = expected_calibration_error(torch.softmax(7 * logits / temperature, 1), labels)
    assert before > 0.15
    assert after < 0.03


def test_the_temperature_has_the_lowest_log_loss() -> None:
    random = torch.Generator().manual_seed(3)
    labels = torch.arange(100) % 5
    scores = 40 * (torch.nn.functional.one_hot(labels, 5) + torch.randn(100, 5, generator=random))
    temperature = calibrate(scores, labels)
    best = float(torch.nn.functional.cross_entropy(scores / temperature, labels))
    for factor in (0.1, 0.5, 0.97, 1.03, 2.0, 10.0):
        assert float(torch.nn.functional.cross_entropy(scores / (factor * temperature), labels)) > best


def test_scores_that_are_always_or_never_right_get_the_temperatures_of_the_bounds() -> None:
    scores, labels = torch.eye(4), torch.arange(4)
    assert calibrate(scores, labels) == TEMPERATURE_BOUNDS[0]
    assert calibrate(-scores, labels) == TEMPERATURE_BOUNDS[1]


@pytest.mark.parametrize("scores", [torch.empty(0, 3), torch.tensor([[1.0, float("inf")]])])
def test_scores_that_cannot_be_calibrated_are_refused(scores: torch.Tensor) -> None:
    with pytest.raises(HeadError, match="cannot be calibrated"):
        calibrate(scores, torch.zeros(len(scores), dtype=torch.long))


def test_the_calibration_error_weighs_each_bins_gap_by_its_size() -> None:
    # Three predictions at 0.9, two of them right; one at 0.6, right.
    probabilities = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.6, 0.4]])
    labels = torch.tensor([0, 0, 1, 0])
    expected = 0.75 * abs(2 / 3 - 0.9) + 0.25 * abs(1 - 0.6)
    assert math.isclose(expected_calibration_error(probabilities, labels, bins=10), expected, rel_tol=1e-5)
    assert expected_calibration_error(torch.eye(2), torch.tensor([0, 1])) == 0
    assert expected_calibration_error(torch.eye(2), torch.tensor([1, 0])) == 1
    with pytest.raises(HeadError, match="needs predictions"):
        expected_calibration_error(torch.empty(0, 2), torch.empty(0, dtype=torch.long))
