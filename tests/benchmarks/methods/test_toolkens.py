"""Answers at one threshold serve others where every decision stays the same."""

import pytest

from toolken.agents.agent import Answer
from toolken.benchmarks.methods.toolkens import Answered, Latest


@pytest.mark.parametrize(
    ("threshold", "known"), [(0.5, True), (0.6, True), (0.31, True), (0.3, False), (0.7, True), (0.71, False)]
)
def test_an_answer_is_known_at_the_thresholds_that_leave_it_as_it_is(threshold: float, known: bool) -> None:
    answered = Answered()
    answered.add("Q", Answer("6", (), (), (0.3, 0.7)))
    assert (answered.find("Q", threshold) is not None) == known
    assert answered.find("another", threshold) is None


def test_only_the_last_thing_is_kept() -> None:
    latest, made = Latest(), []
    for key in ("a", "a", "b", "a"):
        latest.get(key, lambda key=key: made.append(key))  # type: ignore[misc]
    assert made == ["a", "b", "a"]
