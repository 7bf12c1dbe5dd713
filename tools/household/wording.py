"""The simulator's states, changes and complaints in words."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from toolken.tools.household.actions import BY_VERB
from toolken.tools.household.naming import joined, listed, title
from toolken.tools.household.scene import SceneView
from toolken.tools.household.simulator import SceneEdge, SceneGraph

STATE_WORDS = {
    "ON": "on",
    "OFF": "off",
    "OPEN": "open",
    "CLOSED": "closed",
    "DIRTY": "dirty",
    "CLEAN": "clean",
    "PLUGGED_IN": "plugged in",
    "PLUGGED_OUT": "unplugged",
    "SITTING": "sitting",
    "LYING": "lying",
}
RELATION_WORDS = {
    "INSIDE": "in",
    "ON": "on",
    "CLOSE": "near",
    "FACING": "facing",
    "HOLDS_RH": "holding",
    "HOLDS_LH": "holding",
    "BETWEEN": "between",
    "SITTING": "sitting on",
}
# States that observations omit.
_UNREMARKABLE = frozenset({"CLEAN", "PLUGGED_IN"})


@dataclass(frozen=True)
class Changes:
    """The differences between two graphs of one scene."""

    states: dict[int, tuple[frozenset[str], frozenset[str]]]
    """Node id -> (states lost, states gained), for the nodes that changed."""
    gained: tuple[SceneEdge, ...]
    """New relations, except CLOSE: dozens of those change with every step."""
    lost: tuple[SceneEdge, ...]
    """Removed relations, except CLOSE."""


def changes_between(before: SceneGraph, after: SceneGraph) -> Changes:
    """Return the changes between two graphs of one scene; a node missing from one of them has no states there."""
    old = {node["id"]: frozenset(node["states"]) for node in before["nodes"]}
    new = {node["id"]: frozenset(node["states"]) for node in after["nodes"]}
    states = {
        id: (old.get(id, frozenset()) - new.get(id, frozenset()), new.get(id, frozenset()) - old.get(id, frozenset()))
        for id in sorted(old.keys() | new.keys())
        if old.get(id, frozenset()) != new.get(id, frozenset())
    }
    before_edges, after_edges = _relations(before), _relations(after)
    return Changes(
        states,
        tuple(_edge(key) for key in sorted(after_edges - before_edges)),
        tuple(_edge(key) for key in sorted(before_edges - after_edges)),
    )


def _relations(graph: SceneGraph) -> set[tuple[int, str, int]]:
    edges = ((edge["from_id"], edge["relation_type"].upper(), edge["to_id"]) for edge in graph["edges"])
    return {edge for edge in edges if edge[1] != "CLOSE"}


def _edge(key: tuple[int, str, int]) -> SceneEdge:
    return {"from_id": key[0], "relation_type": key[1], "to_id": key[2]}


def described(view: SceneView, id: int) -> str:
    """Return a node's name with its notable states: "kitchen light (off)"."""
    remarks = [STATE_WORDS[state] for state in view.nodes[id]["states"] if state not in _UNREMARKABLE]
    return f"{title(view, id)} ({', '.join(remarks)})" if remarks else title(view, id)


def surroundings(view: SceneView, most: int) -> str:
    """Return a sentence about what is in view but not held, with at most `most` things by name."""
    held = set(view.held())
    names = [described(view, id) for id in view.in_view() if id not in held]
    if not names:
        return "There is nothing here."
    remaining = len(names) - most
    if remaining <= 0:
        return f"You see {listed(names)}."
    return f"You see {', '.join(f'the {name}' for name in names[:most])} and {remaining} more."


def situation(view: SceneView) -> str:
    """Return a sentence about where the character is, whether it sits or lies, and what it holds."""
    me = view.character
    parts = [f"You are in the {_place(view, view.room_of(me))}"]
    for state in ("SITTING", "LYING"):
        if state in view.nodes[me]["states"]:
            seats = [title(view, id) for id in view.targets(me, "ON")]
            parts.append(f"{STATE_WORDS[state]} on {listed(seats)}" if seats else STATE_WORDS[state])
    if held := view.held():
        parts.append(f"holding {listed([title(view, id) for id in held])}")
    return ", ".join(parts) + "."


def done(before: SceneView, after: SceneView, verb: str, ids: Sequence[int]) -> str:
    """Return the report of a successful action, in a sentence or two."""
    template = BY_VERB[verb].said if verb in BY_VERB else f"You {verb.lower()}" + " {0}" * bool(ids) + "."
    names = [_the(before, id) for id in ids]
    text = template.format(*names)
    room = after.room_of(after.character)
    if verb in ("WALK", "RUN", "FIND"):
        if ids[0] == room:
            return f"{text} {surroundings(after, 8)}"
        place = _place(after, room)
        if room != before.room_of(before.character) and place not in names[0]:
            text = f"{text[:-1]}, in the {place}."
        facts = [STATE_WORDS[state] for state in after.nodes[ids[0]]["states"] if state not in _UNREMARKABLE]
        if verb == "FIND" and (where := _whereabouts(after, ids[0])):
            facts.append(where)
        if facts:
            text += f" It is {joined(facts, 'and')}."
    if verb == "DRINK" and "RECIPIENT" in after.nodes[ids[0]]["properties"]:
        text = f"You drink from {names[0]}."
    if verb == "OPEN":
        inside = [id for id in after.nodes if ids[0] in after.targets(id, "INSIDE")]
        if inside:
            text += f" Inside you see {listed([title(after, id) for id in inside])}."
    if verb == "PUTOBJBACK" and (where := _whereabouts(after, ids[0])):
        text = f"{text[:-1]} {where}."
    return text


def _whereabouts(view: SceneView, id: int) -> str:
    """Return what a thing is on or in, such as "on the table"; empty if it is only in a room or in the hand."""
    if id in view.held():
        return ""
    if on := view.targets(id, "ON"):
        return f"on {_the(view, on[0])}"
    boxes = [box for box in view.targets(id, "INSIDE") if not view.is_room(box)]
    return f"in {_the(view, boxes[0])}" if boxes else ""


def refused(view: SceneView, verb: str, ids: Sequence[int], complaint: str) -> str:
    """Return a sentence about why an action is impossible and what to do first."""
    names = [_the(view, id) for id in ids]
    action = BY_VERB[verb].said.removeprefix("You ").rstrip(".") if verb in BY_VERB else verb.lower()
    reason = complaint.split(" when executing ")[0]
    for pattern, explain in _REASONS:
        if matched := re.search(pattern, reason):
            found = {name: int(id) for name, id in matched.groupdict().items()}
            return f"You cannot {action.format(*names)}: {explain(view, found)}."
    plain = re.sub(r"<\w+> \((\d+)\)", lambda node: _the(view, int(node[1])), reason)
    return f"You cannot {action.format(*names)}: {plain}."


def _place(view: SceneView, room: int | None) -> str:
    return "home" if room is None else title(view, room)


def _the(view: SceneView, id: int) -> str:
    name = title(view, id)
    return name if name == "you" else f"the {name}"


def _node(name: str) -> str:
    return rf"<\w+> \((?P<{name}>\d+)\)"


def _shut_in(view: SceneView, found: dict[str, int]) -> str:
    box = view.closed_container(found["it"])
    return f"it is inside {'something' if box is None else _the(view, box)} that is closed; open that first"


def _elsewhere(view: SceneView, found: dict[str, int]) -> str:
    return f"it is in {_the(view, found['there'])} and you are in {_the(view, found['here'])}; walk to it first"


def _says(sentence: str) -> Callable[[SceneView, dict[str, int]], str]:
    """Return a reason in which {it} stands for the node that the complaint names."""

    def explain(view: SceneView, found: dict[str, int]) -> str:
        return sentence.format(**{name: _the(view, id) for name, id in found.items()})

    return explain


_IT = _node("it")
_REASONS: tuple[tuple[str, Callable[[SceneView, dict[str, int]], str]], ...] = (
    (rf"<character> \(\d+\) is not close to {_IT}", _says("you are not near {it}; walk to it or find it first")),
    (r"<character> \(\d+\) is (sitting|lying)$", _says("you are sitting or lying; that must end first")),
    (rf"{_IT} is not grabbable", _says("{it} is not a thing one can pick up")),
    (rf"{_IT} already grabbed", _says("you have it in your hand already")),
    (rf"{_IT} is inside other closed thing", _shut_in),
    (r"does not have a free hand", _says("both your hands are full; drop something or put it back first")),
    (rf"{_IT} can not be opened", _says("{it} is not a thing that opens or closes")),
    (rf"{_IT} is not closed", _says("{it} is already open")),
    (rf"{_IT} is not open$", _says("{it} is already closed")),
    (rf"{_IT} is not open or is not openable", _says("{it} is not open; open it first")),
    (rf"{_IT} is still on", _says("{it} is still on; switch it off first")),
    (rf"{_IT} does not have a? ?switch", _says("{it} has no switch")),
    (rf"{_IT} is not off", _says("{it} is already on")),
    (rf"{_IT} is not on$", _says("{it} is already off")),
    (rf"{_IT} is unplugged", _says("{it} is unplugged; plug it in first")),
    (rf"is not holding {_IT}", _says("you are not holding {it}; grab it first")),
    (rf"{_IT} not grabbed", _says("you have not picked {it} up from anywhere")),
    (rf"{_IT} is not drinkable", _says("{it} is nothing to drink or to drink from")),
    (rf"(does not face|is not facing) {_IT}", _says("you are not facing {it}; turn to it first")),
    (rf"{_IT} is not readable", _says("there is nothing to read on {it}")),
    (rf"{_IT} not lookable", _says("there is nothing to watch on {it}")),
    (rf"char room {_node('here')} is not node room {_node('there')}", _elsewhere),
    (rf"{_IT} is not movable", _says("{it} does not move")),
    (rf"{_IT} does not have a plug", _says("{it} has no plug")),
    (rf"{_IT} is not plugged_out", _says("{it} is already plugged in")),
    (rf"{_IT} is not plugged_in", _says("{it} is already unplugged")),
    (rf"{_IT} is not sittable", _says("{it} is not a thing to sit on")),
    (rf"{_IT} is not lieable", _says("{it} is not a thing to lie on")),
    (rf"Too many things on {_IT}", _says("there is no room left on {it}")),
    (r"is not sitting", _says("you are standing already")),
)
