"""A rehearsal predicts which plans are possible and which effects they have, and does not change the home."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolken.tools.household import Household, HouseholdError, Rehearsal

pytest.importorskip("virtualhome_eval", reason="the VirtualHome simulator is not installed")

VERBS = ("WALK", "FIND", "SIT", "STANDUP", "GRAB", "DROP", "SWITCHON", "SWITCHOFF", "PUTOBJBACK", "READ", "PLUGOUT")
OBJECTS = ("couch", "television", "novel", "kitchen_light", "kitchen", "unicorn")


def test_a_rehearsal_predicts_a_plan_and_leaves_the_home_as_it_is() -> None:
    home = Household()
    rehearsal = Rehearsal(home)
    sit = [("WALK", "couch"), ("SIT", "couch")]
    assert rehearsal.possible([])
    assert rehearsal.possible(sit)
    assert not rehearsal.possible([*sit, ("WALK", "kitchen")])
    assert not rehearsal.possible([("SIT", "couch"), ("WALK", "couch")])
    assert not rehearsal.possible([("WALK", "unicorn")])
    assert not rehearsal.possible([("LEVITATE", "couch")])
    assert rehearsal.effects([*sit, ("WALK", "kitchen"), ("WALK", "couch")]) == rehearsal.effects(sit)
    assert rehearsal.effects([]) == frozenset()
    assert home.graph == Household().graph
    assert home.history == ()


def test_effects_are_equal_for_plans_that_reach_the_same_and_differ_otherwise() -> None:
    rehearsal = Rehearsal(Household())
    light = [("WALK", "kitchen_light"), ("SWITCHON", "kitchen_light")]
    assert rehearsal.effects(light) == rehearsal.effects([("WALK", "bedroom"), *light])
    assert rehearsal.effects(light) == rehearsal.effects([("FIND", "kitchen_light"), *light[1:]])
    assert rehearsal.effects(light) == rehearsal.effects([*light, ("SWITCHOFF", "kitchen_light"), *light[1:]])
    take = [("WALK", "novel"), ("GRAB", "novel")]
    found = [rehearsal.effects(plan) for plan in (light, light[:1], take, take[:1], [*take, ("READ", "novel")])]
    assert len(set(found)) == len(found)


def test_a_rehearsal_starts_in_the_home_as_it_is_then() -> None:
    home = Household()
    home.step("walk", "kitchen light")
    rehearsal = Rehearsal(home)
    assert rehearsal.possible([("SWITCHON", "kitchen_light")])
    home.step("switch_on", "kitchen light")
    assert not Rehearsal(home).possible([("SWITCHON", "kitchen_light")])
    assert rehearsal.possible([("SWITCHON", "kitchen_light")])


def test_a_copy_of_a_home_is_independent() -> None:
    home = Household()
    home.step("walk", "couch")
    twin = home.copy()
    assert twin.permits("sit", "couch")
    assert not twin.permits("sit", "television")
    twin.step("sit", "couch")
    assert home.permits("sit", "couch")
    assert [len(home.history), len(twin.history)] == [1, 2]
    twin.reset()
    assert len(home.history) == 1
    with pytest.raises(HouseholdError, match="no action"):
        home.permits("levitate", "couch")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(VERBS), st.sampled_from(OBJECTS)), max_size=6))
def test_a_rehearsal_agrees_with_the_home(steps: list[tuple[str, str]]) -> None:
    rehearsal, home = Rehearsal(Household()), Household()
    works = True
    for at, step in enumerate(steps, 1):
        if works:
            try:
                home.step(*step)
            except HouseholdError:
                works = False
        assert rehearsal.possible(steps[:at]) == works
