"""`Dataset`, and `DataFolder`: published files read record by record, those of no use left out and counted."""

from dataclasses import dataclass, field

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
    dev
        Examples to choose settings on, by the same kinds; none where figures are reported on the published dev file.
    tests
        What figures are reported on, by name. Nothing in it stands in `train` or `dev`.
    preamble
        Published text in front of each question, the same everywhere (demonstrations); a format may leave it out.
    read, dropped
        File -> records that are used, and file -> reason -> records that are not.
    """

    name: str
    specs: list[ToolSpec]
    train: dict[str, list[Example]]
    tests: dict[str, Evaluation]
    dev: dict[str, list[Example]] = field(default_factory=dict)
    preamble: str = ""
    read: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, dict[str, int]] = field(default_factory=dict)

    def report(self) -> list[str]:
        """Say in a sentence each how many records of a file are not used, and why."""
        return [
            f"{self.name}/{file}: {count} of {self.read.get(file, 0) + sum(reasons.values())} records dropped: {reason}"
            for file, reasons in self.dropped.items()
            for reason, count in reasons.items()
        ]
