"""The household: a home in the simulator with one character in it who acts, one step at a time."""

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

_MOST_READINGS = 64


@dataclass(frozen=True)
class Observation:
    """What came of one action."""

    text: str
    """What the character is told."""
    verb: str
    """The simulator's name of the action."""
    objects: tuple[int, ...]
    """Ids of the nodes it was done to."""
    changes: Changes
    """What is different in the scene."""


class Household:
    """A home that can be acted in.

    Actions follow the simulator's rules: one must be near a thing to use it, a hand must be free to take something,
    the television must be plugged in and faced. An action that is not possible raises an error that says what is
    missing and changes nothing. One household may be used from several threads; steps are taken one after another.

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
        # The newest state is last; the simulator's states do not change once made, so undoing is forgetting.
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
        """What was done since the start or the last reset, undone steps left out."""
        return tuple(self._observations)

    def step(self, action: str, *objects: str | int) -> Observation:
        """Do one action.

        Parameters
        ----------
        action
            A tool's name ("switch_on") or the simulator's ("SWITCHON"); all of the simulator's actions are known.
        objects
            What to do it to, as many as the action takes: words such as "kitchen light", or node ids. Where words
            mean several things, one in the hand comes before the one used last, then what is near, then what is in
            the room; and the first for which the action is possible is taken.

        Raises
        ------
        HouseholdError
            If the action or an object is unknown, or the action is not possible now.
        """
        verb = verb_of(action)
        check_arity(verb, len(objects))
        with self._lock:
            readings = self._readings(objects)
            complaint = ""
            for ids in readings:
                after, said = advance(self._states[-1], verb, self._named(ids))
                if after is not None:
                    return self._keep(after, verb, ids)
                complaint = complaint or said
            raise HouseholdError(refused(self.view, verb, readings[0], complaint))

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
        """Take back the last action; says where that leaves the character.

        Raises
        ------
        HouseholdError
            If there is nothing to take back.
        """
        with self._lock:
            if not self._observations:
                raise HouseholdError("There is nothing to take back: no action was done since the start.")
            return self._go_back(len(self._observations) - 1)

    def reset(self) -> str:
        """Go back to the start; says where that leaves the character."""
        with self._lock:
            return self._go_back(0)

    def _go_back(self, steps: int) -> str:
        del self._states[steps + 1 :], self._observations[steps:]
        self._graph = graph_of(self._states[-1])
        self._view = SceneView(self._graph)
        return self.observe()

    def observe(self, most: int = 25) -> str:
        """Where the character is, what it holds and what it sees, in words; at most so many things are listed."""
        return f"{situation(self.view)} {surroundings(self.view, most)}"

    def objects_in_view(self) -> list[str]:
        """Names of what can be seen: in this room and in the open, or in the hand."""
        view = self.view
        return [title(view, id) for id in view.in_view()]

    def legal_actions(self, verbs: Sequence[str] | None = None) -> list[tuple[str, str]]:
        """What the simulator would allow now, for the rooms and the objects in view.

        Parameters
        ----------
        verbs
            Names of actions with one object; the published 25 by default.

        Returns
        -------
        list of (str, str)
            Name of the action as given (of its tool by default) and name of the object.
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
            return any(permits(self._states[-1], verb, self._named(ids)) for ids in self._readings(objects))

    def copy(self) -> "Household":
        """Return a copy in the same state, with the same history; a step in one does not change the other."""
        with self._lock:
            twin = copy.copy(self)
            twin._states, twin._observations = list(self._states), list(self._observations)
            twin._lock = threading.RLock()
            return twin

    def enabling(self, action: str, *objects: str | int, verbs: Sequence[str] | None = None) -> list[tuple[str, str]]:
        """What could be done now so that an action which is refused would be possible next.

        Every action that is legal now is tried in the simulator, and the refused one behind it; the home itself stays
        as it is. Where one action is not enough, nothing is found.

        Parameters
        ----------
        action, objects
            What is refused, as for `step`.
        verbs
            Names of the actions to try, as for `legal_actions`.

        Returns
        -------
        list of (str, str)
            As of `legal_actions`.

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
            wanted = [self._named(ids) for ids in self._readings(objects)]
            found = []
            for name, words in self.legal_actions(verbs):
                ids = self._readings([words])[0]
                after = advance(self._states[-1], verb_of(name), self._named(ids)).state
                if after is not None and any(permits(after, verb, named) for named in wanted):
                    found.append((name, words))
            return found

    def unmet(self, goal: Sequence[Condition]) -> list[Condition]:
        """The conditions of a goal that do not hold now.

        Parameters
        ----------
        goal
            Conditions such as ("kitchen light", "on"), ("novel", "on", "bed") or ("you", "holding", "phone").
            Where words mean several things, one of them is enough.

        Raises
        ------
        HouseholdError
            If a condition names an unknown thing, state or relation.
        """
        return [condition for condition in goal if not holds(self.view, condition)]

    def reached(self, goal: Sequence[Condition]) -> bool:
        """Whether every condition of a goal holds now; see `unmet`."""
        return not self.unmet(goal)

    def picture(self, path: str | Path | None = None, *, since: int = 0) -> "Figure":
        """Draw the scene graph before and after, with what changed; see `toolken.tools.household.picture`.

        Parameters
        ----------
        path
            Where to save the picture (.png, .svg or .pdf), if anywhere.
        since
            How many steps were done in the picture before; -1 is before the last one.
        """
        from toolken.tools.household.picture import draw_change

        steps = len(self._observations)
        if not -steps <= since <= steps:
            raise HouseholdError(f"since={since} is not possible: {steps} steps were done.")
        before = graph_of(self._states[since if since >= 0 else steps + since])
        return draw_change(before, self.graph, path)

    def _named(self, ids: Sequence[int]) -> list[tuple[str, int]]:
        return [(self.view.nodes[id]["class_name"], id) for id in ids]

    def _readings(self, objects: Sequence[str | int]) -> list[tuple[int, ...]]:
        """What the objects can mean, the likeliest first."""
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
        readings = [ids for ids in product(*columns) if len(set(ids)) == len(ids)]
        if not readings:
            raise HouseholdError(f"{objects[0]!r} cannot be done something with itself; name two different things.")
        return readings[:_MOST_READINGS]
