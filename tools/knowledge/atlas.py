"""Facts about a fictional country in more than 200 relations, for experiments with many tools."""

import random
from collections.abc import Callable, Iterator
from functools import cache

from pydantic import BaseModel

from toolken.tools.knowledge.errors import KnowledgeError
from toolken.tools.knowledge.facts import Relation, Triple
from toolken.tools.knowledge.world import DATA
from toolken.tools.records import CallRecord, ExampleRecord

SUBJECTS_PER_KIND = 40
"""Subjects per kind (castle, ship, book, ...); each has a value for every attribute of its kind."""

_SYLLABLES = "bra,cor,del,eld,fen,gar,hul,ist,jor,kel,lum,mor,nev,ost,pel,quin,ros,sel,tor,und,vel,wyn,yar,zeb"
_ENDINGS = "a,en,ica,or,mund,ey,is,ula,wick,ard,etta,in"
_FIRST_NAMES = "Ada,Bruno,Clara,Dario,Elsa,Felix,Greta,Hugo,Ines,Jonas,Klara,Leon,Mira,Nils,Olga,Pavel,Rosa,Sven,Tilda"


class _Attribute(BaseModel):
    """An attribute of some kinds, with question templates; {s} is the subject, {a} the kind with its article."""

    kinds: list[str]
    description: str
    values: str
    asked: list[str]
    held_out: list[str]


class _Atlas(BaseModel):
    """The content of `atlas.json`."""

    kinds: list[str]
    values: dict[str, list[str]]
    attributes: dict[str, _Attribute]


def atlas_relations() -> list[Relation]:
    """Return the relations, such as `owner_of_castle`: one per attribute and kind."""
    return [
        Relation(f"{name}_of_{kind}", f"Find {one.description.format(a=_with_article(kind))}.", f"the {kind}")
        for name, one in _atlas().attributes.items()
        for kind in one.kinds
    ]


def atlas_facts() -> Iterator[Triple]:
    """Yield the facts, one per relation and subject. All names are fictional, so no LM knows the facts."""
    for name, one in _atlas().attributes.items():
        for kind in one.kinds:
            for subject in _subjects(kind):
                yield Triple(subject, f"{name}_of_{kind}", _value(one.values, f"{name} {kind} {subject}"))


def atlas_questions(per_relation: int, seed: int = 0, *, held_out: bool = False) -> Iterator[ExampleRecord]:
    """Yield questions, each with the lookup that answers it, the same number per relation.

    Parameters
    ----------
    per_relation : int
        Number of questions per relation, from 0 to `SUBJECTS_PER_KIND`. Subjects differ; templates repeat only after
        all were used.
    seed : int
        The same seed gives the same questions.
    held_out : bool
        Whether to use the held-out templates, which are disjoint from the others.

    Raises
    ------
    KnowledgeError
        `per_relation` is out of range.
    """
    if not 0 <= per_relation <= SUBJECTS_PER_KIND:
        raise KnowledgeError(f"{per_relation} questions a relation cannot be made: ask for 0 to {SUBJECTS_PER_KIND}.")
    draw = random.Random(f"atlas {seed} {held_out}")
    for name, one in _atlas().attributes.items():
        wordings = one.held_out if held_out else one.asked
        for kind in one.kinds:
            subjects = draw.sample(_subjects(kind), per_relation)
            order = draw.sample(wordings, len(wordings))
            for number, subject in enumerate(subjects):
                question = order[number % len(order)].replace("{s}", f"the {kind} {subject}")
                result = _value(one.values, f"{name} {kind} {subject}")
                call = CallRecord(tool=f"{name}_of_{kind}", args={"subject": subject}, result=result)
                yield ExampleRecord(question=question, calls=[call])


@cache
def _atlas() -> _Atlas:
    return _Atlas.model_validate_json((DATA / "atlas.json").read_text(encoding="utf-8"))


@cache
def _subjects(kind: str) -> list[str]:
    """Return the fictional names of the subjects of a kind; kinds share no name."""
    number = _atlas().kinds.index(kind)
    syllables, endings = _SYLLABLES.split(","), _ENDINGS.split(",")
    names = [f"{a}{b}{end}".capitalize() for a in syllables for b in syllables if a != b for end in endings]
    random.Random("names of the atlas").shuffle(names)
    return names[number * SUBJECTS_PER_KIND : (number + 1) * SUBJECTS_PER_KIND]


def _value(kind: str, key: str) -> str:
    """Draw the object of a fact, with `key` as the seed."""
    draw = random.Random(key)
    listed = _atlas().values.get(kind)
    return draw.choice(listed) if listed else _NUMBERS_AND_NAMES[kind](draw)


def _name(draw: random.Random) -> str:
    return "".join(draw.sample(_SYLLABLES.split(","), 2)).capitalize() + draw.choice(_ENDINGS.split(","))


_NUMBERS_AND_NAMES: dict[str, Callable[[random.Random], str]] = {
    "person": lambda draw: f"{draw.choice(_FIRST_NAMES.split(','))} {_name(draw)}",
    "place": _name,
    "year": lambda draw: str(draw.randint(1480, 1990)),
    "metres": lambda draw: f"{draw.randint(12, 3900)} metres",
    "hectares": lambda draw: f"{draw.randint(2, 900)} hectares",
    "degrees": lambda draw: f"{draw.randint(4, 24)} degrees",
    "count": lambda draw: str(draw.randint(12, 4800)),
    "few": lambda draw: str(draw.randint(1, 14)),
    "crowns": lambda draw: f"{draw.randint(2, 90)} crowns",
    "tonnes": lambda draw: f"{draw.randint(3, 60)} tonnes",
    "kmh": lambda draw: f"{draw.randint(15, 240)} kilometres an hour",
    "minutes": lambda draw: f"{draw.randint(10, 180)} minutes",
    "hours": lambda draw: f"{draw.randint(6, 11)} to {draw.randint(16, 22)} o'clock",
    "time": lambda draw: f"{draw.randint(5, 23)}:{draw.randint(0, 11) * 5:02}",
    "phone": lambda draw: f"{draw.randint(200, 999)} {draw.randint(1000, 9999)}",
}


def _with_article(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"
