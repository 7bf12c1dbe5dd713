"""`Dataset`: a benchmark's tools, its examples, and what its figures are reported on."""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from toolken.errors import DataFormatError
from toolken.training.examples import Example
from toolken.training.tool_spec import ToolSpec


@dataclass(frozen=True)
class Evaluation:
    """What a figure is reported on.

    Attributes
    ----------
    specs
        The tools to choose among.
    examples
        The questions with the calls that answer them; with an answer where there are word positions to fire at.
    """

    specs: list[ToolSpec]
    examples: list[Example]


@dataclass(frozen=True)
class Dataset:
    """A benchmark's tools and examples.

    Attributes
    ----------
    name
        Of the benchmark.
    specs
        All tools, in the order of their ids, named without "<" and ">" (but for the toolkens of virtualhome).
    train
        Training examples by the kind of data: "supervised" where there is only one kind.
    tests
        What figures are reported on, by name. No question of it stands in `train` or `dev`.
    dev
        Examples to choose settings on, by the same kinds; none where figures are reported on the published dev file.
    preamble
        Published text in front of each question, the same everywhere (demonstrations); a format may leave it out.
    read, dropped
        File -> number of records that are used, and file -> reason -> number of records that are not.
    missing
        Files that the published folder has and this one has not.
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
        """Say how many records of each file are not used, and why: a line for each reason, and each missing file."""
        return [
            f"{self._label(file)}: {count} of {self.read[file] + sum(reasons.values())} records dropped: {reason}"
            for file, reasons in self.dropped.items()
            for reason, count in reasons.items()
        ] + [f"{self._label(file)}: there is no such file" for file in self.missing]

    def _label(self, file: str) -> str:
        return file if Path(file).is_absolute() else f"{self.name}/{file}"


def leave_out(dataset: Dataset, count: int = 299, seed: int = 0, *, test: str | None = None) -> Dataset:
    """Leave tools out of training, to measure how well they are chosen from their descriptions alone.

    Parameters
    ----------
    dataset
        All tools.
    count
        How many tools are left out, drawn with `seed` among those that the test asks for.
    seed
        Of the draw.
    test
        Which of the tests the questions are taken from; the first one where it is not given.

    Returns
    -------
    Dataset
        The other tools as `specs`, with their training examples; as `tests["left-out"]` the questions of the tools
        left out, to choose among these; as `dev["supervised"]` besides the questions of the same test that ask for
        the other tools, to choose settings on.

    Raises
    ------
    DataFormatError
        If there are not more tools than are to be left out.
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
    """Return the examples whose calls are all of these tools."""
    return [example for example in examples if example.calls and all(call.tool in tools for call in example.calls)]
