"""Statistics are sums: adding, merging, removing and dropping give what a fresh computation gives."""

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from toolken.errors import HeadError, ToolSpecError
from toolken.training.estimation.second_moment import SecondMoment
from toolken.training.estimation.statistics import ToolStatistics

NAMES = ("add", "weather", "capital")
SIZE = 3


@st.composite
def batches(draw: st.DrawFn, min_size: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """States `(n, 3)` of whole numbers, so that sums are exact, and their labels."""
    count = draw(st.integers(min_size, 6))
    numbers = st.lists(st.integers(-50, 50), min_size=SIZE, max_size=SIZE)
    hidden = draw(st.lists(numbers, min_size=count, max_size=count))
    labels = draw(st.lists(st.integers(0, len(NAMES) - 1), min_size=count, max_size=count))
    return torch.tensor(hidden, dtype=torch.float32).reshape(count, SIZE), torch.tensor(labels, dtype=torch.long)


def computed(parts: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> ToolStatistics:
    """Compute the statistics of all examples again, example by example."""
    fresh = ToolStatistics.empty(NAMES, SIZE)
    for hidden, labels in parts:
        for state, label in zip(hidden.double(), labels.tolist(), strict=True):
            fresh.counts[label] += 1
            fresh.sums[label] += state
            fresh.scatter.add(state[None])
    return fresh


def assert_equal(one: ToolStatistics, other: ToolStatistics) -> None:
    """Check that two statistics are exactly equal."""
    assert one.names == other.names
    assert torch.equal(one.counts, other.counts)
    assert torch.equal(one.sums, other.sums)
    assert torch.equal(one.moment, other.moment)
    assert one.retired == other.retired


@given(st.lists(batches(), max_size=4))
def test_adding_in_parts_equals_computing_at_once(parts: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
    statistics = ToolStatistics.empty(NAMES, SIZE)
    for hidden, labels in parts:
        statistics.add(hidden, labels)
    assert_equal(statistics, computed(parts))
    assert statistics.total == sum(len(labels) for _, labels in parts)
    assert statistics.hidden_size == SIZE


@given(batches(), batches())
def test_removing_undoes_adding(
    kept: tuple[torch.Tensor, torch.Tensor], gone: tuple[torch.Tensor, torch.Tensor]
) -> None:
    statistics = computed([kept, gone])
    statistics.remove(*gone)
    assert_equal(statistics, computed([kept]))


@given(batches(), batches())
def test_merging_equals_computing_together_whatever_the_order_of_the_tools(
    one: tuple[torch.Tensor, torch.Tensor], other: tuple[torch.Tensor, torch.Tensor]
) -> None:
    backwards = ToolStatistics.empty(NAMES[::-1], SIZE)
    backwards.add(other[0], len(NAMES) - 1 - other[1])
    assert_equal(computed([one]).merge(backwards), computed([one, other]))


def test_merging_changes_neither_operand() -> None:
    one, other = (computed([(torch.ones(2, SIZE), torch.tensor([0, 1]))]) for _ in range(2))
    one.merge(other).add(torch.ones(1, SIZE), torch.tensor([0]))
    assert one.total == other.total == 2


@given(batches(min_size=1))
def test_dropping_a_tool_keeps_the_statistics_of_the_others(
    batch: tuple[torch.Tensor, torch.Tensor],
) -> None:
    whole = computed([batch])
    without = whole.without_tools(["weather"])
    assert without.names == ["add", "capital"]
    assert torch.equal(without.counts, whole.counts[[0, 2]])
    assert torch.equal(without.sums, whole.sums[[0, 2]])
    (scatter, freedom), (scatter_before, freedom_before) = without.within_scatter(), whole.within_scatter()
    torch.testing.assert_close(scatter, scatter_before)
    assert freedom == freedom_before


@given(batches(min_size=1))
def test_removing_a_tool_after_its_examples_leaves_no_trace(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    hidden, labels = batch
    whole, others = computed([batch]), labels != 1
    whole.remove(hidden[~others], labels[~others])
    dropped = whole.without_tools(["weather"])
    kept = computed([(hidden[others], labels[others])])
    assert torch.equal(dropped.moment, kept.moment)
    assert dropped.retired == 0


@given(batches(min_size=1))
def test_the_scatter_is_around_each_tools_mean(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    hidden, labels = batch[0].double(), batch[1]
    expected, freedom = torch.zeros(SIZE, SIZE, dtype=torch.float64), 0
    for tool in set(labels.tolist()):
        centred = hidden[labels == tool] - hidden[labels == tool].mean(0)
        expected += centred.T @ centred
        freedom += len(centred) - 1
    scatter, got = computed([batch]).within_scatter()
    torch.testing.assert_close(scatter, expected, rtol=1e-9, atol=1e-9)
    assert torch.equal(scatter, scatter.T)
    assert got == freedom


@given(batches())
def test_statistics_come_back_from_their_tensors(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    whole = computed([batch]).without_tools(["add"])
    assert_equal(ToolStatistics.from_tensors(whole.names, whole.tensors()), whole)


def test_new_tools_begin_without_examples() -> None:
    more = computed([(torch.ones(1, SIZE), torch.tensor([2]))]).with_tools(["new"])
    assert more.names == [*NAMES, "new"]
    assert more.counts.tolist() == [0, 0, 1, 0]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_nan_state_is_refused_and_nothing_changes(bad: float) -> None:
    statistics = computed([(torch.ones(2, SIZE), torch.tensor([0, 1]))])
    for change in (statistics.add, statistics.remove):
        with pytest.raises(HeadError, match="finite"):
            change(torch.tensor([[1.0, bad, 1.0]]), torch.tensor([0]))
    assert_equal(statistics, computed([(torch.ones(2, SIZE), torch.tensor([0, 1]))]))


def test_removing_more_than_was_added_is_refused_by_name_and_nothing_changes() -> None:
    statistics = computed([(torch.ones(3, SIZE), torch.tensor([0, 1, 1]))])
    with pytest.raises(HeadError, match="'add'"):
        statistics.remove(torch.ones(3, SIZE), torch.tensor([1, 0, 0]))
    assert_equal(statistics, computed([(torch.ones(3, SIZE), torch.tensor([0, 1, 1]))]))


def test_statistics_of_different_lms_are_not_merged() -> None:
    with pytest.raises(HeadError, match="3 and 4"):
        ToolStatistics.empty(NAMES, 3).merge(ToolStatistics.empty(NAMES, 4))


def test_dropping_an_unknown_tool_is_refused_with_near_matches() -> None:
    with pytest.raises(ToolSpecError, match=r"'wether'.*'weather'"):
        ToolStatistics.empty(NAMES, SIZE).without_tools(["wether"])


def test_examples_whose_states_are_repeated_with_rounding_are_removed_exactly() -> None:
    states = 10 * torch.randn(6, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    fitted, expected = ToolStatistics.empty(["a", "b", "c"], 16), ToolStatistics.empty(["a", "b", "c"], 16)
    fitted.add(states, labels)
    expected.add(states[:3], labels[:3])
    fitted.remove(states[3:].bfloat16(), labels[3:])
    torch.testing.assert_close(fitted.sums, expected.sums)
    torch.testing.assert_close(fitted.moment, expected.moment)


@pytest.mark.parametrize("count", [0, 3, 8, 9, 40])
def test_the_second_moment_of_few_examples_is_kept_as_their_states(count: int) -> None:
    size = 16
    states = torch.randn(count, size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    moment = SecondMoment.zero(size)
    for state in states:
        moment.add(state[None])
    torch.testing.assert_close(moment.dense(), states.T @ states)
    assert sum(one.numel() for one in moment.tensors().values()) == (
        count * (size + 1) if 2 * count <= size else size * size
    )
    torch.testing.assert_close(SecondMoment.from_tensors(moment.tensors()).dense(), moment.dense())
    copied = moment.copy()
    again = states + 1e-6  # an LM gives a state again up to rounding
    copied.remove(again[: count // 2])
    torch.testing.assert_close(copied.dense(), states[count // 2 :].T @ states[count // 2 :], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(moment.dense(), states.T @ states)
    if count <= size // 2:
        assert len(copied.states) == count - count // 2, "removed examples leave no trace"
    copied.include(moment)
    torch.testing.assert_close(
        copied.dense(), states.T @ states + states[count // 2 :].T @ states[count // 2 :], atol=1e-4, rtol=1e-4
    )
