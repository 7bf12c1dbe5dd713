"""FuncQA end to end: questions that need one or several calls of thirteen operations."""

from functools import partial
from pathlib import Path
from typing import Any

from toolken.benchmarks.end_to_end.arithmetic import METHODS, Sums
from toolken.benchmarks.end_to_end.run import Options
from toolken.benchmarks.end_to_end.sum_scores import Rule, sum_question
from toolken.benchmarks.end_to_end.trials import Question, Trial, read_questions
from toolken.benchmarks.sets.data_files import DataFolder
from toolken.benchmarks.sets.funcqa import read_funcqa
from toolken.benchmarks.sets.funcqa import solution as read_solution
from toolken.tools.calculator import examples as generated
from toolken.training.examples import Example, from_records
from toolken.training.lm import FrozenLM

__all__ = ["METHODS", "trials"]

#: Generated training problems of one to three calls, since the published ones have one, and generated dev problems.
GENERATED, GENERATED_DEV = 600, 40
FILES = {"one-hop": "test_one_hop.json", "multi-hop": "test_multi_hop.json"}


def trials(lm: FrozenLM, folder: Path, options: Options) -> list[Trial]:
    """Return the trials of both tests."""
    dataset = read_funcqa(folder)
    files = DataFolder("funcqa", folder)
    tests: dict[str, list[Question]] = {}
    for split, file in FILES.items():
        if files.has(file):
            tests[split] = read_questions(files, file, partial(_question, split))
    solutions = [one for one in dataset.train.get("supervised", []) if one.question and one.calls]
    made = list(from_records(generated(GENERATED + GENERATED_DEV, seed=1)))
    held_out = [one for one in made[GENERATED:] if len(one.calls) > 1]
    dev_examples = [one for one in dataset.tests["dev"].examples if one.question] if "dev" in dataset.tests else []
    dev = {
        "one-hop": [
            sum_question(at, one.question, one.calls[-1].result, "two decimals", one)
            for at, one in enumerate(dev_examples)
            if one.calls
        ],
        "multi-hop": [sum_question(at, one.question, one.calls[-1].result, "0.1 %") for at, one in enumerate(held_out)],
    }
    return Sums(
        benchmark="funcqa",
        lm=lm,
        options=options,
        names=[spec.name for spec in dataset.specs],
        solutions=solutions,
        finals=[one.calls[-1].result for one in solutions],
        tests=tests,
        dev=dev,
        chains=made[:GENERATED],
    ).trials()


def _question(split: str, at: int, record: dict[str, Any]) -> Question:
    rule: Rule = "two decimals" if split == "one-hop" else "0.1 %"
    return sum_question(at, record["question"].strip(), str(record["answer"]), rule, _example(record))


def _example(record: dict[str, object]) -> Example | None:
    """Return the published solution; None if it cannot be parsed."""
    from toolken.errors import DataFormatError

    try:
        return read_solution(record)
    except DataFormatError:
        return None
