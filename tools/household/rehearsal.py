"""Rehearsing plans: what comes of each, and which steps are possible, before anything is done in the home itself."""

from collections.abc import Mapping, Sequence

from toolken.tools.household.simulator import Outcome, SceneGraph, advance, begin, states_of

Step = tuple[str, str]
"""Verb and class name of the object, such as ("SWITCHON", "computer")."""


class Rehearsal:
    """A copy of a scene in which plans are tried; a beginning that several plans share is carried out once.

    Objects are named, not numbered, as in `score_plan`: the simulator chooses the first of a name that can be reached.

    Parameters
    ----------
    graph
        The scene the plans begin in.
    """

    def __init__(self, graph: SceneGraph) -> None:
        self._outcomes: dict[tuple[Step, ...], Outcome] = {(): Outcome(begin(graph, by_name=True), "")}
        self._ids = [node["id"] for node in graph["nodes"]]
        self._before = {id: states_of(self._outcomes[()].state, id) for id in self._ids}

    def after(self, steps: Sequence[Step]) -> Outcome:
        """Return the simulator's state after some steps, or None and what it said to the first that is impossible."""
        key = tuple(steps)
        if key not in self._outcomes:
            before = self.after(key[:-1])
            verb, name = key[-1]
            self._outcomes[key] = before if before.state is None else advance(before.state, verb, [(name, 1)])
        return self._outcomes[key]

    def possible(self, steps: Sequence[Step]) -> bool:
        """Whether all the steps can be carried out, one after another."""
        return self.after(steps).state is not None

    def changes(self, steps: Sequence[Step]) -> Mapping[int, frozenset[str]]:
        """Return the nodes whose states the steps change, by id, with the states they end up in.

        Where a step is impossible, the steps in front of it count.
        """
        done = list(steps)
        while self.after(done).state is None:
            done.pop()
        state = self.after(done).state
        found = {id: states_of(state, id) for id in self._ids}
        return {id: states for id, states in found.items() if states != self._before[id]}
