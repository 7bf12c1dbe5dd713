"""The refinement is one convex optimum near the closed form, and is used only where held-out examples gain by it."""

from collections.abc import Callable

import pytest
import torch

from toolken.errors import HeadError
from toolken.training.estimation.closed_form import discriminant
from toolken.training.estimation.covariance import shrunk
from toolken.training.estimation.folds import stratified_folds
from toolken.training.estimation.refinement import Anchor, refine
from toolken.training.estimation.refinement_choice import choose_refinement, held_out_refinement

SIZE, TOOLS = 8, 5
Drawn = tuple[torch.Tensor, torch.Tensor]


def draw(per_tool: int, *, seed: int = 0, skewed: bool = False) -> Drawn:
    """Return states of `TOOLS` tools and their labels: Gaussian, or with a spread that differs between the tools."""
    random = torch.Generator().manual_seed(seed)
    same = torch.Generator().manual_seed(99)
    centres = 0.7 * torch.randn(TOOLS, SIZE, generator=same)
    spreads = torch.exp(1.5 * torch.randn(TOOLS, SIZE, generator=same)) if skewed else torch.ones(TOOLS, SIZE)
    labels = torch.arange(TOOLS * per_tool) % TOOLS
    return centres[labels] + spreads[labels] * torch.randn(len(labels), SIZE, generator=random), labels


def closed_form_of(hidden: torch.Tensor, labels: torch.Tensor) -> Anchor:
    """Return the discriminant of the tools' means, each shrunk by one example at the middle."""
    states = hidden.double()
    sums = torch.zeros(TOOLS, SIZE, dtype=torch.float64).index_add_(0, labels, states)
    means = (sums + states.mean(0)) / (torch.bincount(labels, minlength=TOOLS) + 1)[:, None]
    residuals = states - means[labels]
    covariance = shrunk(residuals.T @ residuals / len(states), 0.1)
    return Anchor(*discriminant(means, covariance), covariance)


def refitted(hidden: torch.Tensor, labels: torch.Tensor) -> Callable[[torch.Tensor], Anchor]:
    """Return what fits the closed form to the examples of a mask."""
    return lambda mask: closed_form_of(hidden[mask], labels[mask])


def scores_of(hidden: torch.Tensor, rows: torch.Tensor, biases: torch.Tensor) -> torch.Tensor:
    """Return the scores of states."""
    return hidden.double() @ rows.double().T + biases.double()


def test_the_optimum_does_not_depend_on_the_start() -> None:
    hidden, labels = draw(6)
    anchor = closed_form_of(hidden, labels)
    found = refine(hidden, labels, *anchor, penalty=2.0, scale=0.3)
    for seed in range(3):
        random = torch.Generator().manual_seed(seed)
        start = 10 * torch.randn(TOOLS, SIZE, generator=random), 10 * torch.randn(TOOLS, generator=random)
        again = refine(hidden, labels, *anchor, penalty=2.0, scale=0.3, start=start)
        torch.testing.assert_close(again, found, rtol=1e-4, atol=1e-5)
    assert found[0].dtype == found[1].dtype == torch.float64


def test_the_gradient_of_the_stated_objective_is_zero_at_the_result() -> None:
    hidden, labels = draw(6)
    rows, biases, covariance = closed_form_of(hidden, labels)
    penalty, scale, states = 2.0, 0.3, hidden.double()
    found = refine(hidden, labels, rows, biases, covariance, penalty=penalty, scale=scale)
    w, b = (part.clone().requires_grad_() for part in found)
    loss = torch.nn.functional.cross_entropy(states @ w.T + b, labels, reduction="sum")
    offsets, at_mean = w - scale * rows, (w - scale * rows) @ states.mean(0) + b - scale * biases
    distance = ((offsets @ covariance) * offsets).sum() + at_mean.square().sum()
    (loss + 0.5 * penalty * distance).backward()
    for part in (w, b):
        assert part.grad is not None
        assert float(part.grad.abs().max()) < 1e-4


def test_a_heavy_penalty_keeps_the_scaled_closed_form_and_a_light_one_fits_the_examples() -> None:
    hidden, labels = draw(6)
    anchor = closed_form_of(hidden, labels)
    rows, biases = refine(hidden, labels, *anchor, penalty=1e9, scale=0.3)
    torch.testing.assert_close(
        (rows, biases), (0.3 * anchor.output_embeddings, 0.3 * anchor.biases), rtol=1e-4, atol=1e-4
    )
    losses = [
        float(torch.nn.functional.cross_entropy(scores_of(hidden, *refine(hidden, labels, *anchor, **to)), labels))
        for to in ({"penalty": 100.0, "scale": 0.3}, {"penalty": 1.0, "scale": 0.3}, {"penalty": 0.01, "scale": 0.3})
    ]
    assert losses == sorted(losses, reverse=True)


def test_the_result_is_equivariant_under_linear_maps_of_the_states() -> None:
    hidden, labels = draw(6)
    rows, biases, covariance = closed_form_of(hidden, labels)
    plain = scores_of(hidden, *refine(hidden, labels, rows, biases, covariance, penalty=2.0, scale=0.3))
    # Coordinates stretched a hundredfold here and there, where a ridge on the plain rows would favour the long ones.
    stretch = torch.tensor([0.1, 10.0] * (SIZE // 2), dtype=torch.float64)
    shift = torch.full((SIZE,), 3.0, dtype=torch.float64)
    moved = hidden.double() * stretch + shift
    moved_anchor = Anchor(rows / stretch, biases - (rows / stretch) @ shift, covariance * torch.outer(stretch, stretch))
    found = refine(moved, labels, *moved_anchor, penalty=2.0, scale=0.3)
    torch.testing.assert_close(scores_of(moved, *found), plain, rtol=1e-4, atol=1e-4)


def test_without_examples_the_scaled_closed_form_is_returned() -> None:
    anchor = closed_form_of(*draw(3))
    rows, biases = refine(torch.empty(0, SIZE), torch.empty(0, dtype=torch.long), *anchor, penalty=1.0, scale=0.5)
    torch.testing.assert_close((rows, biases), (0.5 * anchor.output_embeddings, 0.5 * anchor.biases))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"penalty": 0.0}, "penalty is 0.0"),
        ({"labels": torch.full((30,), -1)}, "none of the 5 tools"),
        ({"hidden": torch.full((30, SIZE), float("nan"))}, "not a finite number"),
        ({"covariance": torch.zeros(SIZE, SIZE)}, "singular"),
    ],
)
def test_penalties_states_and_labels_without_an_optimum_are_refused(change: dict[str, object], message: str) -> None:
    hidden, labels = draw(6)
    rows, biases, covariance = closed_form_of(hidden, labels)
    arguments: dict[str, object] = {
        "hidden": hidden,
        "labels": labels,
        "anchor_embeddings": rows,
        "anchor_biases": biases,
        "covariance": covariance,
        "penalty": 1.0,
        "scale": 0.3,
    }
    with pytest.raises(HeadError, match=message):
        refine(**{**arguments, **change})  # type: ignore[arg-type]


def test_a_refinement_that_helps_on_held_out_examples_is_chosen_and_does() -> None:
    # The tools' spreads differ, so the discriminant's one covariance is wrong and there is something to gain.
    hidden, labels = draw(60, skewed=True)
    chosen = choose_refinement(hidden, labels, refitted(hidden, labels), penalties=[1.0, 30.0], scales=[0.1, 0.3])
    assert chosen is not None
    anchor = closed_form_of(hidden, labels)
    rows, biases = refine(hidden, labels, *anchor, penalty=chosen.penalty, scale=chosen.scale)
    test_hidden, truth = draw(200, seed=1, skewed=True)
    refined, closed = (
        scores_of(test_hidden, rows, biases),
        scores_of(test_hidden, anchor.output_embeddings, anchor.biases),
    )
    assert (refined.argmax(1) == truth).sum() > (closed.argmax(1) == truth).sum()


def test_a_gain_below_the_least_chooses_no_refinement() -> None:
    hidden, labels = draw(60, skewed=True)
    settings = {"penalties": [1.0, 30.0], "scales": [0.1, 0.3]}
    assert choose_refinement(hidden, labels, refitted(hidden, labels), least=0.01, **settings) is not None  # type: ignore[arg-type]
    assert choose_refinement(hidden, labels, refitted(hidden, labels), least=0.9, **settings) is None  # type: ignore[arg-type]


def test_a_right_closed_form_is_not_refined() -> None:
    for seed in range(3):
        hidden, labels = draw(40, seed=seed)
        assert choose_refinement(hidden, labels, refitted(hidden, labels)) is None


def test_held_out_examples_decide_whether_to_refine() -> None:
    for skewed, helps in ((True, True), (False, False)):
        hidden, labels = draw(60, skewed=skewed)
        anchor = closed_form_of(hidden, labels)
        held_out, known = draw(100, seed=1, skewed=skewed)
        chosen = held_out_refinement(hidden, labels, anchor, held_out, known, scale=0.5)
        assert (chosen is not None) == helps
    # On examples unlike the requests to come the same refinement would do harm, and is refused.
    hidden, labels = draw(60, skewed=True)
    held_out, known = draw(100, seed=1)
    anchor = closed_form_of(*draw(60))
    assert held_out_refinement(hidden, labels, anchor, held_out, known, scale=0.5) is None


def test_one_example_per_tool_is_not_refined() -> None:
    hidden, labels = draw(1, skewed=True)
    assert choose_refinement(hidden, labels, refitted(hidden, labels)) is None
    # Several calls in one example are still one example.
    twice = torch.cat([hidden, hidden]), torch.cat([labels, labels])
    examples = torch.arange(TOOLS).repeat(2)
    assert choose_refinement(*twice, refitted(*twice), examples=examples) is None


def test_the_choice_is_deterministic() -> None:
    hidden, labels = draw(30, skewed=True)
    first, second = (choose_refinement(hidden, labels, refitted(hidden, labels)) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("wrong", [{"folds": 1}, {"penalties": []}, {"scales": []}])
def test_a_choice_without_folds_or_settings_is_refused(wrong: dict[str, object]) -> None:
    hidden, labels = draw(4)
    with pytest.raises(HeadError, match="cannot be chosen"):
        choose_refinement(hidden, labels, refitted(hidden, labels), **wrong)  # type: ignore[arg-type]


def test_folds_hold_whole_examples_and_every_tool_evenly() -> None:
    examples = torch.arange(60).repeat_interleave(2)
    labels = (torch.arange(120) // 2) % 4
    fold_of = stratified_folds(labels, examples, 3, seed=0)
    assert all(len(set(fold_of[examples == i].tolist())) == 1 for i in range(60))
    for tool in range(4):
        assert torch.bincount(fold_of[labels == tool], minlength=3).tolist() == [10, 10, 10]
    assert not torch.equal(fold_of, stratified_folds(labels, examples, 3, seed=1))
