"""A request becomes a plan that names what the home has; what goes wrong while it is carried out is planned anew."""

import copy
from collections.abc import Callable

import pytest

from toolken import FrozenLM, HouseholdPlanner
from toolken.agents.plan_choice import choose_rehearsed, permitted
from toolken.agents.planning import Plan
from toolken.errors import HeadError
from toolken.tools.household import Household, HouseholdTask, Rehearsal, demo_scene
from toolken.tools.household.toolkens import VERBS, next_toolkens

pytest.importorskip("virtualhome_eval", reason="the VirtualHome simulator is not installed")

BuildLM = Callable[..., FrozenLM]


def task(title: str, *steps: str) -> HouseholdTask:
    toolkens = (*(toolken for step in steps for toolken in step.split()), "[END]")
    return HouseholdTask(title, "flat", title, "", (), toolkens, demo_scene())


#: The last plan cannot be carried out: the television is out of reach.
TASKS = [
    task("Have a seat.", "[WALK] <couch>", "[SIT] <couch>"),
    task("Watch TV.", "[WALK] <television>", "[SWITCHON] <television>"),
    task("Light the screen.", "[SWITCHON] <television>"),
]


@pytest.fixture(scope="module")
def planner(build_lm: BuildLM, module_background: None) -> HouseholdPlanner:
    return HouseholdPlanner.fit(build_lm(context=1024), TASKS)


def test_a_plan_has_verbs_and_objects_that_the_home_has_and_leaves_the_home_alone(planner: HouseholdPlanner) -> None:
    home = Household()
    for one in TASKS:
        plan = planner.plan(home, one.title)
        assert all(f"[{verb}]" in VERBS and name in ("couch", "television") for verb, name in plan)
    assert home.history == ()


def test_what_is_done_is_done_in_the_home_and_a_failed_step_is_followed_by_a_possible_one(
    planner: HouseholdPlanner,
) -> None:
    home = Household()
    failed, failures = None, 0
    done = []
    for step in planner.carry_out(home, "Light the screen.", most_steps=6):
        if failed is not None:
            assert (step.verb, step.object) != (failed.verb, failed.object)
            assert step.observation is not None
        failed = None if step.observation is not None else step
        if failed is not None:
            assert failed.complaint
            failures += 1
        else:
            done.append(step.observation)
    assert home.history == tuple(done)
    assert failures, "a random LM's plans hardly ever work at the first try"


def test_a_step_that_one_other_makes_possible_is_done_behind_it(planner: HouseholdPlanner) -> None:
    home = Household()
    home.step("walk", "television")
    home.step("unplug", "television")
    toolkens = ["[SWITCHON]", "<television>", "[END]"]
    begun = len(home.history)
    steps = list(_following(planner, toolkens).carry_out(home, "Light the screen.", most_steps=3))
    assert [(step.verb, step.object) for step in steps] == [
        ("SWITCHON", "television"),
        ("PLUGIN", "television"),
        ("SWITCHON", "television"),
    ]
    assert "plug it in first" in steps[0].complaint
    assert len(home.history) == begun + 2
    assert home.reached([("television", "on")])


def _following(planner: HouseholdPlanner, toolkens: list[str]) -> HouseholdPlanner:
    """Return the planner with a decoder that begins with a given plan; what mends it, the planner decides."""
    follower = copy.copy(planner)
    decoder = planner._decoder

    class Begun:
        def decode(self, tasks, **options):  # type: ignore[no-untyped-def]
            if tasks[0].begun == () and not follower_begun:
                follower_begun.append(True)
                return [[Plan(tuple(toolkens), 0.0)]]
            return decoder.decode(tasks, **options)

    follower_begun: list[bool] = []
    follower._decoder = Begun()  # type: ignore[assignment]
    return follower


def test_no_tasks_and_a_head_without_toolkens_are_refused(planner: HouseholdPlanner, build_lm: BuildLM) -> None:
    lm = build_lm(context=1024)
    with pytest.raises(HeadError, match="cannot be fitted without tasks"):
        HouseholdPlanner.fit(lm, [])
    head = planner.head.without_tools(["[END]"])
    with pytest.raises(HeadError, match=r"\[END\]"):
        HouseholdPlanner(lm, head)


def plan(log_probability: float, *steps: str) -> Plan:
    return Plan(tuple(toolken for step in steps for toolken in step.split()), log_probability)


def test_the_plan_is_chosen_that_reaches_most_of_what_the_others_want() -> None:
    stage = Rehearsal(demo_scene())
    look = plan(-1.0, "[WALK] <television>")
    impossible = plan(-1.1, "[SWITCHON] <television>")
    on = plan(-1.2, "[WALK] <television>", "[SWITCHON] <television>")
    both = plan(-1.5, "[WALK] <television>", "[SWITCHON] <television>", "[WALK] <couch>", "[SIT] <couch>")
    assert choose_rehearsed([look, impossible, on, both], stage, 8) is both
    assert choose_rehearsed([look, impossible, on, both], stage, 2) is on
    assert choose_rehearsed([look, impossible], stage, 8) is look
    assert choose_rehearsed([impossible], stage, 8) is impossible


def test_only_steps_that_the_simulator_allows_may_follow() -> None:
    scene = demo_scene()
    allowed = permitted(lambda written: next_toolkens(written, scene), Rehearsal(scene))
    assert "<couch>" in allowed(["[WALK]"])
    assert "<couch>" in allowed(["[WALK]", "<couch>", "[SIT]"])
    assert "<television>" not in allowed(["[WALK]", "<couch>", "[SIT]"])
    assert "[END]" in allowed(["[WALK]", "<couch>"])
