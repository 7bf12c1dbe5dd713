"""The knowledge base that ships with the project: well-known facts about the world."""

from collections.abc import Iterator
from importlib.resources import files

from toolken.tools.knowledge.facts import Relation, Triple, read_csv, read_relations
from toolken.tools.knowledge.knowledge_base import KnowledgeBase

DATA = files("toolken.tools.knowledge") / "data"


def world_relations() -> list[Relation]:
    """Return the relations of `world_facts`."""
    return list(read_relations(_lines("relations.csv"), "relations.csv"))


def world_facts() -> Iterator[Triple]:
    """Return an iterator over the facts, which are about countries, books, films, people, mountains and more."""
    return read_csv(_lines("world.csv"), "world.csv")


def world_knowledge(url: str = "sqlite://") -> KnowledgeBase:
    """Return a knowledge base with about a thousand facts in 21 relations, in memory by default.

    Every fact is stable and undisputed; other usual names of a subject are aliases.

    Examples
    --------
    >>> with world_knowledge() as kb:
    ...     [row["object"] for row in kb.lookup("official_language_of", "Switzerland")]
    ['German', 'French', 'Italian', 'Romansh']
    """
    kb = KnowledgeBase(url)
    kb.load(world_facts(), world_relations(), progress=False)
    return kb


def _lines(file: str) -> list[str]:
    return (DATA / file).read_text(encoding="utf-8").splitlines(keepends=True)
