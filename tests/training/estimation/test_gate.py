"""The gate separates calls from text after the opening of an answer and after a result."""

import pytest
import torch

from toolken.errors import HeadError
from toolken.training.estimation.gate import THRESHOLD, Gate, chain_lengths, discriminant_boundary, fit_gate
from toolken.training.features.decision_states import NO_CALL, DecisionStates
from toolken.training.features.example_features import no_call_weight

SIZE = 8


def clouds(
    count: int, seed: int, *, after_result: bool = False, along: int = 0, distance: float = 6.0
) -> DecisionStates:
    """Return decisions in two anisotropic clusters, calls and text, which differ along one axis."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.where(torch.arange(count) % 2 == 0, 0, NO_CALL)
    hidden = torch.randn(count, SIZE, generator=random) * torch.linspace(0.5, 20, SIZE).roll(1)
    hidden[:, along] = torch.randn(count, generator=random) + torch.where(labels == NO_CALL, -distance, distance)
    results = torch.full((count,), int(after_result))
    return DecisionStates(hidden + 5, torch.zeros(count), labels, torch.arange(count), results)


def right(gate: Gate, points: DecisionStates, *, results: int) -> float:
    """Return the gate's accuracy."""
    called = gate.log_odds(points.hidden, results=results) > 0
    return float((called == (points.labels != NO_CALL)).double().mean())


@pytest.mark.parametrize("running_text", [True, False])
def test_separable_decisions_are_recovered(running_text: bool) -> None:
    gate, _ = fit_gate(clouds(400, 0), clouds(40, 1), running_text=running_text)
    assert right(gate, clouds(1000, 2), results=0) > 0.99


def test_each_kind_of_decision_position_has_its_own_boundary() -> None:
    both = DecisionStates.join([clouds(300, 0), clouds(300, 1, after_result=True, along=3)])
    gate, _ = fit_gate(both, clouds(40, 2), running_text=False)
    assert right(gate, clouds(1000, 3), results=0) > 0.99
    assert right(gate, clouds(1000, 4, along=3), results=1) > 0.99


def test_without_examples_the_background_decides() -> None:
    gate, _ = fit_gate(DecisionStates.none(SIZE), clouds(100, 0), running_text=False)
    assert right(gate, clouds(1000, 1), results=0) > 0.99


def test_without_examples_of_second_calls_none_is_made() -> None:
    calls_only = clouds(100, 0)
    gate, _ = fit_gate(calls_only, clouds(40, 1), running_text=False)
    assert bool((gate.log_odds(clouds(100, 2).hidden, results=1) < -10).all())


@pytest.mark.parametrize("label", [0, NO_CALL])
def test_calls_only_or_text_only_suffices_with_the_background(label: int) -> None:
    own = clouds(100, 0)
    gate, _ = fit_gate(own.where(own.labels == label), clouds(100, 1), running_text=False)
    assert right(gate, clouds(1000, 2), results=0) > 0.95


def test_class_sizes_do_not_move_the_discriminants_boundary() -> None:
    points = clouds(2000, 0)
    few = torch.ones(2000, dtype=torch.bool)
    few[1:1900:2] = False  # most words are gone
    part = points.where(few)
    boundary = discriminant_boundary(part, torch.ones(len(part.labels), dtype=torch.float64))
    middle = torch.full((1, SIZE), 5.0)
    assert abs(float(boundary.log_odds(middle))) < 0.1 * float(boundary.log_odds(points.hidden[:1]).abs())


def test_sampling_weights_make_calls_rarer_in_running_text() -> None:
    points = clouds(600, 0, distance=1.0)
    alone, _ = fit_gate(points, clouds(40, 1), running_text=True)
    rare, _ = fit_gate(points, clouds(40, 1), running_text=True, no_call_weight=20.0)
    fresh = clouds(2000, 2, distance=1.0).hidden
    odds = [gate.log_odds(fresh, results=0).mean() for gate in (alone, rare)]
    # The log of the weight, but for the penalty's share.
    assert 2 < float(odds[0] - odds[1]) < 4


def test_penalty_and_threshold_of_running_text_follow_from_held_out_examples() -> None:
    # Twenty words to a call: where calls can hardly be told, the best threshold for finding them lies below a half.
    points = clouds(8000, 0, distance=1.0)
    scarce = (points.labels == NO_CALL) | (torch.arange(8000) % 20 == 0)
    gate, threshold = fit_gate(points.where(scarce), clouds(40, 1), running_text=True)
    assert 0.2 <= threshold < 0.5
    fresh = clouds(8000, 2, distance=1.0)
    fresh = fresh.where((fresh.labels == NO_CALL) | (torch.arange(8000) % 20 == 0))
    probability, calls = torch.sigmoid(gate.log_odds(fresh.hidden, results=0)), fresh.labels != NO_CALL

    def f1(bar: float) -> float:
        fired = probability > bar
        return float(2 * (fired & calls).sum() / (fired.sum() + calls.sum()))

    assert f1(threshold) > f1(0.5)


def test_too_few_examples_to_hold_any_out_leave_the_default_threshold() -> None:
    _, threshold = fit_gate(clouds(8, 0), clouds(40, 1), running_text=True)
    assert threshold == THRESHOLD


def test_the_fit_is_deterministic() -> None:
    points = clouds(200, 0, distance=1.0)
    (one, bar), (other, same_bar) = (fit_gate(points, clouds(40, 1), running_text=True) for _ in range(2))
    assert torch.equal(one.opening.weight, other.opening.weight)
    assert (one.opening.bias, bar) == (other.opening.bias, same_bar)


def test_states_that_do_not_vary_are_refused() -> None:
    points = clouds(10, 0)
    flat = DecisionStates(torch.ones(10, SIZE), points.logsumexp, points.labels, points.examples, points.results)
    with pytest.raises(HeadError, match="do not vary"):
        fit_gate(flat, flat, running_text=False)


def test_the_number_of_results_changes_the_log_odds_of_another_call() -> None:
    """The states carry no information: a call always follows the first result, and never the second."""
    random = torch.Generator().manual_seed(6)
    count = 400
    results = torch.arange(count) % 2 + 1
    labels = torch.where(results == 1, 0, NO_CALL)
    points = DecisionStates(
        torch.randn(count, SIZE, generator=random), torch.zeros(count), labels, torch.arange(count), results
    )
    one, two = chain_lengths(points)
    assert one > 2
    assert two < -2
    gate, _ = fit_gate(DecisionStates.join([clouds(100, 1), points]), clouds(100, 2), running_text=False)
    fresh = torch.randn(200, SIZE, generator=random).double()
    assert (gate.log_odds(fresh, results=1) > 0).double().mean() > 0.95
    assert (gate.log_odds(fresh, results=2) < 0).double().mean() > 0.95
    assert torch.equal(gate.log_odds(fresh, results=2), gate.log_odds(fresh, results=5)), "longer than any seen"
    mixed = gate.log_odds(fresh[:3], results=torch.tensor([0, 1, 2]))
    assert mixed.tolist() == [float(gate.log_odds(fresh[at : at + 1], results=at)) for at in range(3)]


def test_chains_of_one_length_say_nothing_about_length() -> None:
    assert chain_lengths(clouds(100, 1, after_result=True)) == (0.0,)


def test_penalty_and_threshold_chosen_on_a_sample_are_close_to_those_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    points = clouds(6000, 0, distance=1.0)
    whole, threshold = fit_gate(points, clouds(40, 1), running_text=True)
    monkeypatch.setattr("toolken.training.estimation.gate.MAX_CROSS_VALIDATED", 1500)
    part, nearly = fit_gate(points, clouds(40, 1), running_text=True)
    fresh = clouds(2000, 2, distance=1.0).hidden
    # The boundary itself is fitted on all of them: only its penalty may be another one.
    torch.testing.assert_close(part.log_odds(fresh, results=0), whole.log_odds(fresh, results=0), rtol=0.1, atol=0.1)
    assert abs(nearly - threshold) < 0.15


def test_no_call_weight_restores_the_share_of_calls() -> None:
    assert no_call_weight(900, 300, 50, 50) == 3
    assert no_call_weight(900, 300, 200, 50) == 0.75  # each of these calls stands for four
    assert no_call_weight(0, 0, 10, 10) == 1
    assert no_call_weight(30, 30, 0, 0) == 1
