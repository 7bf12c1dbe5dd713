"""Training examples: questions about `world_facts` with the calls that answer them."""

import json
import random
import re
import unicodedata
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

from toolken.tools.knowledge.errors import KnowledgeError
from toolken.tools.knowledge.names import fold
from toolken.tools.knowledge.world import DATA, world_facts, world_knowledge
from toolken.tools.records import CallRecord, ExampleRecord

TWO_STEPS = 0.15
"""Share of questions with two calls, where the result of the first is the argument of the second."""

# (inner, outer): objects of the inner relation are subjects of the outer one.
_CHAINS = [
    (inner, outer)
    for inner in ("author_of", "composer_of", "painter_of", "director_of", "inventor_of")
    for outer in ("birthplace_of", "birth_year_of")
] + [
    ("country_of_mountain", outer)
    for outer in ("capital_of", "currency_of", "continent_of", "official_language_of", "calling_code_of")
]

_OPENINGS = [
    *[""] * 20,
    "Quick question: ",
    "Hello! ",
    "Hi! ",
    "Can you help me? ",
    "One for the quiz tonight: ",
    "For my homework: ",
    "I forgot this one. ",
    "Just curious: ",
    "Please look this up: ",
    "Next question. ",
    "Something I never remember: ",
    "My friend wants to know: ",
]
_AFTER_QUESTION = [*[""] * 16, " Thanks!", " Any idea?", " Please check.", " I have no idea.", " Do you know?"]
_AFTER_REQUEST = [*[""] * 8, " Thanks!", " Thank you."]
_ATTEMPTS = 2000


class _Subject(NamedTuple):
    """A subject of one relation: its name, aliases and objects."""

    name: str
    aliases: tuple[str, ...]
    objects: tuple[str, ...]


def examples(count: int, seed: int = 0) -> Iterator[ExampleRecord]:
    """Yield distinct questions about `world_knowledge` with the calls that answer them.

    Relations are equally frequent among questions with one call. Subjects appear under their name or an alias, with or
    without accents; some questions are in lower case. Arguments are spelt as in the question.

    Parameters
    ----------
    count : int
        Number of questions.
    seed : int
        The same seed gives the same questions; a larger count only appends more.

    Raises
    ------
    KnowledgeError
        The count is negative, or there are not that many different questions.
    """
    if count < 0:
        raise KnowledgeError(f"{count} examples cannot be made: ask for 0 or more.")
    draw = random.Random(seed)
    seen: set[str] = set()
    with world_knowledge() as kb:
        tools = {tool.name: tool for tool in kb.tools()}
        for lookup in tools.values():
            lookup.handle_tool_error = False  # an error message must not become the result of an example
        results: dict[tuple[str, str], str] = {}

        def call(tool: str, subject: str) -> CallRecord:
            if (tool, subject) not in results:
                results[tool, subject] = tools[tool].invoke({"subject": subject})
            return CallRecord(tool=tool, args={"subject": subject}, result=results[tool, subject])

        while len(seen) < count:
            for _ in range(_ATTEMPTS):
                question, plan = _question(draw)
                if question not in seen:
                    break
            else:
                raise KnowledgeError(
                    f"There are about {len(seen)} different questions, fewer than the {count} asked for."
                )
            seen.add(question)
            calls: list[CallRecord] = []
            for tool, subject in plan:
                calls.append(call(tool, subject or calls[-1]["result"]))
            yield ExampleRecord(question=question, calls=calls)


def _question(draw: random.Random) -> tuple[str, list[tuple[str, str]]]:
    """Draw a question and its calls as (tool, subject); an empty subject stands for the previous result."""
    if draw.random() < TWO_STEPS:
        inner, outer = draw.choice(_CHAINS)
        subject = draw.choice([one for one in _subjects()[inner] if _leads_on(one, outer)])
        written = _written(draw, subject)
        phrase = draw.choice(_wording(inner)["phrases"]).replace("{s}", _in_sentence(inner, written))
        question = draw.choice([one for one in _wording(outer)["questions"] if _ends_with_subject(one)])
        text, plan = question.replace("{s}", phrase), [(inner, written), (outer, "")]
    else:
        relation = draw.choice(list(_subjects()))
        written = _written(draw, draw.choice(_subjects()[relation]))
        question = draw.choice(_wording(relation)["questions"])
        if written[0] in "aeiou":
            question = re.sub(r"\ba \{s\}", "an {s}", question)
        text, plan = question.replace("{s}", _in_sentence(relation, written)), [(relation, written)]
    text = text[0].upper() + text[1:]
    text = draw.choice(_OPENINGS) + text + draw.choice(_AFTER_QUESTION if text.endswith("?") else _AFTER_REQUEST)
    if draw.random() < 0.08:
        text, plan = text.lower(), [(tool, subject.lower()) for tool, subject in plan]
    return text, plan


def _written(draw: random.Random, subject: _Subject) -> str:
    """Draw a spelling of a subject: its name or an alias, with or without accents."""
    name = draw.choice(subject.aliases) if subject.aliases and draw.random() < 0.25 else subject.name
    plain = "".join(letter for letter in unicodedata.normalize("NFKD", name) if not unicodedata.combining(letter))
    return plain if plain.isascii() and draw.random() < 0.3 else name


def _in_sentence(relation: str, name: str) -> str:
    wording = _wording(relation)
    takes_article = name in _all_wordings()["with_article"] or (
        wording.get("article", False) and name not in wording.get("bare", [])
    )
    return f"the {name}" if takes_article else name


def _ends_with_subject(question: str) -> bool:
    """Return whether a long phrase reads well as the subject: near the end, and without an ambiguous "'s"."""
    after = question.partition("{s}")[2]
    return len(after) <= len(" born in?") and not after.startswith("'s")


def _leads_on(subject: _Subject, outer: str) -> bool:
    known = {fold(one.name) for one in _subjects()[outer]}
    return len(subject.objects) == 1 and fold(subject.objects[0]) in known


@cache
def _subjects() -> dict[str, list[_Subject]]:
    """Return the subjects per relation, in the order of `world_facts`."""
    relations: dict[str, dict[str, _Subject]] = {}
    for triple in world_facts():
        subjects = relations.setdefault(triple.relation, {})
        before = subjects.get(triple.subject, _Subject(triple.subject, (), ()))
        subjects[triple.subject] = _Subject(
            triple.subject, before.aliases + triple.subject_aliases, (*before.objects, triple.object)
        )
    return {relation: list(subjects.values()) for relation, subjects in relations.items()}


@cache
def _all_wordings() -> dict[str, Any]:
    wordings: dict[str, Any] = json.loads((DATA / "questions.json").read_text(encoding="utf-8"))
    return wordings


def _wording(relation: str) -> dict[str, Any]:
    wording: dict[str, Any] = _all_wordings()["relations"][relation]
    return wording
