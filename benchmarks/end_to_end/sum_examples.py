"""Converts published arithmetic solutions to training examples: calls alone, or one line of running text."""

import re

from toolken.benchmarks.end_to_end.sum_numbers import number
from toolken.tools.calculator.errors import CalculationError
from toolken.tools.calculator.tools import keyword_arguments
from toolken.tools.numerals import numbers_in
from toolken.training.examples import Call, Example


def calls_alone(example: Example) -> Example | None:
    """Return a solution as its question and its calls without running text.

    None if an operand occurs neither in the question nor in an earlier result: such a call cannot be copied, and would
    train the model to invent numbers.
    """
    question = example.question.strip()
    known = {number(one.strip('"')) for one in numbers_in(question)}
    calls: list[Call] = []
    for call in example.calls:
        operands = [number(value) for value in call.args.values()]
        if None in operands or not set(operands) <= known:
            return None
        try:
            args = keyword_arguments(call.tool, [_literal(one) for one in operands if one is not None])
        except CalculationError:
            return None
        calls.append(Call(tool=call.tool, args=args, result=call.result))
        known.add(number(call.result))
    return Example(question=question, calls=tuple(calls)) if calls and example.question else None


def in_one_line(example: Example, final: str) -> Example | None:
    """Return a solution on one line that ends with its final answer, with calls at their results.

    None if the operands of a call do not match its tool.
    """
    body = (example.answer or "").partition("####")[0]
    calls = []
    for call in example.calls:
        operands = [number(value) for value in call.args.values()]
        if call.start is None or call.start + len(call.result) > len(body) or None in operands:
            return None
        try:
            args = keyword_arguments(call.tool, [_literal(one) for one in operands if one is not None])
        except CalculationError:
            return None
        calls.append(call.model_copy(update={"args": args}))
    # White space is replaced character by character, so that the offsets of results stay valid.
    answer = re.sub(r"\s", " ", body).rstrip() + f" The answer is {final}."
    return Example(question=example.question, answer=answer, calls=tuple(calls)) if calls else None


def _literal(value: float) -> int | float:
    return int(value) if value == int(value) and abs(value) < 1e15 else value
