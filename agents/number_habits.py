"""`NumberHabits`: a copy rule for chains of calculations, counted in a head's few-shot examples."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from toolken.agents.grammar.copy_limits import CopyLimits
from toolken.tools.numerals import numbers_in
from toolken.training.examples import FewShotExample
from toolken.training.head.toolken_head import ToolkenHead

#: Share of a tool's later calls at which its habit becomes a rule. Chosen before the evaluation, not tuned.
RULE_SHARE = 0.75
#: Weight of the share over all tools, in few-shot examples, when a tool's own share is estimated.
PRIOR_CALLS = 4.0


@dataclass(frozen=True)
class NumberHabits:
    """How calls after a result take their numbers, as a `CopyRule`.

    Most chains of calculations use the last result, and no number of the question twice. A small model does neither.
    How often both hold differs among tools and data, so it is counted in few-shot examples.

    `DecodingOptions(copy_rule=NumberHabits.of_head(head))` makes the habits of a head's calculator a rule.

    Attributes
    ----------
    uses_result
        Per tool: share of later calls that take a result which no earlier call took.
    repeats_none
        Per tool: share of later calls after which no number was taken more often than question and results contain it.

    Examples
    --------
    >>> habits = NumberHabits(uses_result={"add": 0.9}, repeats_none={"add": 0.9})
    >>> habits("add", ["42"], [{"numbers": [6, 7]}])
    CopyLimits(unavailable=(6.0, 7.0), one_of=frozenset({42.0}))
    """

    uses_result: Mapping[str, float]
    repeats_none: Mapping[str, float]

    @classmethod
    def of_head(cls, head: ToolkenHead) -> "NumberHabits":
        """Count the habits in a head's few-shot examples."""
        return cls.of(head.few_shot.shown)

    @classmethod
    def of(cls, few_shot: Iterable[FewShotExample]) -> "NumberHabits":
        """Count the habits in few-shot examples of later calls; first calls are ignored."""
        counts: dict[str, list[float]] = {}
        for one in few_shot:
            mine = Counter(numbers_of(one.args))
            if not one.results or not mine:
                continue
            taken = Counter(number for args in one.before for number in numbers_of(args))
            written = Counter(_numbers([one.question, *one.results]))
            count = counts.setdefault(one.tool, [0.0, 0.0, 0.0])
            count[0] += 1
            count[1] += any(number in mine and number not in taken for number in _numbers(one.results))
            count[2] += not any(taken[number] and written[number] < taken[number] + mine[number] for number in mine)
        whole = [sum(count[at] for count in counts.values()) for at in range(3)]
        shares: list[dict[str, float]] = [{}, {}]
        for tool, count in counts.items():
            for at in (1, 2):
                overall = whole[at] / whole[0]
                shares[at - 1][tool] = (count[at] + PRIOR_CALLS * overall) / (count[0] + PRIOR_CALLS)
        return cls(*shares)

    def __call__(self, tool: str, results: Sequence[str], before: Sequence[Mapping[str, Any]]) -> CopyLimits | None:
        """Return the limits of a call after some results; None for a first call, or a tool without such habits.

        Parameters
        ----------
        results
            Results of the earlier calls.
        before
            Arguments of the earlier calls.
        """
        if not results:
            return None
        taken = tuple(number for args in before for number in numbers_of(args))
        repeats_none = self.repeats_none.get(tool, 0.0) >= RULE_SHARE
        uses_result = self.uses_result.get(tool, 0.0) >= RULE_SHARE
        one_of = frozenset(_numbers(results)) - set(taken) if uses_result else frozenset()
        return CopyLimits(taken if repeats_none else (), one_of) if (repeats_none and taken) or one_of else None


def numbers_of(args: Mapping[str, Any]) -> list[float]:
    """Return the numbers among arguments and in their lists; percentages are left out."""
    flat = [one for value in args.values() for one in (value if isinstance(value, list) else [value])]
    return _numbers(
        str(value) for value in flat if isinstance(value, int | float | str) and not isinstance(value, bool)
    )


def _numbers(texts: Iterable[str]) -> list[float]:
    return [float(number) for text in texts for number in numbers_in(text) if not number.startswith('"')]
