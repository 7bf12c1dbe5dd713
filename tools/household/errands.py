"""Generated household requests for the small flat, each with the chain of actions that carries it out."""

import random
from collections.abc import Iterator
from functools import cache, lru_cache
from importlib.resources import files
from typing import NamedTuple

from pydantic import BaseModel

from toolken.tools.household.errors import HouseholdError
from toolken.tools.household.household import Household
from toolken.tools.household.naming import title
from toolken.tools.household.toolkens import write_plan
from toolken.tools.records import CallRecord, ExampleRecord

Chain = tuple[tuple[str, str], ...]
"""Tool and object of each call."""


class Errand(BaseModel):
    """Requests of one kind: every wording is combined with every noun.

    In wordings and chain, {x} stands for the noun; of a noun written "x | y", {x} and {y} stand for the two halves.
    """

    asked: list[str]
    """Direct requests, as orders that begin with a verb."""
    hinted: list[str]
    """Indirect requests, as whole sentences."""
    nouns: list[str]
    chain: Chain
    last: bool = False
    """Whether no other errand can follow, because the character sits or lies."""


class Phrasebook(BaseModel):
    """The content of the file of wordings."""

    frames: list[str]
    """Sentences around an order, which replaces {c}."""
    joints: list[str]
    """Conjunctions between two orders."""
    errands: list[Errand]


class Request(NamedTuple):
    """One errand with a noun and a wording."""

    text: str
    is_order: bool
    chain: Chain
    last: bool


_LONGEST_CHAIN = 8
_MOST_TRIES = 1000


def examples(count: int, seed: int = 0) -> Iterator[ExampleRecord]:
    """Yield household requests with the calls that carry them out in the small flat.

    Every chain starts in the unchanged flat, all of its calls succeed, and the question names every object verbatim.
    About one request in four asks for two things.

    Parameters
    ----------
    count
        Number of examples; no two questions are equal.
    seed
        Equal seeds give equal examples.

    Raises
    ------
    HouseholdError
        If count is negative, or larger than the number of different requests.
    SimulatorMissingError
        If the simulator is not installed.
    """
    if count < 0:
        raise HouseholdError(f"{count} examples cannot be made; ask for 0 or more.")
    source = random.Random(seed)
    seen: set[str] = set()
    for made in range(count):
        for _ in range(_MOST_TRIES):
            question, chain = _question(source)
            if question not in seen:
                break
        else:
            raise HouseholdError(f"Only {made} different requests were found; ask for fewer than {count}.")
        seen.add(question)
        results = _results(chain)
        calls = [
            CallRecord(tool=tool, args={"object": name}, result=result)
            for (tool, name), result in zip(chain, results, strict=True)
        ]
        yield ExampleRecord(question=question, calls=calls)


def errand_plans(count: int, seed: int = 0) -> Iterator[tuple[str, list[str]]]:
    """Yield household requests, each with the plan in toolkens that carries it out in the small flat.

    The requests are those of `examples`. An object's toolken is the unambiguous name of one thing of the flat, whatever
    the request calls it: `<kitchen_light>`.

    Parameters
    ----------
    count, seed
        As for `examples`.

    Raises
    ------
    HouseholdError, SimulatorMissingError
        As for `examples`.
    """
    for record in examples(count, seed):
        chain = tuple((call["tool"], call["args"]["object"]) for call in record["calls"])
        yield record["question"], list(_plan(chain))


@lru_cache(maxsize=4096)
def _plan(chain: Chain) -> tuple[str, ...]:
    home = Household()
    steps = []
    for tool, name in chain:
        observation = home.step(tool, name)
        steps.append((observation.verb, title(home.view, observation.objects[0]).replace(" ", "_")))
    return tuple(write_plan(steps))


@cache
def phrasebook() -> Phrasebook:
    """Return the wordings that requests are generated from."""
    text = files("toolken.tools.household").joinpath("data/errands.json").read_text(encoding="utf-8")
    return Phrasebook.model_validate_json(text)


@cache
def _by_last_tool() -> list[list[Errand]]:
    groups: dict[str, list[Errand]] = {}
    for errand in phrasebook().errands:
        groups.setdefault(errand.chain[-1][0], []).append(errand)
    return list(groups.values())


def _question(source: random.Random) -> tuple[str, Chain]:
    first = _request(source)
    if not first.is_order:
        return first.text, first.chain
    order, chain = first.text, first.chain
    if not first.last and source.random() < 0.3:
        second = _request(source)
        if second.is_order and _follows(first.chain, second.chain):
            order, chain = order + source.choice(phrasebook().joints) + second.text, (*chain, *second.chain)
    question = source.choice(phrasebook().frames).format(c=order)
    return question[0].upper() + question[1:], chain


def _request(source: random.Random) -> Request:
    # The last tool is drawn first, so that a tool with few errands is not rare.
    errand = source.choice(source.choice(_by_last_tool()))
    x, _, y = source.choice(errand.nouns).partition(" | ")
    wording = source.choice((*errand.asked, *errand.hinted))
    chain = tuple((tool, name.format(x=x, y=y)) for tool, name in errand.chain)
    return Request(wording.format(x=x, y=y), wording in errand.asked, chain, errand.last)


def _follows(first: Chain, second: Chain) -> bool:
    """Return whether a second errand can follow: both chains succeed and have no object in common."""
    if len(first) + len(second) > _LONGEST_CHAIN or {name for _, name in first} & {name for _, name in second}:
        return False
    try:
        _results((*first, *second))
    except HouseholdError:
        return False
    return True


@lru_cache(maxsize=4096)
def _results(chain: Chain) -> tuple[str, ...]:
    """Return the results of a chain of tool calls in a new flat."""
    home = Household()
    return tuple(home.step(tool, name).text for tool, name in chain)
