"""Questions whose answer is a number, and the scores of attempts at them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from toolken.benchmarks.end_to_end.sum_numbers import flat, last_number, number
from toolken.benchmarks.end_to_end.traces import Attempt, TracePiece
from toolken.benchmarks.end_to_end.trials import Question
from toolken.training.examples import Example

#: Operations whose operands may occur in any order.
COMMUTATIVE = ("add", "multiply", "lcm", "gcd")
#: Metrics in the order of the stages.
STAGES = ("call", "tools", "arguments", "execution", "answer, strict", "answer")

Rule = Literal["two decimals", "0.1 %"]


@dataclass(frozen=True)
class Sum:
    """The reference of a question.

    Attributes
    ----------
    answer
        The published answer.
    rule
        Criterion of a right number: equal after rounding to two decimals, or within 0.1 %.
    calls
        (tool, operands) pairs of one right solution; None if unknown.
    """

    answer: str
    rule: Rule
    calls: tuple[tuple[str, tuple[float, ...]], ...] | None = None


def sum_question(at: int, question: str, answer: str, rule: Rule, example: Example | None = None) -> Question:
    """Return a question of a test; `example` is one right solution."""
    calls = None
    if example is not None:
        read = [(call.tool, tuple(number(v) for v in call.args.values())) for call in example.calls]
        if all(None not in operands for _, operands in read):
            calls = tuple((tool, tuple(v for v in operands if v is not None)) for tool, operands in read)
    shown = " ".join(f"{tool}({', '.join(f'{v:g}' for v in operands)})" for tool, operands in calls or ())
    return Question(at, question.strip(), f"{answer}  {shown}".strip(), Sum(answer, rule, calls))


def score(question: Question, attempt: Attempt) -> dict[str, float]:
    """Score an attempt.

    Returns
    -------
    dict
        call: whether the attempt calls a tool. tools, arguments: whether the tools, and also the operands, match the
        known solution; others may exist. execution: whether every call returned a result. "answer" is the published
        rule: equal after rounding to two decimals, or within 0.1 % for multi-hop questions. "answer, strict": all
        published digits are right.
    """
    known: Sum = question.reference
    calls = attempt.calls
    found = last_number(attempt.answer)
    scores: dict[str, float] = {"call": float(bool(calls))}
    if known.calls is not None:
        tools = [call.tool for call in calls] == [tool for tool, _ in known.calls]
        right = tools and all(_same(call, operands) for call, (_, operands) in zip(calls, known.calls, strict=True))
        scores |= {"tools": float(tools), "arguments": float(right)}
    scores["execution"] = float(bool(calls) and not any(call.failed for call in calls))
    return scores | {
        "answer, strict": float(found is not None and is_exact(found, known.answer)),
        "answer": float(found is not None and is_right(found, known.answer, known.rule)),
    }


def is_right(found: float, answer: str, rule: Rule) -> bool:
    """Return whether a number is right by the published rule."""
    wanted = number(answer)
    if wanted is None:
        return False
    if rule == "two decimals":
        return round(found, 2) == round(wanted, 2)
    return abs(found - wanted) <= 0.001 * abs(wanted)


def is_exact(found: float, answer: str) -> bool:
    """Return whether a number, rounded to the digits of the published answer, equals it."""
    wanted = number(answer)
    places = len(answer.partition(".")[2].rstrip("0"))
    return wanted is not None and abs(found - wanted) <= 0.5 * 10**-places + 1e-9 * abs(wanted)


def _same(call: TracePiece, operands: Sequence[float]) -> bool:
    mine = [number(value) for value in flat(call.arguments.values())]
    if call.tool in COMMUTATIVE:
        return sorted(v for v in mine if v is not None) == sorted(operands) and None not in mine
    return mine == list(operands)
