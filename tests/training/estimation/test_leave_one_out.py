"""Leave-one-out in closed form equals refitting without each example, and chooses the settings."""

import dataclasses

import pytest
import torch

from toolken.training.estimation.closed_form import closed_form
from toolken.training.estimation.leave_one_out import choose_settings, leave_one_out_scores
from toolken.training.estimation.settings import ClosedFormSettings
from toolken.training.estimation.statistics import ToolStatistics
from toolken.training.features.decision_states import DecisionStates
from toolken.training.prior.geometry import PriorGeometry

SIZE, TOOLS = 8, 5
NAMES = [f"tool{i}" for i in range(TOOLS)]


def geometry() -> PriorGeometry:
    """A spherical background."""
    return PriorGeometry.of(torch.zeros(SIZE).double(), torch.eye(SIZE).double(), ClosedFormSettings())


def drawn(counts: list[int], noise: float, seed: int = 0) -> tuple[DecisionStates, dict[str, torch.Tensor]]:
    """States of tools whose descriptions point near their means."""
    random = torch.Generator().manual_seed(seed)
    centres = 4 * torch.randn(TOOLS, SIZE, generator=random)
    labels = torch.arange(TOOLS).repeat_interleave(torch.tensor(counts))
    hidden = centres[labels] + noise * torch.randn(len(labels), SIZE, generator=random)
    forms = {"query": (centres + torch.randn(TOOLS, SIZE, generator=random)).double()}
    count = len(labels)
    flags = torch.zeros(count, dtype=torch.long)
    return DecisionStates(hidden, torch.zeros(count), labels, torch.arange(count), flags), forms


def statistics_of(points: DecisionStates) -> ToolStatistics:
    """Return the statistics of some calls."""
    statistics = ToolStatistics.empty(NAMES, SIZE)
    statistics.add(points.hidden, points.labels)
    return statistics


@pytest.mark.parametrize("residual_weight", [0.0, 0.3, 1.0])
def test_scores_are_those_of_the_closed_form_without_the_example(residual_weight: float) -> None:
    points, forms = drawn([30, 20, 10, 5, 2], noise=1.0)
    settings = ClosedFormSettings(residual_weight=residual_weight, intraclass_correlation=0, sharing=0, allowance=0)
    statistics = statistics_of(points)
    form = closed_form(geometry(), forms, statistics, settings)
    fast = leave_one_out_scores(form, statistics, settings, points.hidden, points.labels)
    for i in range(0, len(points.labels), 7):
        keep = torch.arange(len(points.labels)) != i
        without = closed_form(geometry(), forms, statistics_of(points.where(keep)), settings)
        slow = points.hidden[i].double() @ without.output_embeddings.T + without.biases
        # Scores matter up to what is common to all tools, and one example in 67 moves the priors a little.
        assert torch.allclose(fast[i] - fast[i].mean(), slow - slow.mean(), rtol=0.06, atol=0.6)
        assert int(fast[i].argmax()) == int(slow.argmax())


def test_noisy_examples_give_the_description_more_weight() -> None:
    clean, forms = drawn([6] * TOOLS, noise=0.3)
    noisy, noisy_forms = drawn([6] * TOOLS, noise=8.0)
    none = DecisionStates.none(SIZE)
    kappas = [
        choose_settings(geometry(), one, statistics_of(points), points, ClosedFormSettings(), none).settings.kappa
        for points, one in ((clean, forms), (noisy, noisy_forms))
    ]
    assert kappas[0] < kappas[1]


def test_over_confident_scores_are_divided_by_a_temperature_above_one() -> None:
    points, forms = drawn([8] * TOOLS, noise=6.0)
    choice = choose_settings(
        geometry(), forms, statistics_of(points), points, ClosedFormSettings(), DecisionStates.none(SIZE)
    )
    assert choice.temperature > 1
    assert 0 < choice.accuracy < 1


def test_settings_stay_where_each_tool_has_one_example() -> None:
    points, forms = drawn([1] * TOOLS, noise=1.0)
    start = ClosedFormSettings(kappa=5.0)
    choice = choose_settings(geometry(), forms, statistics_of(points), points, start, DecisionStates.none(SIZE))
    assert choice.settings == start


def test_held_out_examples_replace_leave_one_out() -> None:
    points, forms = drawn([10] * TOOLS, noise=3.0)
    held_out, _ = drawn([3] * TOOLS, noise=3.0)
    choice = choose_settings(geometry(), forms, statistics_of(points), points, ClosedFormSettings(), held_out)
    form = closed_form(geometry(), forms, statistics_of(points), choice.settings)
    scores = held_out.hidden.double() @ form.output_embeddings.T + form.biases
    torch.testing.assert_close(choice.scores, scores)


def test_only_held_out_examples_choose_the_intraclass_correlation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toolken.training.estimation.closed_form.SHARED_FROM", TOOLS)
    # Each tool's examples lie off their tool's centre together, as sentences of one pattern do; requests do not.
    points, forms = drawn([60, 2, 2, 2, 2], noise=3.0)
    shifts = 6 * torch.randn(TOOLS, SIZE, generator=torch.Generator().manual_seed(3))
    alike = dataclasses.replace(points, hidden=points.hidden + shifts[points.labels])
    requests, _ = drawn([10] * TOOLS, noise=3.0)
    start, statistics = ClosedFormSettings(), statistics_of(alike)
    chosen = choose_settings(geometry(), forms, statistics, alike, start, requests).settings
    left_out = choose_settings(geometry(), forms, statistics, alike, start, DecisionStates.none(SIZE)).settings
    assert chosen.intraclass_correlation > start.intraclass_correlation == left_out.intraclass_correlation
    assert chosen.kappa > left_out.kappa
