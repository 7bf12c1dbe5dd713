"""GSM8K-XL end to end: word problems with large numbers and four operations."""

import random
from pathlib import Path

from toolken.benchmarks.end_to_end.arithmetic import METHODS, Sums
from toolken.benchmarks.end_to_end.run import Options
from toolken.benchmarks.end_to_end.sum_examples import in_one_line
from toolken.benchmarks.end_to_end.sum_scores import sum_question
from toolken.benchmarks.end_to_end.trials import Trial, read_questions
from toolken.benchmarks.sets.data_files import DataFolder
from toolken.benchmarks.sets.gsm8k_xl import read_gsm8k_xl
from toolken.training.examples import Example
from toolken.training.lm import FrozenLM

__all__ = ["METHODS", "trials"]

#: Maximum of training problems.
PROBLEMS = 400


def trials(lm: FrozenLM, folder: Path, options: Options) -> list[Trial]:
    """Return the trials."""
    dataset = read_gsm8k_xl(folder)
    files = DataFolder("gsm8k-xl", folder)
    solved = dataset.tests["test"].examples if "test" in dataset.tests else []
    known = {" ".join(one.question.split()): one for one in solved}
    tests = read_questions(
        files,
        "test.jsonl",
        lambda at, record: sum_question(
            at, record["question"], str(record["result"]), "two decimals", known.get(_plain(record))
        ),
    )
    solutions = list(dataset.train.get("supervised", []))
    random.Random(0).shuffle(solutions)
    solutions = solutions[:PROBLEMS]
    unseen = dataset.tests["dev"].examples if "dev" in dataset.tests else []
    dev = [sum_question(at, one.question, _final(one), "two decimals", one) for at, one in enumerate(unseen)]
    texts = [text for one in unseen if (text := in_one_line(one, _final(one))) is not None]
    random.Random(0).shuffle(texts)
    return Sums(
        benchmark="gsm8k-xl",
        lm=lm,
        options=options,
        names=[spec.name for spec in dataset.specs],
        solutions=solutions,
        finals=[_final(one) for one in solutions],
        tests={"test": tests},
        dev={"test": dev},
        dev_texts={"test": texts},
        reasoned=True,
    ).trials()


def _final(example: Example) -> str:
    return (example.answer or "").rpartition("####")[2].strip() or (example.calls[-1].result if example.calls else "")


def _plain(record: dict[str, object]) -> str:
    return " ".join(str(record["question"]).split())
