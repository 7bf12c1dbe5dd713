"""Load time, lookup time and memory of a knowledge base on SQLite."""

import multiprocessing
import random
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

from rich.console import Console
from rich.table import Table
from sqlalchemy import create_engine, literal, select

from toolken.tools.knowledge import tables
from toolken.tools.knowledge.errors import KnowledgeError, NothingFoundError
from toolken.tools.knowledge.facts import Relation, Triple
from toolken.tools.knowledge.knowledge_base import KnowledgeBase
from toolken.tools.knowledge.names import fold

RELATIONS = 20
FACTS_PER_SUBJECT = 5

_SYLLABLES = tuple(
    "ka,ró,mi,ten,sól,ber,an,vel,do,ri,gha,lu,sto,pé,mar,in,eth,os,ul,na,zu,fay,qui,wo".split(",")  # noqa: SIM905
)


def measure(facts: int = 1_000_000, lookups: int = 2_000, seed: int = 0) -> dict[str, float]:
    """Load synthetic facts into a SQLite file, look some up, and print and return time and memory.

    Each size is loaded in a separate process, so that their peak memories are independent.

    Parameters
    ----------
    facts : int
        Number of facts, at least 1,000; five per subject, spread over 20 relations.
    lookups : int
        Number of timed lookups that use the index.
    seed : int
        Seed for the sample of facts to look up.

    Returns
    -------
    dict of str to float
        ``load_rows_per_s`` (including the index of near matches), ``lookup_median_ms`` and ``lookup_p99_ms``
        (`KnowledgeBase.lookup`), ``tool_median_ms`` (the same through the LangChain tool), ``scan_median_ms`` (the
        same statement without an index) and ``index_speedup``, its ratio to the lookup; ``near_match_median_ms`` (a
        name with two wrong letters) and ``near_match_offered`` (share of these whose right name is among the three
        suggestions), ``file_mb``, ``peak_mb`` and ``peak_mb_of_tenth`` (peak memory while loading all facts and a
        tenth of them).
    """
    if facts < 1_000 or lookups < 1:
        raise KnowledgeError(
            f"{facts} facts and {lookups} lookups are too few to measure: pass at least 1,000 facts and 1 lookup."
        )
    start = multiprocessing.get_context("spawn")
    with start.Pool(1, maxtasksperchild=1) as pool:
        tenth = pool.apply(_measure, (facts // 10, 1, seed))
        result = pool.apply(_measure, (facts, lookups, seed))
    result["peak_mb_of_tenth"] = tenth["peak_mb"]
    table = Table("measure", "value", title=f"knowledge base, {facts:,} facts on SQLite")
    for name, value in result.items():
        table.add_row(name, f"{value:,.0f}" if value >= 100 else f"{value:.3g}")
    Console().print(table)
    return result


def _fact(number: int) -> Triple:
    """Return a synthetic fact; five consecutive numbers share a subject."""
    subject = number // FACTS_PER_SUBJECT
    relation = (subject + number % FACTS_PER_SUBJECT * 7) % RELATIONS
    return Triple(_name(subject), f"relation_{relation}", f"object {number}")


@lru_cache(maxsize=2)
def _name(number: int) -> str:
    """Return a synthetic name of two words, some with accents, distinct for each number below 24**6."""
    rest, syllables = number * 48_271_939 % len(_SYLLABLES) ** 6, []
    for _ in range(6):
        rest, digit = divmod(rest, len(_SYLLABLES))
        syllables.append(_SYLLABLES[digit])
    return f"{''.join(syllables[:3]).capitalize()} {''.join(syllables[3:]).capitalize()}"


def _measure(facts: int, lookups: int, seed: int) -> dict[str, float]:
    relations = [Relation(f"relation_{number}", f"Relation {number}.") for number in range(RELATIONS)]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "facts.db"
        with KnowledgeBase(f"sqlite:///{file}", timeout=60.0) as kb:
            start = time.perf_counter()
            kb.load((_fact(number) for number in range(facts)), relations)
            load_seconds = time.perf_counter() - start
            # Linux reports kilobytes, macOS bytes.
            peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
                2**20 if sys.platform == "darwin" else 2**10
            )
            draw = random.Random(seed)
            asked = [_fact(draw.randrange(facts)) for _ in range(lookups)]
            tools = {tool.name: tool for tool in kb.tools()}
            by_index = _milliseconds(lambda fact: kb.lookup(fact.relation, fact.subject), asked)
            by_tool = _milliseconds(lambda fact: tools[fact.relation].invoke({"subject": fact.subject}), asked)
            near = _milliseconds(lambda fact: _near_match(kb, fact), asked[:50])
            offered = sum(_near_match(kb, fact) for fact in asked[:50]) / len(asked[:50])
        scan = _milliseconds(_scan(file), asked[:10])
        median = statistics.median(by_index)
        return {
            "load_rows_per_s": facts / load_seconds,
            "lookup_median_ms": median,
            "lookup_p99_ms": sorted(by_index)[int(0.99 * (len(by_index) - 1))],
            "tool_median_ms": statistics.median(by_tool),
            "scan_median_ms": statistics.median(scan),
            "index_speedup": statistics.median(scan) / median,
            "near_match_median_ms": statistics.median(near),
            "near_match_offered": offered,
            "file_mb": file.stat().st_size / 2**20,
            "peak_mb": peak_mb,
        }


def _milliseconds(ask: Callable[[Triple], object], facts: Sequence[Triple]) -> list[float]:
    times = []
    for fact in facts:
        start = time.perf_counter()
        ask(fact)
        times.append((time.perf_counter() - start) * 1000)
    return times


def _near_match(kb: KnowledgeBase, fact: Triple) -> bool:
    """Return whether the knowledge base suggests the right spelling of a name with one missing and one wrong letter."""
    try:
        kb.lookup(fact.relation, fact.subject[:4] + fact.subject[5:-1] + "x")
    except NothingFoundError as error:
        return fact.subject in error.suggestions
    return False


def _scan(file: Path) -> Callable[[Triple], object]:
    """Return the lookup with a condition that cannot use an index."""
    fact, relation = tables.fact, tables.relation
    ids = select(relation.c.name, relation.c.id)
    statement = select(fact.c.subject, fact.c.object)
    engine = create_engine(f"sqlite:///{file}")
    with engine.connect() as connection:
        by_name = {row.name: row.id for row in connection.execute(ids)}

    def ask(triple: Triple) -> object:
        same_relation = fact.c.relation_id + literal(0) == by_name[triple.relation]
        same_key = fact.c.key.concat("") == fold(triple.subject)
        with engine.connect() as connection:
            return connection.execute(statement.where(same_relation, same_key)).all()

    return ask


if __name__ == "__main__":
    measure()
