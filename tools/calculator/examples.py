"""Word problems with the calls that answer them, for fitting heads without outside data."""

import json
from collections.abc import Iterator
from random import Random
from typing import TYPE_CHECKING, Any

from toolken.tools.calculator.tools import OPERATIONS, calculator_tools, keyword_arguments
from toolken.tools.calculator.word_problems import MULTI_STEP, ONE_STEP, OPENINGS, WORDS, Scenario
from toolken.tools.records import CallRecord, ExampleRecord

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

_MULTI_STEP_SHARE = 1 / 3
_SEPARATED_SHARE = 0.5  # of the questions in which numbers from 1,000 up are written with separators


def examples(count: int, seed: int = 0, *, max_calls: int = 3) -> Iterator[ExampleRecord]:
    """Yield arithmetic word problems over the thirteen operations.

    One-step problems cover every operation equally often; a third of all problems take two or three calls, of which
    a later one uses an earlier result. An argument is written as it stands in the question or in that result: as a
    JSON number where JSON writes it so, else as text, `"1,250"` or `"4.50"`.

    Parameters
    ----------
    count
        How many; no two have the same question.
    seed
        The same seed yields the same problems, and the first ones do not depend on `count`.
    max_calls
        The most calls a problem may take; 1 for one-step problems only.

    Raises
    ------
    ValueError
        If `max_calls` is below 1.

    Examples
    --------
    >>> record = next(examples(1, seed=3))
    >>> record["calls"][0]["tool"] in OPERATIONS
    True
    """
    if max_calls < 1:
        raise ValueError(f"max_calls is {max_calls}: a problem takes at least one call.")
    return _stream(count, seed, max_calls)


def _stream(count: int, seed: int, max_calls: int) -> Iterator[ExampleRecord]:
    rng = Random(f"calculator {seed}")
    tools = {tool.name: tool for tool in calculator_tools("operations")}
    chains = [scenario for scenario in MULTI_STEP if len(scenario.steps) <= max_calls]
    asked: set[str] = set()
    while len(asked) < count:
        if chains and rng.random() < _MULTI_STEP_SHARE:
            scenario = rng.choice(chains)
        else:
            scenario = rng.choice(ONE_STEP[rng.choice(OPERATIONS)])
        record = _record(scenario, rng, tools)
        if record["question"] not in asked:
            asked.add(record["question"])
            yield record


def _record(scenario: Scenario, rng: Random, tools: "dict[str, BaseTool]") -> ExampleRecord:
    separated = rng.random() < _SEPARATED_SHARE
    numbers = {
        slot: value if isinstance(value, str) else f"{value:,}" if separated else str(value)
        for slot, value in scenario.draw(rng).items()
    }
    words = {slot: rng.choice(choices) for slot, choices in WORDS.items()}
    text = f"{rng.choice(scenario.stories)} {rng.choice(scenario.asks)}".strip().format(**words, **numbers)
    opening = rng.choice(OPENINGS)
    question = f"{opening}{text[0].upper()}{text[1:]}"
    calls: list[CallRecord] = []
    for step in scenario.steps:
        operation, *slots = step.split()
        operands = [_literal(calls[int(slot[1:]) - 1]["result"] if slot[0] == "#" else numbers[slot]) for slot in slots]
        arguments = keyword_arguments(operation, operands)
        # Invoked as by an agent, so that the result is the very text a conversation would hold.
        message = tools[operation].invoke({"type": "tool_call", "id": "", "name": operation, "args": arguments})
        if message.status == "error":
            raise RuntimeError(f"The scenario {scenario.steps} drew numbers it cannot compute with: {message.content}")
        calls.append(CallRecord(tool=operation, args=arguments, result=message.content))
    return ExampleRecord(question=question, calls=calls)


def _literal(numeral: str) -> Any:
    """Return the JSON number that is written exactly like the numeral, or else the numeral."""
    try:
        number = json.loads(numeral)
    except json.JSONDecodeError:
        return numeral
    return number if json.dumps(number) == numeral else numeral
