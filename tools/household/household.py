"""`Household`: a home in the simulator with one character, who acts one step at a time."""

import copy
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolken.tools.household.actions import PUBLISHED, verb_of
from toolken.tools.household.errors import HouseholdError
from toolken.tools.household.goal import Condition, holds
from toolken.tools.household.naming import meanings, title
from toolken.tools.household.scene import SceneView, check_scene, demo_scene, read_scene
from toolken.tools.household.simulator import SceneGraph, advance, begin, check_arity, graph_of, permits
from toolken.tools.household.wording import Changes, changes_between, done, refused, situation, surroundings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_MEANINGS = 64


@dataclass(frozen=True)
class Observation:
    """The outcome of one action."""

    text: str
    """What the character perceives, in a sentence or two."""
    verb: str
    """The simulator's name of the action."""
    objects: tuple[int, ...]
    """Ids of the nodes that it was applied to."""
    changes: Changes
    """The changes of the scene."""


class Household:
    """A home in which a character acts.

    Actions follow the simulator's rules: one must be near a thing to use it, a hand must be free to take something,
    the television must be plugged in and faced. An impossible action raises an error that says what is missing, and
    changes nothing. One household may be used from several threads; a lock serialises the steps.

    Parameters
    ----------
    scene
        A scene graph in VirtualHome's format, or a path to one; the small flat of the package by default.

    Raises
    ------
    SimulatorMissingError
        If the simulator is not installed.
    HouseholdError
        If the scene cannot be read or run.

    Examples
    --------
    >>> home = Household()
    >>> home.step("walk", "kitchen light").text
    'You walk to the kitchen light. It is off.'
    >>> home.step("switch_on", "kitchen light").text
    'You switch on the kitchen light.'
    >>> home.reached([("kitchen light", "on")])
    True
    """

    def __init__(self, scene: SceneGraph | Mapping[str, Any] | str | Path | None = None) -> None:
        if scene is None:
            graph = demo_scene()
        elif isinstance(scene, str | Path):
            graph = read_scene(scene)
        else:
            graph = check_scene(scene)
        # The newest state is last. The simulator never changes a state, so undoing drops the last ones.
        try:
            self._states = [begin(graph)]
        except (KeyError, ValueError) as error:
            raise HouseholdError(f"The simulator does not know {error} in this scene.") from error
        self._graph = graph_of(self._states[0])
        self._view = SceneView(self._graph)
        self._observations: list[Observation] = []
        self._lock = threading.RLock()

    @property
    def graph(self) -> SceneGraph:
        """The scene as it is now."""
        return self._graph

    @property
    def view(self) -> SceneView:
        """The scene as it is now, indexed."""
        return self._view

    @property
    def history(self) -> tuple[Observation, ...]:
        """The actions since the start or the last reset, without undone ones."""
        return tuple(self._observations)

    def step(self, action: str, *objects: str | int) -> Observation:
        """Carry out one action.

        Parameters
        ----------
        action
            A tool's name ("switch_on") or the simulator's ("SWITCHON"), for any action of the simulator.
        objects
            As many objects as the action takes: words such as "kitchen light", or node ids. If the words can mean
            several things, those held come first, then those used last, near, and in the same room; the first thing
            with which the action is possible is taken.

        Raises
        ------
        HouseholdError
            If the action or an object is unknown, or the action is not possible now.
        """
        verb = verb_of(action)
        check_arity(verb, len(objects))
        with self._lock:
            candidates = self._candidates(objects)
            complaint = ""
            for ids in candidates:
                after, said = advance(self._states[-1], verb, self._named(ids))
                if after is not None:
                    return self._keep(after, verb, ids)
                complaint = complaint or said
            raise HouseholdError(refused(self.view, verb, candidates[0], complaint))

    def _keep(self, after: Any, verb: str, ids: tuple[int, ...]) -> Observation:
        graph = graph_of(after)
        view = SceneView(graph)
        changes = changes_between(self.graph, graph)
        observation = Observation(done(self.view, view, verb, ids), verb, ids, changes)
        self._states.append(after)
        self._observations.append(observation)
        self._graph, self._view = graph, view
        return observation

    def undo(self) -> str:
        """Undo the last action, and return where the character is then.

        Raises
        ------
        HouseholdError
            If there is no action to undo.
        """
        with self._lock:
            if not self._observations:
                raise HouseholdError("There is nothing to undo: no action was done since the start.")
            return self._go_back(len(self._observations) - 1)

    def reset(self) -> str:
        """Return the home to its start, and return where the character is then."""
        with self._lock:
            return self._go_back(0)

    def _go_back(self, steps: int) -> str:
        del self._states[steps + 1 :], self._observations[steps:]
        self._graph = graph_of(self._states[-1])
        self._view = SceneView(self._graph)
        return self.observe()

    def observe(self, most: int = 25) -> str:
        """Return where the character is, what it holds and what it sees, in words.

        Parameters
        ----------
        most
            Maximum number of visible things to list.
        """
        return f"{situation(self.view)} {surroundings(self.view, most)}"

    def objects_in_view(self) -> list[str]:
        """Return the names of visible objects: in this room and in no closed container, or in the hand."""
        view = self.view
        return [title(view, id) for id in view.in_view()]

    def legal_actions(self, verbs: Sequence[str] | None = None) -> list[tuple[str, str]]:
        """Return the actions that the simulator allows now, on the rooms and the objects in view.

        Parameters
        ----------
        verbs
            Names of actions with one object; the published 25 by default.

        Returns
        -------
        list of (str, str)
            Name of the action as given (the tool's by default) and name of the object.
        """
        with self._lock:
            view, state = self.view, self._states[-1]
            names = {verb: verb_of(verb) for verb in verbs or [action.tool for action in PUBLISHED]}
            for verb in names.values():
                check_arity(verb, 1)
            targets = [*view.rooms(), *view.in_view()]
            return [
                (name, title(view, id))
                for name, verb in names.items()
                for id in targets
                if permits(state, verb, self._named((id,)))
            ]

    def permits(self, action: str, *objects: str | int) -> bool:
        """Return whether an action is possible now, without doing it.

        Parameters
        ----------
        action, objects
            As for `step`.

        Raises
        ------
        HouseholdError
            If the action or an object is unknown.
        """
        verb = verb_of(action)
        check_arity(verb, len(objects))
        with self._lock:
            return any(permits(self._states[-1], verb, self._named(ids)) for ids in self._candidates(objects))

    def copy(self) -> "Household":
        """Return a copy in the same state, with the same history; a step in one does not change the other."""
        with self._lock:
            twin = copy.copy(self)
            twin._states, twin._observations = list(self._states), list(self._observations)
            twin._lock = threading.RLock()
            return twin

    def enabling(self, action: str, *objects: str | int, verbs: Sequence[str] | None = None) -> list[tuple[str, str]]:
        """Return the actions after which a currently impossible action would be possible.

        Every action that is legal now is simulated, and the impossible one after it; the home does not change. The
        result is empty if no single action is enough.

        Parameters
        ----------
        action, objects
            The impossible action, as for `step`.
        verbs
            Names of the actions to try, as for `legal_actions`.

        Returns
        -------
        list of (str, str)
            As `legal_actions` returns them.

        Raises
        ------
        HouseholdError
            If the action or an object is unknown.

        Examples
        --------
        >>> home = Household()
        >>> done = home.step("walk", "television"), home.step("unplug", "television")
        >>> home.enabling("switch_on", "television")
        [('plug_in', 'television')]
        """
        verb = verb_of(action)
        check_arity(verb, len(objects))
        with self._lock:
            wanted = [self._named(ids) for ids in self._candidates(objects)]
            found = []
            for name, words in self.legal_actions(verbs):
                ids = self._candidates([words])[0]
                after = advance(self._states[-1], verb_of(name), self._named(ids)).state
                if after is not None and any(permits(after, verb, named) for named in wanted):
                    found.append((name, words))
            return found

    def unmet(self, goal: Sequence[Condition]) -> list[Condition]:
        """Return the conditions of a goal that do not hold now.

        Parameters
        ----------
        goal
            Conditions such as ("kitchen light", "on"), ("novel", "on", "bed") or ("you", "holding", "phone").
            If words can mean several things, one of them is enough.

        Raises
        ------
        HouseholdError
            If a condition names an unknown thing, state or relation.
        """
        return [condition for condition in goal if not holds(self.view, condition)]

    def reached(self, goal: Sequence[Condition]) -> bool:
        """Return whether every condition of a goal holds now; see `unmet`."""
        return not self.unmet(goal)

    def picture(self, path: str | Path | None = None, *, since: int = 0) -> "Figure":
        """Draw the scene graph before and after, with what changed; see `toolken.tools.household.picture`.

        Parameters
        ----------
        path
            Where to save the picture (.png, .svg or .pdf), if anywhere.
        since
            Number of steps before the first picture; -1 is before the last step.
        """
        from toolken.tools.household.picture import draw_change

        steps = len(self._observations)
        if not -steps <= since <= steps:
            raise HouseholdError(
                f"since={since} is not possible after {steps} steps; give one from {-steps} to {steps}."
            )
        before = graph_of(self._states[since if since >= 0 else steps + since])
        return draw_change(before, self.graph, path)

    def _named(self, ids: Sequence[int]) -> list[tuple[str, int]]:
        return [(self.view.nodes[id]["class_name"], id) for id in ids]

    def _candidates(self, objects: Sequence[str | int]) -> list[tuple[int, ...]]:
        """Return the node ids that the objects can mean, the preferred ones first."""
        view = self.view
        held, near = set(view.held()), view.near()
        here = view.room_of(view.character)
        last = {id: turn for turn, step in enumerate(self._observations, 1) for id in step.objects}

        def order(id: int) -> tuple[bool, int, bool, bool, int]:
            return (id not in held, -last.get(id, 0), id not in near, view.room_of(id) != here, id)

        columns: list[list[int]] = []
        for wanted in objects:
            if isinstance(wanted, int):
                if wanted not in view.nodes:
                    raise HouseholdError(f"There is no node {wanted} in this home; ids go up to {max(view.nodes)}.")
                columns.append([wanted])
            else:
                columns.append(sorted(meanings(view, wanted), key=order))
        candidates = [ids for ids in product(*columns) if len(set(ids)) == len(ids)]
        if not candidates:
            raise HouseholdError(f"An action cannot be applied to {objects[0]!r} twice; name two different things.")
        return candidates[:_MOST_MEANINGS]
