"""Scenes in VirtualHome's format: reading, checking, and an index of what is where, held and in view."""

import json
from collections import defaultdict
from functools import cache
from importlib.resources import files
from pathlib import Path

from toolken.tools.household.errors import HouseholdError
from toolken.tools.household.simulator import SceneEdge, SceneGraph, SceneNode

STRUCTURE = frozenset({"Floor", "Floors", "Walls", "Ceiling", "Ceilings"})
"""Categories of nodes that belong to the building and are never listed as objects in view."""


def demo_scene() -> SceneGraph:
    """Return the small flat of the package: five rooms and about sixty things."""
    return check_scene(json.loads(_demo_text()), "the flat of the package")


@cache
def _demo_text() -> str:
    return files("toolken.tools.household").joinpath("data/flat.json").read_text(encoding="utf-8")


def read_scene(path: str | Path) -> SceneGraph:
    """Read a scene from a JSON file in VirtualHome's format: `{"nodes": [...], "edges": [...]}`.

    Of a file with `init_graph` and `final_graph`, the initial graph is read.

    Raises
    ------
    HouseholdError
        If the file is missing or not JSON, or the simulator cannot run the scene.
    """
    source = Path(path)
    try:
        graph = json.loads(source.read_text(encoding="utf-8"))
    except OSError as error:
        raise HouseholdError(f"The scene {source} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise HouseholdError(f"The scene {source} is not JSON: {error}.") from error
    if isinstance(graph, dict) and "init_graph" in graph:
        graph = graph["init_graph"]
    return check_scene(graph, str(source))


def check_scene(graph: object, source: str = "the scene") -> SceneGraph:
    """Return the nodes and edges of a scene that the simulator can run, with an edge from each node to its room.

    Raises
    ------
    HouseholdError
        If nodes or edges are missing or malformed, an id occurs twice, an edge has an unknown end, there is no
        character, or a node is in no room.
    """
    try:
        nodes: list[SceneNode] = list(graph["nodes"])  # type: ignore[index]
        edges: list[SceneEdge] = list(graph["edges"])  # type: ignore[index]
        by_id = {node["id"]: node for node in nodes}
        for node in nodes:
            _ = (node["id"] + 0, node["class_name"].lower(), node["category"], [*node["properties"], *node["states"]])
        ends = {end for edge in edges for end in (edge["from_id"], edge["to_id"]) if edge["relation_type"].upper()}
    except (TypeError, KeyError, AttributeError) as error:
        raise HouseholdError(
            f"{source} is not in VirtualHome's format ({error!r}); it needs nodes with id, class_name, category, "
            "properties and states, and edges with from_id, relation_type and to_id."
        ) from error
    if len(by_id) != len(nodes):
        raise HouseholdError(f"{source} has several nodes with the same id; give every node its own.")
    if strangers := ends - by_id.keys():
        raise HouseholdError(f"{source} has an edge to node {min(strangers)}, which does not exist.")
    scene: SceneGraph = {"nodes": nodes, "edges": edges}
    view = SceneView(scene)
    for node in nodes:
        room = view.room_of(node["id"])
        if room is None:
            raise HouseholdError(
                f"{source}: {node['class_name']} ({node['id']}) is in no room; give it an INSIDE edge to one."
            )
        # The simulator finds only the room that a node is directly inside, and loops if two nodes contain each other.
        if room not in (node["id"], *view.targets(node["id"], "INSIDE")):
            edges.append({"from_id": node["id"], "relation_type": "INSIDE", "to_id": room})
    return scene


class SceneView:
    """An index of one scene graph, which must not change afterwards.

    Parameters
    ----------
    graph
        The scene; it must have a character.
    """

    def __init__(self, graph: SceneGraph) -> None:
        self.nodes = {node["id"]: node for node in graph["nodes"]}
        self._targets: dict[tuple[int, str], list[int]] = defaultdict(list)
        for edge in graph["edges"]:
            self._targets[edge["from_id"], edge["relation_type"].upper()].append(edge["to_id"])
        characters = sorted(id for id, node in self.nodes.items() if node["class_name"] == "character")
        if not characters:
            raise HouseholdError("The scene has no character; add a node of class_name 'character' inside a room.")
        self.character = characters[0]
        """Node id of the character."""

    def targets(self, id: int, *relations: str) -> list[int]:
        """Return the ids of the nodes that a node is related to, by any of the relations."""
        return [target for relation in relations for target in self._targets.get((id, relation), ())]

    def is_room(self, id: int) -> bool:
        """Return whether a node is a room."""
        return self.nodes[id]["category"] == "Rooms"

    def containers(self, id: int) -> list[int]:
        """Return the ids of everything that contains a node, rooms included, from the inside out."""
        found: list[int] = []
        queue = [id]
        while queue:
            for container in self.targets(queue.pop(0), "INSIDE"):
                if container not in found and container != id:
                    found.append(container)
                    queue.append(container)
        return found

    def room_of(self, id: int) -> int | None:
        """Return the id of the room that a node is in (its own id for a room), or None."""
        if self.is_room(id):
            return id
        return next((container for container in self.containers(id) if self.is_room(container)), None)

    def held(self) -> list[int]:
        """Return the ids of what the character holds."""
        return self.targets(self.character, "HOLDS_RH", "HOLDS_LH")

    def closed_container(self, id: int) -> int | None:
        """Return the id of the innermost closed container of a node, or None."""
        shut = (box for box in self.containers(id) if "CLOSED" in self.nodes[box]["states"])
        return next((box for box in shut if not self.is_room(box)), None)

    def in_view(self) -> list[int]:
        """Return the ids of objects in the character's room that are in no closed container, then of what it holds.

        Rooms, the character and parts of the building (floor, walls, ceiling) are omitted.
        """
        here = self.room_of(self.character)
        held = self.held()
        seen = [
            id
            for id in sorted(self.nodes)
            if not (self.is_room(id) or id == self.character or id in held)
            and self.nodes[id]["category"] not in STRUCTURE
            and self.room_of(id) == here
            and self.closed_container(id) is None
        ]
        return seen + held

    def rooms(self) -> list[int]:
        """Return the ids of the rooms."""
        return sorted(id for id in self.nodes if self.is_room(id))

    def near(self) -> set[int]:
        """Return the ids within reach, by the simulator's rule: close to something close, or on it."""
        close = set(self.targets(self.character, "CLOSE"))
        reach = close | {target for id in close for target in self.targets(id, "CLOSE")}
        return reach | {id for id in self.nodes if close.intersection(self.targets(id, "ON"))}
