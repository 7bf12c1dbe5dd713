"""`NumberUse`: which numbers a call may take when other calls of the same question have taken some."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from toolken.tools.numerals import numbers_in
from toolken.training.examples import Demonstration

#: Share of a tool's later calls from which on a rule is held to. Set beforehand and not tuned.
HELD = 0.75
#: Demonstrations of all tools together that count as much as a tool's own.
PRIOR_CALLS = 4.0


@dataclass(frozen=True)
class NumberUse:
    """What the calls before leave to a later one.

    Attributes
    ----------
    taken
        Numbers that are used up, as often as they were taken.
    wanted
        Numbers one of which has to be among the arguments; none where anything will do.
    """

    taken: tuple[float, ...] = ()
    wanted: frozenset[float] = frozenset()


@dataclass(frozen=True)
class NumberHabits:
    """How calls behind a result took their numbers in the demonstrations of a head.

    A chain of calls mostly works on: it takes up the last result, and does not take a number of the question twice.
    A small model knows neither. How far both hold differs among tools and data, so it is counted.

    Attributes
    ----------
    works_on
        Of each tool: share of later calls with a result that no call before them took.
    takes_fresh
        Of each tool: share of later calls that take no number more often than it stands in question and results.
    """

    works_on: Mapping[str, float]
    takes_fresh: Mapping[str, float]

    @classmethod
    def of(cls, demonstrations: Iterable[Demonstration]) -> "NumberHabits":
        """Count in demonstrations; those of first calls say nothing."""
        counts: dict[str, list[float]] = {}
        for one in demonstrations:
            mine = Counter(numbers_of(one.args))
            if not one.results or not mine:
                continue
            spent = Counter(number for args in one.before for number in numbers_of(args))
            written = Counter(_in_text([one.question, *one.results]))
            count = counts.setdefault(one.tool, [0.0, 0.0, 0.0])
            count[0] += 1
            count[1] += any(number in mine and number not in spent for number in _in_text(one.results))
            count[2] += not any(spent[number] and written[number] < spent[number] + mine[number] for number in mine)
        whole = [sum(count[at] for count in counts.values()) for at in range(3)]
        shares: list[dict[str, float]] = [{}, {}]
        for tool, count in counts.items():
            for at in (1, 2):
                overall = whole[at] / whole[0]
                shares[at - 1][tool] = (count[at] + PRIOR_CALLS * overall) / (count[0] + PRIOR_CALLS)
        return cls(*shares)

    def use(self, tool: str, results: Sequence[str], before: Sequence[Mapping[str, Any]]) -> NumberUse | None:
        """Return what is left to a call of a tool behind some results; None where anything will do.

        Parameters
        ----------
        results
            Results of the calls before it.
        before
            Their arguments.
        """
        if not results:
            return None
        spent = tuple(number for args in before for number in numbers_of(args))
        fresh = self.takes_fresh.get(tool, 0.0) >= HELD
        works_on = self.works_on.get(tool, 0.0) >= HELD
        wanted = frozenset(_in_text(results)) - set(spent) if works_on else frozenset()
        return NumberUse(spent if fresh else (), wanted) if (fresh and spent) or wanted else None


def numbers_of(args: Mapping[str, Any]) -> list[float]:
    """Return the numbers among arguments, those in lists included."""
    flat = [one for value in args.values() for one in (value if isinstance(value, list) else [value])]
    return _in_text(
        str(value) for value in flat if isinstance(value, int | float | str) and not isinstance(value, bool)
    )


def _in_text(texts: Iterable[str]) -> list[float]:
    return [float(number) for text in texts for number in numbers_in(text) if not number.startswith('"')]
