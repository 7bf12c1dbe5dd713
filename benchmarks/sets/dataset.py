"""`Dataset`: a benchmark's tools, training examples and tests."""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from toolken.errors import DataFormatError
from toolken.training.examples import Example
from toolken.training.tool_spec import ToolSpec


@dataclass(frozen=True)
class Evaluation:
    """A test: the tools to choose among and the questions.

    Attributes
    ----------
    specs
        The tools to choose among.
    examples
        The questions with the calls that answer them; with an answer if calls occur in running text.
    """

    specs: list[ToolSpec]
    examples: list[Example]


@dataclass(frozen=True)
class Dataset:
    """A benchmark's tools and examples.

    Attributes
    ----------
    name
        Name of the benchmark.
    specs
        All tools, in the order of their ids, named without "<" and ">" (except the toolkens of virtualhome).
    train
        Training examples by kind of data: "supervised" if there is only one kind.
    tests
        Tests by name. Their questions occur neither in `train` nor in `dev`.
    dev
        Examples to choose settings on, by the same kinds; none if the published dev file is the test.
    preamble
        Published text before each question, the same for all questions (demonstrations); a format may omit it.
    read, dropped
        File -> number of used records, and file -> reason -> number of skipped records.
    missing
        Files of the published folder that this folder lacks.
    """

    name: str
    specs: list[ToolSpec]
    train: dict[str, list[Example]]
    tests: dict[str, Evaluation]
    dev: dict[str, list[Example]] = field(default_factory=dict)
    preamble: str = ""
    read: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, dict[str, int]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)

    def report(self) -> list[str]:
        """Return a line per file and reason with the number of skipped records, and a line per missing file."""
        return [
            f"{self._label(file)}: {count} of {self.read[file] + sum(reasons.values())} records dropped: {reason}"
            for file, reasons in self.dropped.items()
            for reason, count in reasons.items()
        ] + [f"{self._label(file)}: missing" for file in self.missing]

    def _label(self, file: str) -> str:
        return file if Path(file).is_absolute() else f"{self.name}/{file}"


def leave_out(dataset: Dataset, count: int = 299, seed: int = 0, *, test: str | None = None) -> Dataset:
    """Remove tools from training, to measure how well their descriptions alone identify them.

    Parameters
    ----------
    dataset
        The data set with all tools.
    count
        Number of tools to leave out, sampled among the tools that the test calls.
    seed
        Seed of the sample.
    test
        Name of the test that supplies the questions; by default the first.

    Returns
    -------
    Dataset
        The remaining tools as `specs`, with their training examples; `tests["left-out"]`, the questions of the tools
        left out, with only these as candidates; `dev["supervised"]`, the questions of the same test that call the
        remaining tools, to choose settings on.

    Raises
    ------
    DataFormatError
        If `count` is not between 1 and the number of tools that the test calls, exclusive.
    """
    evaluation = next(iter(dataset.tests.values())) if test is None else dataset.tests[test]
    asked = {call.tool for example in evaluation.examples for call in example.calls}
    known = [spec.name for spec in evaluation.specs if spec.name in asked]
    if not 0 < count < len(known):
        raise DataFormatError(
            f"{count} tools cannot be left out of {len(known)} that {dataset.name} has questions for: leave out "
            f"between 1 and {len(known) - 1}."
        )
    out = set(random.Random(seed).sample(known, count))
    seen = {spec.name for spec in dataset.specs} - out
    return replace(
        dataset,
        specs=[spec for spec in dataset.specs if spec.name in seen],
        train={kind: _calling(examples, seen) for kind, examples in dataset.train.items()},
        dev={"supervised": _calling(evaluation.examples, seen)},
        tests={
            "left-out": Evaluation(
                specs=[spec for spec in evaluation.specs if spec.name in out],
                examples=_calling(evaluation.examples, out),
            )
        },
    )


def _calling(examples: Iterable[Example], tools: set[str]) -> list[Example]:
    """Return the examples that call only these tools."""
    return [example for example in examples if example.calls and all(call.tool in tools for call in example.calls)]
