"""Running benchmarks end to end: every method on every test, with one estimate before and one report after."""

import importlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol, cast

from toolken.benchmarks.end_to_end.estimate import Speeds, duration
from toolken.benchmarks.end_to_end.trials import BATCH, Outcome, Trial, check, done, run_trial
from toolken.errors import DataFormatError
from toolken.training.features.background import tokens_to_prefill
from toolken.training.fit import Progress
from toolken.training.lm import FrozenLM
from toolken.training.prior.teacher import Encoder

#: The module of each benchmark; it has a function `trials` and the names of its methods, `METHODS`.
BENCHMARKS = {
    "kamel": "toolken.benchmarks.end_to_end.kamel",
    "gsm8k-xl": "toolken.benchmarks.end_to_end.gsm8k_xl",
    "funcqa": "toolken.benchmarks.end_to_end.funcqa",
    "virtualhome": "toolken.benchmarks.end_to_end.virtualhome",
}


@dataclass(frozen=True)
class Options:
    """What of a benchmark is run.

    Attributes
    ----------
    methods
        Names of methods; None for all.
    limit
        Questions of each test (and dev test), the first ones; None for all.
    seeds
        Draws of what is drawn.
    examples
        Training examples of each tool, one trial each; None for the benchmark's own numbers, and in the tuple for all.
    sizes
        Numbers of tools of the tests that are run; None for all tests.
    splits
        The tests' splits, such as "synthetic"; None for all tests.
    encoder
        A sentence encoder, for the retriever; None where it is not installed.
    progress
        Told what is being done.
    """

    methods: tuple[str, ...] | None = None
    limit: int | None = None
    seeds: int = 1
    examples: tuple[int | None, ...] | None = None
    sizes: tuple[int, ...] | None = None
    splits: tuple[str, ...] | None = None
    encoder: Encoder | None = None
    progress: Progress | None = None

    def wants(self, method: str) -> bool:
        """Whether a method is to be run."""
        return self.methods is None or method in self.methods

    def chosen(self, trials: Sequence[Trial]) -> list[Trial]:
        """Return the trials of the tests that are to be run.

        Raises
        ------
        DataFormatError
            If none is left.
        """
        wanted = [
            one
            for one in trials
            if (self.sizes is None or one.test.tools in self.sizes)
            and (self.splits is None or one.test.split in self.splits)
        ]
        if trials and not wanted:
            there = sorted({(one.test.split, one.test.tools) for one in trials})
            raise DataFormatError(
                "There is no such test: --split and --tools are to name one of "
                + ", ".join(f"{split} with {tools} tools" for split, tools in there)
                + "."
            )
        return wanted


class _Benchmark(Protocol):
    """What a benchmark's module has."""

    METHODS: tuple[str, ...]

    def trials(self, lm: FrozenLM, folder: Path, options: Options) -> list[Trial]:
        """Read the data, and return what is to be run; nothing long is done yet."""
        ...


def run(
    lm: FrozenLM,
    folders: Mapping[str, Path],
    options: Options,
    *,
    traces: Path,
    say: Callable[[str], None] = lambda _: None,
) -> Iterator[list[Outcome]]:
    """Run benchmarks; yield the outcomes so far after each trial.

    Parameters
    ----------
    folders
        The benchmarks, by name, each with the folder of its published data.
    traces
        Folder of the trace files: what stands there is not done again.
    say
        Told, before anything long starts, how long it will take.

    Raises
    ------
    DataFormatError
        If there is no such benchmark, no such method on any of them, or no data.
    PromptTooLongError
        If the LM's context is too short for a method's prompt.
    """
    if importlib.util.find_spec("scipy") is None:
        raise DataFormatError("Paired tests need scipy: run `pip install toolken[bench]`.")
    modules = {name: _benchmark(name) for name in folders}
    known = list(dict.fromkeys(method for module in modules.values() for method in module.METHODS))
    for method in options.methods or ():
        if method not in known:
            raise DataFormatError(
                f"There is no method called {method!r} on {', '.join(folders)}: choose among {', '.join(known)}."
            )
    trials: list[Trial] = []
    for name, module in modules.items():
        trials += options.chosen(module.trials(lm, folders[name], options))
    check(lm, trials)
    left = [(trial, wanted - found) for trial in trials for found, wanted in [done(lm, trial, traces)]]
    attempts = sum(count for _, count in left)
    if attempts:
        at_once = min(BATCH, max(len(trial.test.questions) for trial, count in left if count))
        seconds = Speeds.of(lm, at_once).seconds(left, partial(tokens_to_prefill, lm))
        say(f"{len(trials)} trials, {attempts} attempts: about {duration(seconds)} on this machine.")
    outcomes: list[Outcome] = []
    for trial in trials:
        outcomes.append(run_trial(lm, trial, traces, options.progress))
        yield outcomes


def _benchmark(name: str) -> _Benchmark:
    if name not in BENCHMARKS:
        raise DataFormatError(f"{name!r} has no end-to-end mode: choose among {', '.join(BENCHMARKS)}.")
    return cast("_Benchmark", importlib.import_module(BENCHMARKS[name]))


def methods_of(options: Options, names: Sequence[str]) -> list[str]:
    """Return those of some methods that are to be run."""
    return [name for name in names if options.wants(name)]
