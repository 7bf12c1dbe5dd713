"""`Rehearsal`: a copy of a home in which plans are tried before one is carried out in the home itself."""

from collections.abc import Hashable, Sequence

from toolken.tools.household.errors import HouseholdError
from toolken.tools.household.household import Household
from toolken.tools.household.wording import changes_between

Step = tuple[str, str]
"""Verb and name of the object, such as ("SWITCHON", "kitchen_light")."""

#: Actions that only move the character; where the last of them leads is an effect, the way there is not.
_MOVES = ("WALK", "RUN", "FIND")


class Rehearsal:
    """Tries plans in copies of a home and reports what each would bring about; the home itself does not change.

    Steps that several plans have in common at their beginning are carried out once.

    Parameters
    ----------
    home
        The home as it is when the plans begin; later steps in it are not seen.

    Examples
    --------
    >>> rehearsal = Rehearsal(Household())
    >>> rehearsal.possible([("SWITCHON", "kitchen_light")])
    False
    >>> rehearsal.possible([("WALK", "kitchen_light"), ("SWITCHON", "kitchen_light")])
    True
    """

    def __init__(self, home: Household) -> None:
        self._start = home.copy()
        self._homes: dict[tuple[Step, ...], Household | None] = {(): self._start}
        self._possible: dict[tuple[Step, ...], bool] = {}

    def possible(self, steps: Sequence[Step]) -> bool:
        """Return whether all the steps can be carried out, one after another."""
        key = tuple(steps)
        if key not in self._homes and key not in self._possible:
            home = self._after(key[:-1])
            try:
                self._possible[key] = home is not None and home.permits(*key[-1])
            except HouseholdError:  # an unknown action or object
                self._possible[key] = False
        return self._homes[key] is not None if key in self._homes else self._possible[key]

    def effects(self, steps: Sequence[Step]) -> frozenset[Hashable]:
        """Return what the steps bring about, as a set of facts that can be compared with those of another plan.

        These are the new states of objects and of the character, relations gained and lost, where the character ends
        up, and actions that leave no trace in the scene, such as reading. Steps from the first impossible one on do
        not count.
        """
        done = tuple(steps)
        while (home := self._after(done)) is None:
            done = done[:-1]
        changes = changes_between(self._start.graph, home.graph)
        facts: set[Hashable] = {(id, gained, lost) for id, (lost, gained) in changes.states.items()}
        for kind, edges in (("gained", changes.gained), ("lost", changes.lost)):
            facts.update((kind, edge["from_id"], edge["relation_type"].upper(), edge["to_id"]) for edge in edges)
        place: Hashable = None
        for observation in home.history[len(self._start.history) :]:
            if observation.verb in _MOVES:
                place = ("at", observation.objects)
            elif not (observation.changes.states or observation.changes.gained or observation.changes.lost):
                facts.add((observation.verb, observation.objects))
        return frozenset(facts if place is None else {*facts, place})

    def _after(self, steps: tuple[Step, ...]) -> Household | None:
        """Return a copy of the home after the steps, or None if one of them is impossible."""
        if steps not in self._homes:
            before = self._after(steps[:-1])
            home = None if before is None else before.copy()
            if home is not None:
                try:
                    home.step(*steps[-1])
                except HouseholdError:
                    home = None
            self._homes[steps] = home
        return self._homes[steps]
