"""Names of things: from a node to words, and from the words of a request to the nodes that they can mean."""

import difflib
import re
from functools import lru_cache

from toolken.tools.household.errors import HouseholdError
from toolken.tools.household.scene import STRUCTURE, SceneView
from toolken.tools.household.simulator import equivalent_names

# Class names that are not the usual words.
_WORDS = {
    "food_food": "food",
    "coffe_maker": "coffee maker",
    "home_office": "office",
    "clothes_shirt": "shirt",
}

# Everyday words that the simulator's own table of names lacks.
_ALIASES = {
    "refrigerator": ["freezer", "fridge"],
    "lamp": ["floor_lamp", "light"],
    "tap": ["faucet"],
    "telephone": ["phone"],
    "mobile": ["phone"],
    "cell phone": ["phone"],
    "letter": ["mail"],
    "letters": ["mail"],
    "post": ["mail"],
    "remote": ["remote_control"],
    "tv remote": ["remote_control"],
    "tv set": ["television"],
    "telly": ["television"],
    "groceries": ["food_food"],
    "bill": ["check"],
    "home office": ["home_office"],
    "office": ["home_office"],
    "study": ["home_office"],
    "lounge": ["living_room", "home_office"],
    "living room": ["living_room", "home_office"],
    "kitty": ["cat"],
    "glass of water": ["water"],
    "computer mouse": ["mouse"],
    "computer keyboard": ["keyboard"],
    "cabinet": ["kitchen_cabinet", "bathroom_cabinet", "filing_cabinet"],
}

_LONGEST = 120

_ARTICLES = re.compile(r"^(?:(?:the|a|an|my|your|our|this|that|some|please)\s+)+")
_PLACED = re.compile(r"\s+(?:in|inside|on|of|at|from|by|near|on top of|next to)\s+")
_NUMBERED = re.compile(r"(.*?)\s*[(#]\s*(?:\d+\.)?(\d+)\s*\)?")


def class_words(class_name: str) -> str:
    """Return the words for a class name: "remote control" for `remote_control`."""
    return _WORDS.get(class_name, class_name.replace("_", " "))


def title(view: SceneView, id: int) -> str:
    """Return the shortest unambiguous name of a node: "couch", "kitchen light", or "kitchen chair (31)".

    The character is "you".
    """
    if id == view.character:
        return "you"
    class_name = view.nodes[id]["class_name"]
    words = class_words(class_name)
    namesakes = [other for other, node in view.nodes.items() if node["class_name"] == class_name]
    if len(namesakes) == 1:
        return words
    room = view.room_of(id)
    roommates = [other for other in namesakes if view.room_of(other) == room]
    place = "" if room is None or room == id else class_words(view.nodes[room]["class_name"]) + " "
    return f"{place}{words}" if len(roommates) == 1 and place else f"{place}{words} ({id})"


def meanings(view: SceneView, phrase: str) -> list[int]:
    """Return the ids of all nodes that a phrase can mean.

    A phrase is a class name or a word for it ("remote_control", "remote control", "TV"), with or without an article,
    and with a room before it ("kitchen light"), a place after it ("food in the freezer", "book on the bed") or a node
    id after it ("chair (31)").

    Raises
    ------
    HouseholdError
        If nothing in the scene has this name; the message suggests similar names.
    """
    if len(phrase) > _LONGEST:
        raise HouseholdError(f"A name of {len(phrase)} characters is too long; name one thing in a few words.")
    words = _normal(phrase)
    found = _meanings(view, words)
    if not found:
        raise HouseholdError(_unknown(view, phrase, words))
    return found


def _meanings(view: SceneView, words: str) -> list[int]:
    if numbered := _NUMBERED.fullmatch(words):
        id = int(numbered[2])
        named = _meanings(view, numbered[1]) if numbered[1] else list(view.nodes)
        return [id] if id in named else []
    if plain := _of_name(view, words):
        return plain
    parts = words.split(" ")
    for cut in range(1, len(parts)):
        rooms = [id for id in _of_name(view, " ".join(parts[:cut])) if view.is_room(id)]
        if rooms and (inside := [id for id in _of_name(view, " ".join(parts[cut:])) if view.room_of(id) in rooms]):
            return inside
    if placed := _PLACED.search(words):
        places = set(_meanings(view, _ARTICLES.sub("", words[placed.end() :])))
        things = _of_name(view, words[: placed.start()]) if places else []
        return [id for id in things if places.intersection(_places(view, id))]
    return []


def _places(view: SceneView, id: int) -> list[int]:
    room = view.room_of(id)
    return [*view.containers(id), *view.targets(id, "ON"), *([] if room is None else [room])]


def _of_name(view: SceneView, words: str) -> list[int]:
    for name in (words, words.removesuffix("s"), words.removesuffix("es")):
        for classes in _classes(name):
            if found := [id for id, node in view.nodes.items() if node["class_name"] in classes]:
                return sorted(id for id in found if id != view.character)
    return []


@lru_cache(maxsize=1024)
def _classes(words: str) -> tuple[frozenset[str], ...]:
    """Return the classes that words can mean: exact matches, then aliases, then the simulator's synonyms."""
    name = words.replace(" ", "_")
    spelled = {name, *(known for known, spelling in _WORDS.items() if spelling == words)}
    table = equivalent_names()
    similar = {*table.get(name, ()), *(key for key, others in table.items() if {name, words} & set(others))}
    return frozenset(spelled), frozenset(_ALIASES.get(words, ())), frozenset(similar)


def _normal(phrase: str) -> str:
    words = " ".join(phrase.lower().replace("_", " ").replace("'s ", " ").split())
    return _ARTICLES.sub("", words.strip(" .,!?;:'\"<>[]"))


def _unknown(view: SceneView, phrase: str, words: str) -> str:
    shown = [id for id, node in view.nodes.items() if node["category"] not in STRUCTURE and id != view.character]
    known = {name for id in shown for name in (title(view, id), class_words(view.nodes[id]["class_name"]))}
    near = difflib.get_close_matches(words, sorted(known), n=3, cutoff=0.6)
    near += [name for name in sorted(known) if set(name.split()) & set(words.split()) and name not in near]
    here = [title(view, id) for id in view.in_view()]
    hint = f"did you mean {joined(near[:5], 'or')}?" if near else f"you can see {joined(here[:8], 'and')}."
    return f"There is no {phrase.strip()[:60] or 'nameless thing'!r} in this home; {hint}"


def joined(names: list[str], conjunction: str) -> str:
    """Join names with a conjunction before the last one: "the sink, the cup or the plate"."""
    if len(names) < 2:
        return names[0] if names else "nothing"
    return f"{', '.join(names[:-1])} {conjunction} {names[-1]}"


def listed(names: list[str]) -> str:
    """Join names with articles: "the sink, the cup and the plate"."""
    return joined([f"the {name}" for name in names], "and")
