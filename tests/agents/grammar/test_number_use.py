"""A later call of a chain uses earlier results and no number twice, if the examples do so."""

from collections import Counter

import pytest

from toolken.agents.grammar.number_use import HELD, NumberHabits, NumberUse, numbers_of
from toolken.training.examples import FewShotExample


def later(tool: str, question: str, before: dict[str, object], result: str, args: dict[str, object]) -> FewShotExample:
    return FewShotExample(tool=tool, question=question, results=(result,), args=args, before=(before,))


WORKS_ON = [
    later("add", f"{n} boxes of {n + 1} and {n + 2} more", {"numbers": [n, n + 1]}, "900", {"numbers": [900, n + 2]})
    for n in range(10, 18)
]
STARTS_AGAIN = [
    later("multiply", f"{n} boxes of {n + 1}", {"numbers": [n, n + 1]}, "900", {"numbers": [n, n + 1]})
    for n in range(10, 18)
]


def test_habits_are_counted_for_each_tool() -> None:
    habits = NumberHabits.of([*WORKS_ON, *STARTS_AGAIN])
    assert habits.works_on["add"] > HELD > habits.works_on["multiply"]
    assert habits.takes_fresh["add"] > HELD > habits.takes_fresh["multiply"]


def test_a_later_call_is_to_take_the_result_and_nothing_twice() -> None:
    use = NumberHabits.of(WORKS_ON).use("add", ["42"], [{"numbers": [6, 7]}])
    assert use == NumberUse(taken=(6, 7), wanted=frozenset({42}))


def test_a_result_that_was_taken_is_wanted_no_more() -> None:
    use = NumberHabits.of(WORKS_ON).use("add", ["42", "50"], [{"numbers": [6, 7]}, {"numbers": [42, 8]}])
    assert use is not None
    assert use.wanted == {50}


@pytest.mark.parametrize("few_shot", [[], STARTS_AGAIN, [WORKS_ON[0].model_copy(update={"results": ()})]])
def test_without_the_habit_nothing_is_asked_for(few_shot: list[FewShotExample]) -> None:
    assert NumberHabits.of(few_shot).use("multiply", ["42"], [{"numbers": [6, 7]}]) is None


def test_a_first_call_may_take_any_number() -> None:
    assert NumberHabits.of(WORKS_ON).use("add", [], []) is None


def test_numbers_are_found_in_lists_and_texts_and_truth_is_none() -> None:
    args = {"numbers": [1, 2.5], "base": "10", "exact": True, "unit": "km", "share": "5%"}
    assert Counter(numbers_of(args)) == Counter([1, 2.5, 10])
