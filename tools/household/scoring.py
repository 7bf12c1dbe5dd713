"""The published metrics of a plan for a household task."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from toolken.tools.household.errors import HouseholdError
from toolken.tools.household.simulator import advance, begin, states_of
from toolken.tools.household.tasks import HouseholdTask
from toolken.tools.household.toolkens import VERBS, plan_lines, read_step

MOST_STEPS = 8
"""Only the first eight steps of a plan count, as published."""


@dataclass(frozen=True)
class PlanScore:
    """The metrics of one plan."""

    grounded: bool
    """Whether it has only verbs of the 58 toolkens and objects of the scene, each verb with its object."""
    executable: bool
    """Whether it is grounded and the simulator carries out every step."""
    success: bool
    """Whether it is executable and leaves every node that the reference plan changes in the reference's final state.

    False for a task whose reference plan changes nothing.
    """
    success_relaxed: bool
    """Whether the state after any of its steps is a success."""
    complaint: str
    """Why it is not grounded or not executable; empty if it is both."""


def score_plan(task: HouseholdTask, plan: Sequence[str], *, most_steps: int = MOST_STEPS) -> PlanScore:
    """Score one plan for a task.

    Objects have names but no numbers, so the simulator resolves a name to the first object of that name that can be
    walked to or found, and to the same object from then on.

    Parameters
    ----------
    task
        The task; the plan is carried out in its initial graph.
    plan
        Toolkens or script lines; what follows [END] is ignored.
    most_steps
        Number of steps that count; later ones are ignored.
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
    """Score one plan per task.

    Returns
    -------
    dict of str to float
        Fractions of plans, under "grounding", "executable", "success" and "success_relaxed".

    Raises
    ------
    HouseholdError
        If there are no tasks, or the numbers of plans and tasks differ.
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
    """Return the steps before the first ungrounded one, and the complaint about that one."""
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
