"""`NumberUse`: the numbers that a call may copy, given the earlier calls of the same question."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from toolken.tools.numerals import numbers_in
from toolken.training.examples import FewShotExample

#: Share of a tool's later calls from which on its habit becomes a rule. Chosen before the evaluation, not tuned.
HELD = 0.75
#: Weight of the share over all tools, in few-shot examples, when a tool's own share is estimated.
PRIOR_CALLS = 4.0


@dataclass(frozen=True)
class NumberUse:
    """The numbers that earlier calls leave to a later one.

    Attributes
    ----------
    taken
        Numbers that earlier calls took, each as often as it was taken.
    wanted
        Numbers of which the arguments must contain at least one; empty for no such rule.
    """

    taken: tuple[float, ...] = ()
    wanted: frozenset[float] = frozenset()


@dataclass(frozen=True)
class NumberHabits:
    """How calls after a result took their numbers in a head's few-shot examples.

    Most chains of calls use the last result, and no number of the question twice. A small model does neither. How
    often both hold differs among tools and data, so it is counted.

    Attributes
    ----------
    works_on
        Per tool: share of later calls that take a result which no earlier call took.
    takes_fresh
        Per tool: share of later calls after which no number was taken more often than question and results contain it.
    """

    works_on: Mapping[str, float]
    takes_fresh: Mapping[str, float]

    @classmethod
    def of(cls, few_shot: Iterable[FewShotExample]) -> "NumberHabits":
        """Count the habits in few-shot examples of later calls; first calls are ignored."""
        counts: dict[str, list[float]] = {}
        for one in few_shot:
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
        """Return the numbers left to a call of a tool after some results; None where no rule applies.

        Parameters
        ----------
        results
            Results of the earlier calls.
        before
            Arguments of the earlier calls.
        """
        if not results:
            return None
        spent = tuple(number for args in before for number in numbers_of(args))
        fresh = self.takes_fresh.get(tool, 0.0) >= HELD
        works_on = self.works_on.get(tool, 0.0) >= HELD
        wanted = frozenset(_in_text(results)) - set(spent) if works_on else frozenset()
        return NumberUse(spent if fresh else (), wanted) if (fresh and spent) or wanted else None


def numbers_of(args: Mapping[str, Any]) -> list[float]:
    """Return the numbers among arguments and in their lists; percentages are left out."""
    flat = [one for value in args.values() for one in (value if isinstance(value, list) else [value])]
    return _in_text(
        str(value) for value in flat if isinstance(value, int | float | str) and not isinstance(value, bool)
    )


def _in_text(texts: Iterable[str]) -> list[float]:
    return [float(number) for text in texts for number in numbers_in(text) if not number.startswith('"')]
