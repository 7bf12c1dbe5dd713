"""Plans name what the home has, failed steps are repaired or replaced, and candidates are rehearsed first."""

import copy
import itertools
from collections.abc import Callable, Iterator, Sequence

import pytest

from toolken import FrozenLM, HouseholdPlanner
from toolken.agents.household.plan_choice import choose_plan, possible_next
from toolken.agents.household.plan_decoder import Plan
from toolken.agents.household.planner import fit_plans
from toolken.agents.household.plans import plan_example
from toolken.errors import HeadError
from toolken.tools.household import Household, HouseholdError, HouseholdTask, Rehearsal, demo_scene
from toolken.tools.household.toolkens import END, VERBS, next_toolkens

pytest.importorskip("virtualhome_eval", reason="the VirtualHome simulator is not installed")

BuildLM = Callable[..., FrozenLM]
LARGE = 4096


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
    return HouseholdPlanner.fit(build_lm(context=LARGE), TASKS)


def test_a_plan_has_verbs_and_objects_that_the_home_has_and_leaves_the_home_alone(planner: HouseholdPlanner) -> None:
    home = Household()
    for one in TASKS:
        plan = planner.plan(home, one.title)
        assert all(f"[{verb}]" in VERBS and name in ("couch", "television") for verb, name in plan)
    assert home.history == ()


def test_steps_are_carried_out_in_the_home_and_a_failed_step_is_followed_by_a_possible_one(
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


def test_a_step_that_one_other_makes_possible_is_carried_out_after_it(planner: HouseholdPlanner) -> None:
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
    """Return the planner with a decoder whose first plan is given; the repair of the plan is decoded."""
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
    lm = build_lm(context=LARGE)
    with pytest.raises(HeadError, match="cannot be fitted without tasks"):
        HouseholdPlanner.fit(lm, [])
    head = planner.head.without_tools(["[END]"])
    with pytest.raises(HeadError, match=r"\[END\]"):
        HouseholdPlanner(lm, head)


def plan(log_probability: float, *steps: str) -> Plan:
    return Plan(tuple(toolken for step in steps for toolken in step.split()), log_probability)


LOOK = ("[WALK] <television>",)
IMPOSSIBLE = ("[SWITCHON] <television>",)
ON = ("[WALK] <television>", "[SWITCHON] <television>")
BOTH = (*ON, "[WALK] <couch>", "[SIT] <couch>")
READ = ("[WALK] <novel>", "[GRAB] <novel>", "[READ] <novel>")


def chosen(*plans: Plan, most_steps: int = 8) -> Plan:
    return choose_plan(plans, Rehearsal(Household()), most_steps)


def test_the_plan_is_chosen_whose_effects_agree_most_with_those_of_the_candidates() -> None:
    # Two less probable plans with the same effects outweigh the likeliest one.
    found = Plan(("[FIND]", "<television>", "[SWITCHON]", "<television>", "[END]"), -1.2)
    assert chosen(plan(-1.0, *LOOK), plan(-1.2, *ON), found) in (plan(-1.2, *ON), found)


def test_the_likeliest_possible_plan_is_chosen_over_an_impossible_one() -> None:
    assert chosen(plan(-0.1, *IMPOSSIBLE), plan(-3.0, *ON)) == plan(-3.0, *ON)
    assert chosen(plan(-0.1, *IMPOSSIBLE)) == plan(-0.1, *IMPOSSIBLE)
    assert chosen(plan(-1.0, *ON), plan(-0.5, *LOOK, *IMPOSSIBLE, "[SIT] <television>")) == plan(-1.0, *ON)


def test_side_effects_that_few_candidates_have_are_avoided() -> None:
    for order in ((plan(-0.1, *ON), plan(-3.0, *BOTH)), (plan(-3.0, *BOTH), plan(-0.1, *ON))):
        assert chosen(*order) == plan(-0.1, *ON)


def test_an_action_that_leaves_no_trace_counts_as_an_effect() -> None:
    """Reading changes no state, but a plan to read is not outweighed by an improbable one that switches something."""
    assert chosen(plan(-0.1, *READ), plan(-4.0, *ON)) == plan(-0.1, *READ)
    assert chosen(plan(-1.0, *READ[:2]), plan(-0.9, *READ)) == plan(-0.9, *READ)


def test_a_plan_is_judged_by_the_steps_that_can_be_carried_out() -> None:
    assert chosen(plan(-1.0, *BOTH), plan(-1.2, *ON), most_steps=2) == plan(-1.0, *BOTH)
    unfinished = Plan(("[WALK]", "<television>", "[SWITCHON]"), -0.5)
    assert chosen(unfinished, plan(-3.0, *IMPOSSIBLE)) == unfinished


def test_only_objects_with_which_a_step_is_possible_may_follow() -> None:
    scene = demo_scene()
    allowed = possible_next(lambda written: next_toolkens(written, scene), Rehearsal(Household()))
    assert "<couch>" in allowed(["[WALK]"])
    assert "<couch>" in allowed(["[WALK]", "<couch>", "[SIT]"])
    assert "<television>" not in allowed(["[WALK]", "<couch>", "[SIT]"])
    assert "[END]" in allowed(["[WALK]", "<couch>"])
    assert "<couch>" in allowed(["[DRINK]"]), "no object is possible, and the plan must go on"


@pytest.fixture(scope="module")
def small_planner(build_lm: BuildLM, module_background: None) -> HouseholdPlanner:
    """A planner with so few verbs that some of a random LM's candidates can be carried out."""
    lm = build_lm(context=LARGE)
    toolkens = ("[WALK]", "[FIND]", "[SWITCHON]", "[SWITCHOFF]", "<couch>", "<television>", "<kitchen_light>", END)
    examples = [plan_example(task.prompt(), task.toolkens) for task in (TASKS[1], TASKS[2])]
    return HouseholdPlanner(lm, fit_plans(lm, examples, toolkens))


def possible(home: Household, steps: Sequence[tuple[str, str]]) -> bool:
    home = home.copy()
    try:
        for verb, name in steps:
            home.step(verb, name)
    except HouseholdError:
        return False
    return bool(steps)


def homes() -> Iterator[tuple[Household, str]]:
    for room, request in itertools.product(("kitchen", "bedroom", "living room"), ("Watch TV.", "Light.", "Go.")):
        home = Household()
        home.step("walk", room)
        yield home, request


def test_rehearsed_plans_work_more_often_in_the_home_as_it_is_now(small_planner: HouseholdPlanner) -> None:
    plain = rehearsed = 0
    for home, request in homes():
        before = home.graph
        plain += possible(home, small_planner.plan(home, request))
        rehearsed += possible(home, small_planner.plan(home, request, candidates=8))
        assert home.graph == before
        assert len(home.history) == 1
    assert rehearsed > plain


def test_with_candidates_the_rehearsed_plan_is_carried_out(small_planner: HouseholdPlanner) -> None:
    worked = 0
    for home, request in homes():
        expected = small_planner.plan(home, request, candidates=8)
        if possible(home, expected):
            worked += 1
            done = list(small_planner.carry_out(home, request, candidates=8))
            assert [(step.verb, step.object) for step in done] == expected
            assert not any(step.complaint for step in done)
    assert worked


def test_a_plan_ends_with_a_complete_step_however_long_it_grows(planner: HouseholdPlanner) -> None:
    home = Household()
    steps = list(planner.carry_out(home, "Point.", most_steps=45))
    assert len(steps) <= 45
    assert len(planner.plan(home, "Point.")) <= 20


def test_one_candidate_is_the_likeliest_plan(planner: HouseholdPlanner) -> None:
    home = Household()
    for one in TASKS:
        assert planner.plan(home, one.title, candidates=1) == planner.plan(home, one.title)


def test_numbers_of_candidates_and_beams_below_one_are_refused(planner: HouseholdPlanner) -> None:
    with pytest.raises(HeadError, match="candidates=0"):
        planner.plan(Household(), "Watch TV.", candidates=0)
    with pytest.raises(HeadError, match="candidates=-1"):
        list(planner.carry_out(Household(), "Watch TV.", candidates=-1))
    with pytest.raises(HeadError, match="beams=0"):
        HouseholdPlanner(planner._decoder.lm, planner.head, beams=0)
