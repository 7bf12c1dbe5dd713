"""Choosing among plans by what they would bring about: each is rehearsed in a copy of the home first."""

import math
from collections.abc import Mapping, Sequence

from toolken.agents.household.plan_decoder import Following, Plan
from toolken.tools.household import HouseholdError, Rehearsal
from toolken.tools.household.toolkens import read_plan


def permitted(following: Following, stage: Rehearsal) -> Following:
    """Narrow down what may follow to steps that the simulator allows after those in front of them.

    A verb narrows down its objects; the verbs themselves are not narrowed down, since each would have to be tried on
    every object. Behind a verb that nothing can be done with, all objects may follow, so that a plan is always written.

    Parameters
    ----------
    following
        What may follow in the scene.
    stage
        A copy of the scene.
    """

    def allowed(written: Sequence[str]) -> list[str]:
        open_ended = list(following(written))
        if not written or not written[-1].startswith("["):
            return open_ended
        steps = read_plan(written[:-1])
        verb = written[-1][1:-1]
        possible = [toolken for toolken in open_ended if stage.possible([*steps, (verb, toolken[1:-1])])]
        return possible or open_ended

    return allowed


def choose_rehearsed(plans: Sequence[Plan], stage: Rehearsal, most_steps: int) -> Plan:
    """Return the plan that most likely brings about what is wanted, if one of the plans is what is wanted.

    What is wanted is not known, but each plan is a guess at it: the states it leaves things in, as likely as the plan.
    The plan is chosen whose first steps can be carried out and reach the most of these guesses, by likelihood. That is
    minimum Bayes risk decoding with the benchmark's success as the gain (Kumar and Byrne 2004, "Minimum Bayes-Risk
    Decoding for Statistical Machine Translation").

    Parameters
    ----------
    plans
        One or more, with their likelihoods.
    stage
        A copy of the home.
    most_steps
        Steps that can be carried out.
    """
    highest = max(plan.log_probability for plan in plans)
    guesses: list[tuple[float, Mapping[int, frozenset[str]]]] = []
    for plan in plans:
        wanted = stage.changes(_steps(plan))
        if wanted:
            guesses.append((math.exp(plan.log_probability - highest), wanted))

    def gain(plan: Plan) -> tuple[bool, float, float]:
        steps = _steps(plan)[:most_steps]
        if not steps or not stage.possible(steps):
            return False, 0.0, plan.log_probability
        after = stage.changes(steps)
        reached = sum(weight for weight, wanted in guesses if wanted.items() <= after.items())
        return True, reached, plan.log_probability

    return max(plans, key=gain)


def _steps(plan: Plan) -> list[tuple[str, str]]:
    """Return a plan's steps, without a last one that is not finished."""
    try:
        return read_plan(plan.toolkens)
    except HouseholdError:
        return read_plan(plan.toolkens[:-1])
