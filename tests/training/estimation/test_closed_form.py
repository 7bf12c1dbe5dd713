"""The closed form is linear discriminant analysis, with descriptions as prior means."""

import numpy as np
import pytest
import torch

from toolken.errors import HeadError
from toolken.training.estimation.closed_form import closed_form, discriminant, effective_sample_size, posterior_means
from toolken.training.estimation.covariance import shrunk
from toolken.training.estimation.settings import ClosedFormSettings
from toolken.training.estimation.statistics import ToolStatistics
from toolken.training.prior.geometry import SHARED_FROM, PriorGeometry

SIZE, TOOLS = 6, 4


@pytest.fixture
def drawn() -> tuple[torch.Tensor, torch.Tensor]:
    """Clustered states `(200, 6)` and their labels."""
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(200) % TOOLS
    centres = 3 * torch.randn(TOOLS, SIZE, generator=random)
    mixing = torch.randn(SIZE, SIZE, generator=random)
    return centres[labels] + torch.randn(200, SIZE, generator=random) @ mixing, labels


@pytest.fixture
def geometry() -> PriorGeometry:
    """A background with a mean and a full covariance."""
    random = torch.Generator().manual_seed(1)
    mixing = torch.randn(SIZE, SIZE, generator=random, dtype=torch.float64)
    covariance = mixing @ mixing.T + torch.eye(SIZE, dtype=torch.float64)
    return PriorGeometry.of(torch.randn(SIZE, generator=random, dtype=torch.float64), covariance, ClosedFormSettings())


@pytest.fixture
def forms() -> dict[str, torch.Tensor]:
    """Query forms of four descriptions."""
    form = torch.randn(TOOLS, SIZE, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return {"query": form}


def statistics_of(hidden: torch.Tensor, labels: torch.Tensor, tools: int = TOOLS) -> ToolStatistics:
    """Return the statistics of some states."""
    statistics = ToolStatistics.empty([f"tool{i}" for i in range(tools)], SIZE)
    statistics.add(hidden, labels)
    return statistics


def test_output_embeddings_and_biases_are_those_of_discriminant_analysis_computed_directly(
    drawn: tuple[torch.Tensor, torch.Tensor], geometry: PriorGeometry, forms: dict[str, torch.Tensor]
) -> None:
    hidden, labels = drawn
    # With next to no weight on description, background and shrinkage, what is left is the textbook's formula.
    settings = ClosedFormSettings(
        kappa=1e-9, shrinkage=0, background_weight=1e-9, residual_weight=0, sharing=0, allowance=0
    )
    form = closed_form(geometry, forms, statistics_of(hidden, labels), settings)
    rows, biases = form.output_embeddings, form.biases
    x, y = hidden.double().numpy(), labels.numpy()
    means = np.stack([x[y == j].mean(0) for j in range(TOOLS)])
    inverse = np.linalg.inv((x - means[y]).T @ (x - means[y]) / (len(x) - TOOLS))
    np.testing.assert_allclose(rows.numpy(), means @ inverse, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(biases.numpy(), -0.5 * ((means @ inverse) * means).sum(1), rtol=1e-4, atol=1e-5)


def test_selection_is_by_the_nearest_mean_in_the_covariances_metric(
    drawn: tuple[torch.Tensor, torch.Tensor],
) -> None:
    hidden = drawn[0].double()
    means = torch.randn(TOOLS, SIZE, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    covariance = shrunk(torch.cov(hidden.T), 0.1)
    rows, biases = discriminant(means, covariance)
    offsets = hidden[:, None] - means
    distances = (offsets @ torch.linalg.inv(covariance) * offsets).sum(-1)
    assert torch.equal((hidden @ rows.T + biases).argmax(1), distances.argmin(1))


def test_the_posterior_mean_lies_between_prior_and_sample_by_their_weights() -> None:
    statistics = statistics_of(torch.full((6, SIZE), 4.0), torch.tensor([0, 0, 0, 0, 0, 0]), tools=2)
    prior = torch.full((2, SIZE), 1.0, dtype=torch.float64)
    means = posterior_means(statistics, prior, ClosedFormSettings(kappa=3.0, intraclass_correlation=0))
    assert torch.allclose(means[0], torch.full((SIZE,), 3.0, dtype=torch.float64))
    assert torch.equal(means[1], prior[1])


def test_the_effective_sample_size_is_one_for_one_example_and_bounded_for_many() -> None:
    counts = torch.tensor([0.0, 1.0, 5.0, 1e9], dtype=torch.float64)
    found = effective_sample_size(counts, ClosedFormSettings(intraclass_correlation=0.05))
    assert found.tolist() == pytest.approx([0, 1, 5 / 1.2, 20], rel=1e-6)
    assert torch.equal(effective_sample_size(counts, ClosedFormSettings(intraclass_correlation=0)), counts)


def test_with_few_tools_the_intraclass_correlation_is_zero(
    geometry: PriorGeometry,
    forms: dict[str, torch.Tensor],
    drawn: tuple[torch.Tensor, torch.Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    statistics = statistics_of(*drawn)
    trusting, doubting = ClosedFormSettings(intraclass_correlation=0), ClosedFormSettings(intraclass_correlation=0.2)
    one, other = (closed_form(geometry, forms, statistics, each) for each in (trusting, doubting))
    assert torch.equal(one.output_embeddings, other.output_embeddings)
    monkeypatch.setattr("toolken.training.estimation.closed_form.SHARED_FROM", TOOLS)
    doubted = closed_form(geometry, forms, statistics, doubting)
    nearer = (doubted.means - doubted.prior).norm(dim=1) < (one.means - one.prior).norm(dim=1)
    assert bool(nearer.all())


def test_prior_means_without_examples_spread_round_the_background_along_the_descriptions(
    geometry: PriorGeometry, forms: dict[str, torch.Tensor]
) -> None:
    settings = ClosedFormSettings(alignment=2.5)
    means, _ = geometry.prior_means(forms, ToolStatistics.empty([*"abcd"], SIZE), settings)
    torch.testing.assert_close(means.mean(0), geometry.mean)
    directions = geometry.directions(forms)
    torch.testing.assert_close(directions.norm(dim=1), torch.ones(TOOLS, dtype=torch.float64))
    white = geometry.whiten(means - geometry.mean)
    torch.testing.assert_close(white, 2.5 * (directions - directions.mean(0)))


def test_the_alignment_is_learned_from_tools_with_examples_and_applies_to_the_others(
    geometry: PriorGeometry, forms: dict[str, torch.Tensor]
) -> None:
    directions = geometry.directions(forms)
    directions = directions - directions.mean(0)
    shift = torch.full((SIZE,), 7.0, dtype=torch.float64)
    true_means = shift + 3.0 * directions @ geometry.factor.T
    statistics = statistics_of(true_means[:3].float(), torch.tensor([0, 1, 2]))
    settings = ClosedFormSettings(alignment=3.0)
    means, _ = geometry.prior_means(forms, statistics, settings)
    torch.testing.assert_close(means, true_means, rtol=1e-4, atol=1e-4)


def test_a_single_tool_has_an_output_embedding_with_and_without_examples(
    geometry: PriorGeometry, forms: dict[str, torch.Tensor]
) -> None:
    for count in (0, 1, 3):
        statistics = statistics_of(torch.randn(count, SIZE), torch.zeros(count, dtype=torch.long), tools=1)
        form = closed_form(geometry, {"query": forms["query"][:1]}, statistics, ClosedFormSettings())
        assert form.output_embeddings.shape == (1, SIZE)
        assert bool(torch.isfinite(form.output_embeddings).all() & torch.isfinite(form.biases).all())


def test_one_example_per_tool_is_enough(geometry: PriorGeometry, forms: dict[str, torch.Tensor]) -> None:
    statistics = statistics_of(torch.eye(TOOLS, SIZE), torch.arange(TOOLS))
    form = closed_form(geometry, forms, statistics, ClosedFormSettings())
    assert bool(torch.isfinite(form.output_embeddings).all() & torch.isfinite(form.biases).all())


def test_the_covariance_is_that_of_the_normal_inverse_wishart_posterior(
    drawn: tuple[torch.Tensor, torch.Tensor], geometry: PriorGeometry, forms: dict[str, torch.Tensor]
) -> None:
    hidden, labels = drawn
    settings = ClosedFormSettings(
        kappa=3.0, intraclass_correlation=0, shrinkage=0, background_weight=7.0, residual_weight=1.0
    )
    statistics = statistics_of(hidden, labels)
    form = closed_form(geometry, forms, statistics, settings)
    scatter = 7.0 * geometry.covariance
    # One example after the other, each time with the posterior mean before it.
    means, weights = form.prior.clone(), torch.full((TOOLS,), 3.0, dtype=torch.float64)
    for x, y in zip(hidden.double(), labels.tolist(), strict=True):
        scatter = scatter + weights[y] / (weights[y] + 1) * torch.outer(x - means[y], x - means[y])
        means[y] = (weights[y] * means[y] + x) / (weights[y] + 1)
        weights[y] += 1
    torch.testing.assert_close(form.means, means)
    torch.testing.assert_close(form.covariance, scatter / (7.0 + len(labels)))


def test_a_source_without_an_embedding_for_a_tool_is_ignored_there(
    geometry: PriorGeometry, forms: dict[str, torch.Tensor]
) -> None:
    other = torch.randn(TOOLS, SIZE, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    both = geometry.directions({**forms, "teacher": other})
    assert not torch.allclose(both, geometry.directions(forms))
    other[2] = torch.nan
    partly = geometry.directions({**forms, "teacher": other})
    torch.testing.assert_close(partly[2], geometry.directions(forms)[2])
    assert bool(torch.isfinite(partly).all())


def test_shrinkage_keeps_the_trace_and_pulls_towards_the_identity() -> None:
    covariance = torch.diag(torch.tensor([1.0, 3.0, 8.0], dtype=torch.float64))
    assert torch.equal(shrunk(covariance, 0.0), covariance)
    torch.testing.assert_close(shrunk(covariance, 0.5).diagonal(), torch.tensor([2.5, 3.5, 6.0]).double())


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf"), -1.0])
def test_states_that_do_not_vary_or_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(HeadError, match="do not vary or are not finite"):
        shrunk(value * torch.ones(SIZE, SIZE, dtype=torch.float64), 0.1)


def test_a_singular_covariance_is_refused() -> None:
    flat = torch.diag(torch.tensor([1.0, 0.0], dtype=torch.float64))
    with pytest.raises(HeadError, match="singular: use more shrinkage"):
        discriminant(torch.ones(1, 2, dtype=torch.float64), flat)


@pytest.mark.parametrize("wrong", [{"kappa": 0}, {"shrinkage": 1.0}, {"background_weight": -1}, {"kapa": 1}])
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ClosedFormSettings.model_validate(wrong)


@pytest.mark.parametrize("seen", [SHARED_FROM - 1, 2 * SHARED_FROM])
def test_enough_tools_with_examples_teach_where_those_without_lie(geometry: PriorGeometry, seen: int) -> None:
    random = torch.Generator().manual_seed(3)
    form = torch.randn(seen + 1, SIZE, generator=random, dtype=torch.float64)
    forms = {"query": form}
    # Means follow the descriptions by a map that is not the metric's own.
    turned = geometry.directions(forms) @ torch.randn(SIZE, SIZE, generator=random, dtype=torch.float64)
    labels = torch.arange(seen).repeat_interleave(20)
    hidden = (8 * turned)[labels] + 0.1 * torch.randn(len(labels), SIZE, generator=random)
    statistics = statistics_of(hidden, labels, seen + 1)
    distances = []
    for sharing in (0.0, 5.0):
        settings = ClosedFormSettings(sharing=sharing)
        prior, _ = geometry.prior_means(forms, statistics, settings)
        distances.append(float((prior[-1] - 8 * turned[-1]).norm()))
    if seen < SHARED_FROM:
        assert distances[0] == distances[1]
    else:
        assert distances[1] < 0.5 * distances[0]
