"""The published metrics: how good a plan is for a household task."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from toolken.tools.household.errors import HouseholdError
from toolken.tools.household.simulator import advance, begin, states_of
from toolken.tools.household.tasks import HouseholdTask
from toolken.tools.household.toolkens import VERBS, plan_lines, read_step

MOST_STEPS = 8
"""A plan counts up to its eighth step, as published."""


@dataclass(frozen=True)
class PlanScore:
    """How good one plan is."""

    grounded: bool
    """It has only verbs of the 58 toolkens and objects of the scene, each verb with its object."""
    executable: bool
    """It is grounded and the simulator carries out every step."""
    success: bool
    """It is executable, and at the end every node the reference plan changes is in the state the reference leaves.

    Never so for a task whose reference changes nothing.
    """
    success_relaxed: bool
    """Some first part of it, of at least one step, is a success."""
    complaint: str
    """What was wrong: why it is not grounded or not executable. Empty when it is both."""


def score_plan(task: HouseholdTask, plan: Sequence[str], *, most_steps: int = MOST_STEPS) -> PlanScore:
    """Score one plan for a task.

    Objects are named, not numbered, so the simulator chooses which one of a name is meant: the first that can be
    walked to or found, and that one from then on.

    Parameters
    ----------
    task
        The task; its initial graph is where the plan is carried out.
    plan
        Toolkens or script lines; what comes after [END] does not count, nor what comes after the last step that does.
    most_steps
        How many steps count.
    """
    steps, complaint = _ground(task, plan, most_steps)
    state = begin(task.initial, by_name=True)
    reached: list[bool] = []
    for verb, name in steps:
        outcome = advance(state, verb, [(name, 1)])
        if outcome.state is None:
            return PlanScore(not complaint, False, False, any(reached), complaint or outcome.complaint)
        state = outcome.state
        reached.append(bool(task.goal) and all(states_of(state, id) == wanted for id, wanted in task.goal.items()))
    if complaint or not steps:
        return PlanScore(False, False, False, any(reached), complaint or "The plan has no steps.")
    return PlanScore(True, True, reached[-1], any(reached), "")


def score_plans(tasks: Sequence[HouseholdTask], plans: Sequence[Sequence[str]]) -> dict[str, float]:
    """Score a plan for each task.

    Returns
    -------
    dict of str to float
        The fractions of plans that are grounding, executable, success and success_relaxed.

    Raises
    ------
    HouseholdError
        If there are no tasks, or not as many plans as tasks.
    """
    if not tasks or len(tasks) != len(plans):
        raise HouseholdError(f"{len(tasks)} tasks and {len(plans)} plans were given; give one plan for each task.")
    scores = [score_plan(task, plan) for task, plan in zip(tasks, plans, strict=True)]
    return {
        "grounding": fmean(score.grounded for score in scores),
        "executable": fmean(score.executable for score in scores),
        "success": fmean(score.success for score in scores),
        "success_relaxed": fmean(score.success_relaxed for score in scores),
    }


def _ground(task: HouseholdTask, plan: Sequence[str], most_steps: int) -> tuple[list[tuple[str, str]], str]:
    """The steps up to the first that is not grounded, and what is wrong with that one."""
    names = {node["class_name"] for node in task.initial["nodes"]}
    steps: list[tuple[str, str]] = []
    for line in plan_lines(plan)[:most_steps]:
        try:
            verb, name = read_step(line)
        except HouseholdError as error:
            return steps, str(error)
        if f"[{verb}]" not in VERBS:
            return steps, f"[{verb}] is not one of the toolkens."
        if name not in names:
            return steps, f"There is no {name!r} in this scene."
        steps.append((verb, name))
    return steps, ""
