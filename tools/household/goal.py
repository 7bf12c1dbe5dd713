"""Conditions of a goal, and whether a condition holds in a scene."""

from typing import TypeAlias, TypeVar

from toolken.tools.household.errors import HouseholdError
from toolken.tools.household.naming import meanings
from toolken.tools.household.scene import SceneView
from toolken.tools.household.wording import RELATION_WORDS, STATE_WORDS

Condition: TypeAlias = tuple[str, str] | tuple[str, str, str]
"""(object, state) or (object, relation, object)."""

_T = TypeVar("_T")

_STATES = {words: state for state, words in STATE_WORDS.items()} | {"plugged out": "PLUGGED_OUT"}
_RELATIONS: dict[str, tuple[str, ...]] = {"inside": ("INSIDE",), "close to": ("CLOSE",)}
for _relation, _words in RELATION_WORDS.items():
    _RELATIONS[_words] = (*_RELATIONS.get(_words, ()), _relation)


def holds(view: SceneView, condition: Condition) -> bool:
    """Return whether a condition holds in a scene; "inside" is transitive.

    Raises
    ------
    HouseholdError
        If the condition is malformed or names an unknown thing, state or relation.
    """
    match condition:
        case (str(subject), str(state)):
            wanted = _known(_STATES, state, "state")
            return any(wanted in view.nodes[id]["states"] for id in _meant(view, subject))
        case (str(subject), str(relation), str(target)):
            relations = _known(_RELATIONS, relation, "relation")
            targets = set(_meant(view, target))
            return any(
                targets.intersection(view.containers(id) if "INSIDE" in relations else view.targets(id, *relations))
                for id in _meant(view, subject)
            )
    raise HouseholdError(f"{condition!r} is not a condition; write (object, state) or (object, relation, object).")


def _meant(view: SceneView, name: str) -> list[int]:
    return [view.character] if name.strip().lower() in ("you", "character", "me", "i") else meanings(view, name)


def _known(table: dict[str, _T], name: str, kind: str) -> _T:
    found = table.get(name.strip().lower().replace("_", " "))
    if found is None:
        raise HouseholdError(f"There is no {kind} {name!r}; there are {', '.join(sorted(table))}.")
    return found
