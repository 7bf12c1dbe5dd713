"""Rebuilding the initial graph of a published task from its scene and its preconditions.

The published tasks come as a scene, a script and preconditions; the graphs they were recorded in are not published.
These rules build a graph in which the script can be carried out. They follow VirtualHome's own preparation where it is
deterministic, and replace its random choices by fixed ones.

1. *Scene.* The graph is the task's scene; its list of trimmed nodes is ignored.
2. *Names.* Script and preconditions use everyday names; the table of names maps them to those of the scene
   (living_room is home_office there, book is novel). Of several rooms with one name the first is taken.
3. *Rest.* At first everything that opens is closed, everything with a switch is off, everything with a plug is plugged
   in, and everything is clean; but lights and lamps are on and doors are open.
4. *Start.* The character stands, holding nothing and near nothing, in the first room that the script does not name, so
   that it has to walk. If the script names no room, it stands in the room that has most of the script's things.
5. *Things.* Each thing of script and preconditions is a node of that name in its room: the room of its location
   precondition, else the start room. The node with the lowest id is taken. If there is none in that room, one is
   added, from id 1000, with the properties the resources list for its name.
6. *Preconditions.* is_on, is_off, open, closed, plugged, unplugged, dirty and clean set a state. atreach makes two
   things CLOSE to each other, in makes one ON the other, inside INSIDE, facing FACING. Nothing is ON what is free.
7. *Reach.* A character that sits or lies cannot walk, so what the script uses from a seat is CLOSE to the seat.
8. *Sight.* Whatever the character faces when the script has it watch something, FACES that: the thing it turned to
   last if it has not moved since, else its seat.
9. *First of its name.* The task's things come first among the nodes, because a plan without ids refers to the first
   node of a name.

`toolken.tools.household.simulator` corrects what no initial graph can provide: someone who sits still faces the
television after finding it. Eight of the reference scripts need that.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from toolken.errors import DataFormatError
from toolken.tools.household.scene import SceneView
from toolken.tools.household.simulator import SceneEdge, SceneGraph, SceneNode

Step = tuple[str, tuple[tuple[str, int], ...]]
"""An action and its objects, each with name and instance number."""

Thing = tuple[str, int]

_STATE_CONDITIONS = {
    "is_on": ("ON", "OFF"),
    "is_off": ("OFF", "ON"),
    "open": ("OPEN", "CLOSED"),
    "closed": ("CLOSED", "OPEN"),
    "plugged": ("PLUGGED_IN", "PLUGGED_OUT"),
    "unplugged": ("PLUGGED_OUT", "PLUGGED_IN"),
    "dirty": ("DIRTY", "CLEAN"),
    "clean": ("CLEAN", "DIRTY"),
}
_RELATION_CONDITIONS = {"atreach": "CLOSE", "facing": "FACING", "in": "ON", "inside": "INSIDE"}
_FIRST_ADDED_ID = 1000


def rebuild(
    scene: SceneGraph,
    script: Sequence[Step],
    preconditions: Sequence[Mapping[str, Any]],
    properties: Mapping[str, Sequence[str]],
    names: Mapping[str, str],
) -> tuple[SceneGraph, dict[Thing, int]]:
    """Build a task's initial graph by the rules of the module docstring.

    Parameters
    ----------
    scene
        The scene's graph; it does not change.
    script
        The reference script, in everyday names.
    preconditions
        As published: one-key mappings such as `{"is_off": ["television", "1"]}`.
    properties
        Properties by name, for things that the scene lacks.
    names
        Everyday name -> name in the scene.

    Returns
    -------
    graph, things
        The initial graph, and the node id of each thing by its name in the scene and instance number.

    Raises
    ------
    DataFormatError
        If a precondition is unknown or malformed, or a thing to add has no properties listed.
    """
    steps: list[Step] = [
        (action, tuple((names.get(name, name), number) for name, number in objects)) for action, objects in script
    ]
    conditions = _read_conditions(preconditions, names)
    rebuilt = _Rebuilding(scene, properties)
    rebuilt.place(steps, conditions)
    rebuilt.put_to_rest()
    for kind, things in conditions:
        rebuilt.satisfy(kind, things)
    rebuilt.arrange_for(steps)
    return rebuilt.graph(), rebuilt.things


def first_of_their_name(graph: SceneGraph, ids: Iterable[int]) -> SceneGraph:
    """Return the same graph with these nodes first (rule 9)."""
    first = set(ids)
    return {"nodes": sorted(graph["nodes"], key=lambda node: node["id"] not in first), "edges": graph["edges"]}


def _read_conditions(
    preconditions: Sequence[Mapping[str, Any]], names: Mapping[str, str]
) -> list[tuple[str, list[Thing]]]:
    known = {*_STATE_CONDITIONS, *_RELATION_CONDITIONS, "location", "free"}
    conditions = []
    for condition in preconditions:
        for kind, value in condition.items():
            if kind not in known:
                raise DataFormatError(f"The precondition {kind!r} is unknown; known are {', '.join(sorted(known))}.")
            pairs = value if isinstance(value[0], list) else [value]
            try:
                conditions.append((kind, [(names.get(name, name), int(number)) for name, number in pairs]))
            except (TypeError, ValueError) as error:
                raise DataFormatError(f"The precondition {condition!r} is malformed: {error}.") from error
    return conditions


class _Rebuilding:
    """A graph under construction."""

    def __init__(self, scene: SceneGraph, properties: Mapping[str, Sequence[str]]) -> None:
        self.view = SceneView(scene)
        self.nodes: dict[int, SceneNode] = {node["id"]: {**node} for node in scene["nodes"]}
        self.edges: list[SceneEdge] = list(scene["edges"])
        self.properties = properties
        self.things: dict[Thing, int] = {}
        self.rooms: dict[str, int] = {}
        for id in self.view.rooms():
            self.rooms.setdefault(self.nodes[id]["class_name"], id)

    def graph(self) -> SceneGraph:
        return first_of_their_name({"nodes": list(self.nodes.values()), "edges": self.edges}, self.things.values())

    def relate(self, subject: int, relation: str, target: int) -> None:
        self.edges.append({"from_id": subject, "relation_type": relation, "to_id": target})
        if relation == "CLOSE":
            self.edges.append({"from_id": target, "relation_type": relation, "to_id": subject})

    def set_state(self, id: int, state: str, opposite: str) -> None:
        self.nodes[id]["states"] = sorted({*self.nodes[id]["states"], state} - {opposite})

    def put_to_rest(self) -> None:
        """Apply rule 3."""
        for id, node in self.nodes.items():
            if "CAN_OPEN" in node["properties"]:
                self.set_state(id, "CLOSED", "OPEN")
            if "HAS_SWITCH" in node["properties"]:
                self.set_state(id, "OFF", "ON")
            if "HAS_PLUG" in node["properties"]:
                self.set_state(id, "PLUGGED_IN", "PLUGGED_OUT")
            if "light" in node["class_name"] or "lamp" in node["class_name"]:
                self.set_state(id, "ON", "OFF")
            if node["category"] == "Doors":
                self.set_state(id, "OPEN", "CLOSED")
            self.set_state(id, "CLEAN", "DIRTY")
        self.nodes[self.view.character]["states"] = []

    def place(self, steps: Sequence[Step], conditions: Sequence[tuple[str, list[Thing]]]) -> None:
        """Apply rules 4 and 5."""
        wanted = [thing for _, objects in steps for thing in objects] + [t for _, things in conditions for t in things]
        wanted = list(dict.fromkeys(wanted))
        named_rooms = {name for _, objects in steps for name, _ in objects if name in self.rooms}
        start = self._start_room(named_rooms, {name for name, _ in wanted})
        me = self.view.character
        self.edges = [edge for edge in self.edges if me not in (edge["from_id"], edge["to_id"])]
        self.relate(me, "INSIDE", start)
        locations = {things[0]: things[1][0] for kind, things in conditions if kind == "location"}
        if unknown := set(locations.values()) - self.rooms.keys():
            raise DataFormatError(f"The scene has no room {min(unknown)!r}; it has {', '.join(self.rooms)}.")
        for thing in wanted:
            name = thing[0]
            if name in self.rooms:
                self.things[thing] = self.rooms[name]
            else:
                room = self.rooms[locations[thing]] if thing in locations else start
                self.things[thing] = self._thing(name, room)

    def _start_room(self, named: set[str], wanted: set[str]) -> int:
        if named:
            return next((id for name, id in self.rooms.items() if name not in named), min(self.rooms.values()))
        places = Counter(self.view.room_of(id) for id, node in self.nodes.items() if node["class_name"] in wanted)
        return max(self.rooms.values(), key=lambda room: (places[room], -room))

    def _thing(self, name: str, room: int) -> int:
        taken = set(self.things.values())
        present = (
            id
            for id in sorted(self.view.nodes)
            if self.nodes[id]["class_name"] == name and self.view.room_of(id) == room and id not in taken
        )
        if (found := next(present, None)) is not None:
            return found
        if name not in self.properties:
            raise DataFormatError(f"The scene has no {name!r} in that room, and no properties are listed to add one.")
        id = max(_FIRST_ADDED_ID - 1, *self.nodes) + 1
        self.nodes[id] = {
            "id": id,
            "class_name": name,
            "category": "placable_objects",
            "properties": list(self.properties[name]),
            "states": [],
        }
        self.relate(id, "INSIDE", room)
        return id

    def satisfy(self, kind: str, things: Sequence[Thing]) -> None:
        """Apply rule 6; rule 5 has used the locations."""
        ids = [self.things[thing] for thing in things]
        if kind in _STATE_CONDITIONS:
            self.set_state(ids[0], *_STATE_CONDITIONS[kind])
        elif kind in _RELATION_CONDITIONS:
            self.relate(ids[0], _RELATION_CONDITIONS[kind], ids[1])
        elif kind == "free":
            self.edges = [edge for edge in self.edges if (edge["relation_type"], edge["to_id"]) != ("ON", ids[0])]

    def arrange_for(self, steps: Sequence[Step]) -> None:
        """Apply rules 7 and 8."""
        seat: int | None = None
        faced: int | None = None
        for action, objects in steps:
            if not objects:
                continue
            id = self.things[objects[0]]
            if seat is not None and id != seat and id not in self.rooms.values():
                self.relate(id, "CLOSE", seat)
            if action in ("SIT", "LIE"):
                seat = id
            elif action in ("WALK", "RUN", "FIND"):
                faced = None
            elif action == "TURNTO":
                faced = id
            elif action == "WATCH":
                source = seat if faced is None else faced
                if source is not None and source != id:
                    self.relate(source, "FACING", id)
