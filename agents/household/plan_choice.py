"""Choice among plans: each candidate is rehearsed, and the plan with the greatest expected utility is taken."""

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from typing import Protocol

from toolken.agents.household.plan_decoder import Following, Plan, PlanDecoder, PlanTask
from toolken.tools.household import HouseholdError
from toolken.tools.household.toolkens import read_plan

Effects = frozenset[Hashable]
"""What a plan brings about, as a set of facts."""

Utility = Callable[[Effects, Effects], float]
"""How well a request is served, from 0 to 1, given the effects that were wanted and those of a plan."""


class Simulation(Protocol):
    """A place to try plans in, such as `Rehearsal`; every plan begins in the same state of the home."""

    def possible(self, steps: Sequence[tuple[str, str]]) -> bool:
        """Return whether all the steps can be carried out, one after another."""

    def effects(self, steps: Sequence[tuple[str, str]]) -> Effects:
        """Return what the steps up to the first impossible one bring about."""


def overlap(wanted: Effects, reached: Effects) -> float:
    """Return the Jaccard index of two sets of effects: missing effects and unwanted ones both lower it."""
    together = wanted | reached
    return len(wanted & reached) / len(together) if together else 1.0


def rehearsed_plans(
    decoder: PlanDecoder,
    tasks: Sequence[PlanTask],
    simulations: Sequence[Simulation],
    *,
    candidates: int,
    beams: int = 1,
    most_steps: int,
    most_toolkens: int,
    utility: Utility = overlap,
) -> list[Plan]:
    """Decode several candidate plans per task, and return the one that `choose_plan` chooses.

    Each object is decided among those with which the step is possible after the steps before it.

    Parameters
    ----------
    decoder
        The decoder of the head.
    tasks, simulations
        The tasks, and for each the simulation of its home. A task's plan begins where its simulation does.
    candidates
        Plans to rehearse per task.
    beams
        Beams of the search, if more than candidates.
    most_steps
        Steps of a plan that can be carried out.
    most_toolkens
        Toolkens after which a plan ends in any case.
    utility
        As for `choose_plan`.

    Raises
    ------
    PromptTooLongError
        If a plan no longer fits the LM's context.
    """
    restricted = [
        replace(task, following=possible_next(task.following, simulation))
        for task, simulation in zip(tasks, simulations, strict=True)
    ]
    found = decoder.decode(restricted, beams=max(beams, candidates), most_toolkens=most_toolkens)
    return [
        choose_plan(plans[:candidates], simulation, most_steps, utility)
        for plans, simulation in zip(found, simulations, strict=True)
    ]


def possible_next(following: Following, simulation: Simulation) -> Following:
    """Return `following` without the objects with which a step is impossible after the steps before it.

    Verbs are not filtered, since each would have to be tried with every object. If a verb is possible with no object,
    all of its objects may follow, so that every plan can be completed.

    Parameters
    ----------
    following
        What may follow in the scene.
    simulation
        Where the steps are tried.
    """

    def allowed(written: Sequence[str]) -> list[str]:
        named = list(following(written))
        if not written or not written[-1].startswith("["):
            return named
        steps = read_plan(written[:-1])
        verb = written[-1][1:-1]
        possible = [toolken for toolken in named if simulation.possible([*steps, (verb, toolken[1:-1])])]
        return possible or named

    return allowed


def choose_plan(plans: Sequence[Plan], simulation: Simulation, most_steps: int, utility: Utility = overlap) -> Plan:
    """Return the plan with the greatest expected utility among those that can be carried out.

    Which effects are wanted is unknown; the effects of each plan are a hypothesis about them, as probable as the plan.
    The expected utility of a plan is the mean over these hypotheses, which is minimum Bayes risk decoding (Kumar and
    Byrne 2004, "Minimum Bayes-Risk Decoding for Statistical Machine Translation"). Equally useful plans are ranked by
    probability, and so are the plans if none can be carried out.

    Parameters
    ----------
    plans
        At least one.
    simulation
        Where the plans are tried.
    most_steps
        Steps that can be carried out: of a longer plan only the first ones are judged.
    utility
        The value of a plan's effects if others are wanted.
    """
    highest = max(plan.log_probability for plan in plans)
    hypotheses = [
        (math.exp(plan.log_probability - highest), simulation.effects(_complete_steps(plan))) for plan in plans
    ]

    def rank(plan: Plan) -> tuple[bool, float, float]:
        steps = _complete_steps(plan)[:most_steps]
        if not steps or not simulation.possible(steps):
            return False, 0.0, plan.log_probability
        reached = simulation.effects(steps)
        expected = sum(weight * utility(wanted, reached) for weight, wanted in hypotheses)
        return True, expected, plan.log_probability

    return max(plans, key=rank)


def _complete_steps(plan: Plan) -> list[tuple[str, str]]:
    """Return a plan's steps without a last verb that has no object."""
    try:
        return read_plan(plan.toolkens)
    except HouseholdError:
        return read_plan(plan.toolkens[:-1])
