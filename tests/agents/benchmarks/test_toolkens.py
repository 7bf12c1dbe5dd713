"""Answers at one threshold serve others where every decision stays the same."""

import pytest
from langchain_core.messages import AIMessage
from langchain_core.messages.tool import tool_call

from toolken.agents.agent import Answer
from toolken.agents.benchmarks.toolkens import Answered, Latest


def answer(*probabilities: float, calls: int) -> Answer:
    made = [AIMessage("", tool_calls=[tool_call(name="add", args={}, id=str(at))]) for at in range(calls)]
    return Answer("6", (), (*made, AIMessage("6")), probabilities)


@pytest.mark.parametrize(
    ("threshold", "known"), [(0.5, True), (0.6, True), (0.31, True), (0.3, False), (0.7, True), (0.71, False)]
)
def test_an_answer_is_known_where_its_decisions_fall_on_the_same_side(threshold: float, known: bool) -> None:
    answered = Answered()
    answered.add("Q", answer(0.9, 0.7, 0.3, calls=2), 0.5)
    assert (answered.find("Q", threshold) is not None) == known
    assert answered.find("another", threshold) is None


def test_a_likely_call_that_would_have_repeated_one_binds_no_threshold() -> None:
    answered = Answered()
    answered.add("Q", answer(0.9, 0.8, calls=1), 0.5)
    assert answered.find("Q", 0.1) is not None
    assert answered.find("Q", 0.9) is not None


def test_only_the_last_thing_is_kept() -> None:
    latest, made = Latest(), []
    for key in ("a", "a", "b", "a"):
        latest.get(key, lambda key=key: made.append(key))  # type: ignore[misc]
    assert made == ["a", "b", "a"]
