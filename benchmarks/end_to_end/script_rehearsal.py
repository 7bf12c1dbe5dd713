"""`ScriptRehearsal`: rehearses plans as `score_plan` runs them, with objects named as in a published script."""

from collections.abc import Sequence

from toolken.agents.household.plan_choice import Effects
from toolken.tools.household.simulator import Outcome, SceneGraph, advance, begin, states_of

Step = tuple[str, str]
"""Verb and class name of the object, such as ("SWITCHON", "computer")."""


class ScriptRehearsal:
    """Simulates plans in a scene; only object states count as effects, as in the published metrics.

    For a name shared by several objects, the simulator takes the first that can be walked to or found. `Rehearsal`
    instead tries every object of that name, as `Household` does. Common prefixes of plans are simulated once.

    Parameters
    ----------
    graph
        The initial scene.
    """

    def __init__(self, graph: SceneGraph) -> None:
        self._outcomes: dict[tuple[Step, ...], Outcome] = {(): Outcome(begin(graph, by_name=True), "")}
        self._ids = [node["id"] for node in graph["nodes"]]
        self._before = {id: states_of(self._outcomes[()].state, id) for id in self._ids}

    def possible(self, steps: Sequence[Step]) -> bool:
        """Return whether the steps are executable in sequence."""
        return self._after(tuple(steps)).state is not None

    def effects(self, steps: Sequence[Step]) -> Effects:
        """Return (node id, new states) per node whose states the steps up to the first impossible one change."""
        done = tuple(steps)
        while self._after(done).state is None:
            done = done[:-1]
        state = self._after(done).state
        found = ((id, states_of(state, id)) for id in self._ids)
        return frozenset((id, states) for id, states in found if states != self._before[id])

    def _after(self, steps: tuple[Step, ...]) -> Outcome:
        """Return the state after the steps, or the outcome of the first impossible one."""
        if steps not in self._outcomes:
            before = self._after(steps[:-1])
            verb, name = steps[-1]
            self._outcomes[steps] = before if before.state is None else advance(before.state, verb, [(name, 1)])
        return self._outcomes[steps]
