"""Interface to the VirtualHome evolving-graph simulator; no other module imports it.

The simulator is the package `virtualhome-eval`, which is optional and loaded with the first household. Its rules
decide what every action needs and changes. Three of its effects are corrected after a step, because each makes
plans impossible that the published tasks and everyday requests contain:

- *Finding* a thing within reach removes what the character faces. Someone who sits or lies keeps facing what the seat
  faces, so those edges are restored; otherwise nobody could sit down, find the television and watch it.
- *Walking* leaves held things in the room that the character left. They are moved along.
- *Standing up* leaves the character on the seat. That relation is removed.
"""

import random
import re
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from types import SimpleNamespace
from typing import Any, NamedTuple, TypeAlias, TypedDict

from toolken.tools.household.errors import HouseholdError, SimulatorMissingError

HOW_TO_INSTALL = "pip install 'toolken[household]' && pip install --no-deps virtualhome-eval==0.1.1"

SimulatorState: TypeAlias = Any
"""An `EnvironmentState` of the simulator; a step returns a new one and does not change the old one."""


class SceneNode(TypedDict):
    """A room, an object or the character."""

    id: int
    class_name: str
    category: str
    properties: list[str]
    states: list[str]


class SceneEdge(TypedDict):
    """A relation between two nodes: INSIDE, ON, CLOSE, FACING, HOLDS_RH, HOLDS_LH, BETWEEN or SITTING."""

    from_id: int
    relation_type: str
    to_id: int


class SceneGraph(TypedDict):
    """A whole scene in VirtualHome's own format."""

    nodes: list[SceneNode]
    edges: list[SceneEdge]


class Outcome(NamedTuple):
    """The outcome of one action: the next state, or None and the simulator's complaint."""

    state: SimulatorState | None
    complaint: str


@cache
def _modules() -> SimpleNamespace:
    # Importing the simulator calls random.seed(123), which must not change the caller's random numbers.
    random_state = random.getstate()
    try:
        package = "virtualhome_eval.simulation.evolving_graph"
        names = ("common", "environment", "execution", "scripts", "utils")
        modules = {name: import_module(f"{package}.{name}") for name in names}
    except ImportError as error:
        raise SimulatorMissingError(
            f"The household needs the VirtualHome simulator, which cannot be imported ({error}); "
            f"install it with: {HOW_TO_INSTALL}"
        ) from error
    finally:
        random.setstate(random_state)
    return SimpleNamespace(**modules)


@cache
def equivalent_names() -> dict[str, list[str]]:
    """Return the simulator's table from an object's name to its synonyms."""
    return dict(_modules().utils.load_name_equivalence())


@cache
def arity() -> dict[str, int]:
    """Return the number of objects of every action that the simulator can execute."""
    executable = _modules().execution.ScriptExecutor._action_executors
    return {action.name: action.value[1] for action in executable}


def begin(graph: SceneGraph, *, by_name: bool = False) -> SimulatorState:
    """Return the simulator's state of a scene.

    Parameters
    ----------
    graph
        The scene; it is copied.
    by_name
        False: an action identifies its object by node id. True: by instance number, as in a script, which the
        simulator resolves to the first object of that name that can be walked to or found.
    """
    modules = _modules()
    # Prefabs and bounding boxes only serve drawing.
    nodes = [
        {
            "id": node["id"],
            "class_name": node["class_name"],
            "category": node["category"],
            "properties": node["properties"],
            "states": node["states"],
        }
        for node in graph["nodes"]
    ]
    plain = {"nodes": nodes, "edges": graph["edges"]}
    return modules.environment.EnvironmentState(
        modules.environment.EnvironmentGraph(plain), equivalent_names(), instance_selection=not by_name
    )


def advance(state: SimulatorState, action: str, objects: Sequence[tuple[str, int]]) -> Outcome:
    """Carry out one action in the simulator.

    Parameters
    ----------
    state
        The state before; it does not change.
    action
        The simulator's name of the action, such as SWITCHON.
    objects
        Name and number of each object: the node id, or the instance number when the state was begun by name.

    Returns
    -------
    Outcome
        The state after, or None with the simulator's complaint.
    """
    modules = _modules()
    line = _script_line(action, objects)
    # Several executors fail on an object that nobody has walked to or found; those that search for it do not.
    if action not in ("WALK", "RUN", "FIND"):
        for script_object in line.parameters:
            if state.get_state_node(script_object) is None:
                return Outcome(None, f"{script_object} cannot be found")
    info = modules.execution.ExecutionInfo()
    successors = modules.execution.ScriptExecutor.call_action_method(modules.scripts.Script([line]), state, info, 0)
    after = None if successors is None else next(successors, None)
    # Putting back something that is not held returns the old state and an error message.
    if after is None or (action == "PUTOBJBACK" and info.messages):
        return Outcome(None, info.get_error_string())
    _correct(after, action)
    # The simulator keeps a timing of every edge it changes, so its memory would grow without bound.
    modules.common.TimeMeasurement.reset_all()
    return Outcome(after, "")


def permits(state: SimulatorState, action: str, objects: Sequence[tuple[str, int]]) -> bool:
    """Return whether the simulator would carry out the action; cheaper than `advance`."""
    if action == "PUTOBJBACK":  # the simulator's dry run inverts this answer
        return advance(state, action, objects).state is not None
    modules = _modules()
    script = modules.scripts.Script([_script_line(action, objects)])
    info = modules.execution.ExecutionInfo()
    successors = modules.execution.ScriptExecutor.call_action_method(script, state, info, 0, modify=False)
    return successors is not None and next(successors, None) is not None


def graph_of(state: SimulatorState) -> SceneGraph:
    """Return the scene of a state, with nodes, edges and states sorted, so that equal scenes give equal graphs."""
    found = state.to_dict()
    nodes: list[SceneNode] = [
        {
            "id": node["id"],
            "class_name": node["class_name"],
            "category": node["category"],
            "properties": sorted(node["properties"]),
            "states": sorted(node["states"]),
        }
        for node in sorted(found["nodes"], key=lambda node: node["id"])
    ]
    edges = sorted(found["edges"], key=lambda edge: (edge["from_id"], edge["relation_type"], edge["to_id"]))
    return {"nodes": nodes, "edges": edges}


def states_of(state: SimulatorState, id: int) -> frozenset[str]:
    """Return the states of one node, such as ON and CLEAN."""
    return frozenset(found.name for found in state.get_node(id).states)


def run_script(graph: SceneGraph, lines: Sequence[str]) -> tuple[SimulatorState, int, str]:
    """Carry out script lines whose objects have node ids, until one fails.

    Parameters
    ----------
    graph
        The scene at the start.
    lines
        Such as `[SIT] <couch> (351)`.

    Returns
    -------
    state, steps, complaint
        The last state, the number of lines carried out, and the simulator's complaint about the next line
        (empty if there is none).
    """
    state = begin(graph)
    for done, text in enumerate(lines):
        action, objects = read_script_line(text)
        after, complaint = advance(state, action, objects)
        if after is None:
            return state, done, complaint
        state = after
    return state, len(lines), ""


_LINE = re.compile(r"\s*\[(\w+)\]((?:\s*<[^<>]+>\s*(?:\((?:\d+\.)?\d+\))?)*)\s*")
_OBJECT = re.compile(r"<([^<>]+)>\s*(?:\((?:\d+\.)?(\d+)\))?")


def read_script_line(text: str) -> tuple[str, list[tuple[str, int]]]:
    """Read `[Walk] <remote_control> (1)` as ("WALK", [("remote_control", 1)]).

    A missing number is 1; of a dotted one, such as `(1.103)`, the last component counts.

    Raises
    ------
    HouseholdError
        If the line is malformed, or its action is unknown or takes another number of objects.
    """
    matched = _LINE.fullmatch(text)
    if matched is None:
        raise HouseholdError(f"{text[:80]!r} is not a script line; write it as [WALK] <kitchen> (1).")
    action = matched[1].upper()
    objects = [(name.strip().lower().replace(" ", "_"), int(number or 1)) for name, number in _OBJECT.findall(text)]
    check_arity(action, len(objects))
    return action, objects


def check_arity(action: str, count: int) -> None:
    """Raise HouseholdError unless the simulator has this action and it takes this many objects."""
    wanted = arity().get(action)
    if wanted is None:
        raise HouseholdError(f"There is no action {action[:40]!r}; the simulator knows {', '.join(sorted(arity()))}.")
    if wanted != count:
        raise HouseholdError(f"{action} takes {wanted} object{'' if wanted == 1 else 's'}, but {count} were given.")


def _script_line(action: str, objects: Sequence[tuple[str, int]]) -> Any:
    scripts = _modules().scripts
    parameters = [scripts.ScriptObject(name, number) for name, number in objects]
    return scripts.ScriptLine(scripts.Action[action], parameters, 1)


def _correct(state: SimulatorState, action: str) -> None:
    """Apply the corrections of the module docstring to the state an action has just made, in place."""
    env = _modules().environment
    relation = env.Relation
    me = state.get_node(next(state.get_char_node(0)).id)
    seated = me.states & {env.State.SITTING, env.State.LYING}
    changes: list[Any] = []
    if action == "FIND" and seated:
        changes = [
            env.AddEdges(env.NodeInstance(me), relation.FACING, env.RelationFrom(seat, relation.FACING))
            for seat in state.get_nodes_from(me, relation.ON)
        ]
    elif action in ("WALK", "RUN", "FIND"):
        room = state.get_nodes_from(me, relation.INSIDE)[0]
        for hand in (relation.HOLDS_RH, relation.HOLDS_LH):
            for held in state.get_nodes_from(me, hand):
                changes.append(env.DeleteEdges(env.NodeInstance(held), [relation.INSIDE], env.AnyNode()))
                changes.append(env.AddEdges(env.NodeInstance(held), relation.INSIDE, env.NodeInstance(room)))
    elif action == "STANDUP":
        changes = [env.DeleteEdges(env.NodeInstance(me), [relation.ON], env.AnyNode())]
    state.apply_changes(changes)
