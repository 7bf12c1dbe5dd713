"""`NumberHabits`: a later call of a chain uses a result and repeats no number if the few-shot examples do so."""

from collections import Counter

import pytest

from toolken.agents.grammar.copy_limits import CopyLimits
from toolken.agents.number_habits import RULE_SHARE, NumberHabits, numbers_of
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
    assert habits.uses_result["add"] > RULE_SHARE > habits.uses_result["multiply"]
    assert habits.repeats_none["add"] > RULE_SHARE > habits.repeats_none["multiply"]


def test_a_later_call_must_use_the_result_and_repeat_no_number() -> None:
    limits = NumberHabits.of(WORKS_ON)("add", ["42"], [{"numbers": [6, 7]}])
    assert limits == CopyLimits(unavailable=(6, 7), one_of=frozenset({42}))


def test_a_result_that_a_call_used_is_not_required_again() -> None:
    limits = NumberHabits.of(WORKS_ON)("add", ["42", "50"], [{"numbers": [6, 7]}, {"numbers": [42, 8]}])
    assert limits is not None
    assert limits.one_of == {50}


@pytest.mark.parametrize("few_shot", [[], STARTS_AGAIN, [WORKS_ON[0].model_copy(update={"results": ()})]])
def test_without_the_habit_there_is_no_limit(few_shot: list[FewShotExample]) -> None:
    assert NumberHabits.of(few_shot)("multiply", ["42"], [{"numbers": [6, 7]}]) is None


def test_a_first_call_may_take_any_number() -> None:
    assert NumberHabits.of(WORKS_ON)("add", [], []) is None


def test_numbers_are_found_in_lists_and_strings_but_not_booleans() -> None:
    args = {"numbers": [1, 2.5], "base": "10", "exact": True, "unit": "km", "share": "5%"}
    assert Counter(numbers_of(args)) == Counter([1, 2.5, 10])
