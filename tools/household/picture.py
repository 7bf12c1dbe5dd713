"""Picture of the scene graph before and after some actions, with the changes highlighted."""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from toolken.tools.household.errors import HouseholdError
from toolken.tools.household.naming import title
from toolken.tools.household.scene import STRUCTURE, SceneView
from toolken.tools.household.simulator import SceneGraph
from toolken.tools.household.wording import RELATION_WORDS, STATE_WORDS, Changes, changes_between

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_QUIET, _LOST, _GAINED, _ROOM, _ME = "#9aa5b1", "#c0392b", "#1e8449", "#d6e4f0", "#f4d03f"
_PLACES = ("INSIDE", "ON")
_DRAWN = (*_PLACES, "FACING", "HOLDS_RH", "HOLDS_LH")
_MOST_THINGS = 60
_NODE_SIZE = 140


def draw_change(before: SceneGraph, after: SceneGraph, path: str | Path | None = None) -> "Figure":
    """Draw a scene before and after, side by side; each thing is to the right of what contains or supports it.

    The picture shows the rooms that the character was and is in, what is in view there, and everything that changed.
    Removed relations are red and dashed in the left half, new ones green in the right half; a changed thing is
    labelled with its states.

    Parameters
    ----------
    before, after
        Two graphs of one scene.
    path
        Where to save the picture, if anywhere; the suffix sets the format (.png, .svg, .pdf).

    Returns
    -------
    matplotlib.figure.Figure
        The picture; its size grows with the number of things shown.

    Raises
    ------
    HouseholdError
        If networkx or matplotlib is missing, or the picture cannot be saved there.
    """
    try:
        import networkx  # noqa: F401
        from matplotlib.figure import Figure
    except ImportError as error:
        raise HouseholdError(
            f"A picture needs networkx and matplotlib ({error}); install them with: pip install 'toolken[household]'"
        ) from error
    views = SceneView(before), SceneView(after)
    changes = changes_between(before, after)
    shown = _shown(views, changes)
    places = _places(views[0], shown)
    figure = Figure(figsize=(15, max(4.0, 0.3 * len(shown) + 1)), layout="constrained")
    halves = figure.subplots(1, 2, sharex=True, sharey=True)
    _draw(halves[0], views[0], changes, shown, places, after=False)
    _draw(halves[1], views[1], changes, shown, places, after=True)
    if path is not None:
        try:
            figure.savefig(path)
        except (OSError, ValueError) as error:
            raise HouseholdError(f"The picture cannot be saved as {path}: {error}.") from error
    return figure


def _shown(views: tuple[SceneView, SceneView], changes: Changes) -> list[int]:
    """Return the ids of the nodes to draw: those that changed and their places, then those in view."""
    ends = {id for edge in (*changes.gained, *changes.lost) for id in (edge["from_id"], edge["to_id"])}
    wanted = [view.character for view in views]
    wanted += [id for id in (*changes.states, *sorted(ends)) if views[1].nodes[id]["category"] not in STRUCTURE]
    for view in views:
        around = [place for id in wanted for place in (*view.targets(id, "ON"), *view.containers(id))]
        wanted += [id for id in around if view.nodes[id]["category"] not in STRUCTURE]
    for view in views:
        wanted += view.in_view()[:_MOST_THINGS]
    return list(dict.fromkeys(wanted))[:_MOST_THINGS]


def _parent(view: SceneView, id: int, shown: Collection[int]) -> int | None:
    places = [*view.targets(id, "ON"), *view.containers(id)]
    return next((place for place in places if place in shown), None)


def _places(view: SceneView, shown: Collection[int]) -> dict[int, tuple[float, float]]:
    """Return coordinates per node, as in a table of contents: x is the depth of nesting, y the line."""
    parents = {id: _parent(view, id, shown) for id in shown}
    places: dict[int, tuple[float, float]] = {}

    def put(id: int, depth: int) -> None:
        places[id] = (float(depth), -float(len(places)))
        # The character comes first, since its edges matter most.
        children = [child for child, parent in parents.items() if parent == id]
        for child in sorted(children, key=lambda child: (child != view.character, child)):
            if child not in places:
                put(child, depth + 1)

    for id in sorted(id for id, parent in parents.items() if parent is None):
        put(id, 0)
    for id in shown:  # nodes that contain each other
        if id not in places:
            put(id, 1)
    return places


def _edges(view: SceneView, shown: Collection[int]) -> Iterator[tuple[int, str, int]]:
    """Yield the relations to draw: the closest place of each thing, what is held, and what is faced."""
    held = view.held()
    for id in shown:
        parent = _parent(view, id, shown)
        faces = id == view.character or "SITTABLE" in view.nodes[id]["properties"]
        for relation in _DRAWN if faces else _PLACES:
            for target in view.targets(id, relation):
                place = relation in _PLACES
                if target in shown and (not place or (target == parent and id not in held)):
                    yield id, relation, target


def _draw(
    axes: "Axes",
    view: SceneView,
    changes: Changes,
    shown: Collection[int],
    places: dict[int, tuple[float, float]],
    *,
    after: bool,
) -> None:
    import networkx as nx

    colour = _GAINED if after else _LOST
    changed_edges = {
        (e["from_id"], e["relation_type"], e["to_id"]) for e in (changes.gained if after else changes.lost)
    }
    graph = nx.DiGraph()
    graph.add_nodes_from(shown)
    kinds: dict[str, list[tuple[int, int]]] = {"place": [], "other": [], "changed": []}
    words = {}
    for id, relation, target in _edges(view, shown):
        graph.add_edge(id, target)
        changed = (id, relation, target) in changed_edges
        kind = "changed" if changed else "place" if relation in _PLACES else "other"
        kinds[kind].append((id, target))
        if changed:
            words[id, target] = RELATION_WORDS[relation]
    style = {"pos": places, "ax": axes, "node_size": _NODE_SIZE}
    elbow = "angle,angleA=0,angleB=90,rad=0"
    lines = {"edgelist": kinds["place"], "edge_color": _QUIET, "width": 0.7, "arrowstyle": "-"}
    nx.draw_networkx_edges(graph, connectionstyle=elbow, **lines, **style)
    for sign, downwards in ((1, True), (-1, False)):  # both bend to the left, away from the labels
        bent = f"arc3,rad={0.25 * sign}"
        for kind, look in (
            ("other", {"edge_color": _QUIET, "width": 0.7, "style": "dotted"}),
            ("changed", {"edge_color": colour, "width": 2, "style": "solid" if after else "dashed"}),
        ):
            edges = [(a, b) for a, b in kinds[kind] if (places[b][1] < places[a][1]) == downwards]
            nx.draw_networkx_edges(graph, edgelist=edges, connectionstyle=bent, **look, **style)
            labels = {edge: words[edge] for edge in edges if edge in words}
            look = {"font_size": 7, "font_color": colour, "rotate": False, "connectionstyle": bent}
            nx.draw_networkx_edge_labels(graph, places, labels, ax=axes, **look)
    nx.draw_networkx_nodes(
        graph,
        **style,
        nodelist=list(shown),
        node_color=[_ME if id == view.character else _ROOM if view.is_room(id) else "white" for id in shown],
        edgecolors=[colour if id in changes.states else _QUIET for id in shown],
        linewidths=[2.5 if id in changes.states else 0.8 for id in shown],
    )
    for id in shown:
        changed = id in changes.states
        states = [STATE_WORDS[state] for state in view.nodes[id]["states"]]
        text = f"{title(view, id)}: {', '.join(states)}" if changed and states else title(view, id)
        weight = "bold" if changed or view.is_room(id) else "normal"
        x, y = places[id]
        axes.text(x + 0.08, y, text, va="center", fontsize=8, weight=weight, color=colour if changed else "black")
    axes.set_title("after" if after else "before")
    axes.set_axis_off()
    axes.set_xlim(-0.3, max(x for x, _ in places.values()) + 1)  # room for the last names
    axes.margins(y=0.05)
