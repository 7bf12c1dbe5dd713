"""Runs benchmarks end to end: all methods on all tests, after an estimate of the time."""

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

#: Module of each benchmark, with a function `trials` and the method names `METHODS`.
BENCHMARKS = {
    "kamel": "toolken.benchmarks.end_to_end.kamel",
    "gsm8k-xl": "toolken.benchmarks.end_to_end.gsm8k_xl",
    "funcqa": "toolken.benchmarks.end_to_end.funcqa",
    "virtualhome": "toolken.benchmarks.end_to_end.virtualhome",
}


@dataclass(frozen=True)
class Options:
    """Selection of the tests and methods to run, and optional components.

    Attributes
    ----------
    methods
        Names of methods; None for all.
    limit
        Number of questions per test and dev test, taken from the start; None for all.
    seeds
        Number of random samples of the examples.
    examples
        Numbers of training examples per tool, one trial per number, None in the tuple for all; None for the default.
    sizes
        Numbers of tools of the tests to run; None for all tests.
    splits
        Splits to run, such as "synthetic"; None for all.
    encoder
        Sentence encoder of the retriever; None if it is not installed.
    progress
        Starts a progress bar per phase.
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
        """Return whether a method was selected."""
        return self.methods is None or method in self.methods

    def chosen(self, trials: Sequence[Trial]) -> list[Trial]:
        """Return the trials of the selected tests.

        Raises
        ------
        DataFormatError
            If no test matches.
        """
        wanted = [
            one
            for one in trials
            if (self.sizes is None or one.test.tools in self.sizes)
            and (self.splits is None or one.test.split in self.splits)
        ]
        if trials and not wanted:
            available = sorted({(one.test.split, one.test.tools) for one in trials})
            raise DataFormatError(
                "There is no such test: use --split and --tools to name one of "
                + ", ".join(f"{split} with {tools} tools" for split, tools in available)
                + "."
            )
        return wanted


class _Benchmark(Protocol):
    """The interface of a benchmark's module."""

    METHODS: tuple[str, ...]

    def trials(self, lm: FrozenLM, folder: Path, options: Options) -> list[Trial]:
        """Read the data and return the trials, without any long work."""
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
        Folder of the published data per benchmark.
    traces
        Folder of the trace files; attempts found there are reused.
    say
        Receives the estimate of the time before any long work starts.

    Raises
    ------
    DataFormatError
        If a benchmark or method is unknown, data is missing, or scipy is not installed.
    PromptTooLongError
        If the LM's context is too short for a method's prompt.
    """
    _check_scipy()
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
    yield from run_trials(lm, trials, traces=traces, progress=options.progress, say=say)


def run_trials(
    lm: FrozenLM,
    trials: Sequence[Trial],
    *,
    traces: Path,
    progress: Progress | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Iterator[list[Outcome]]:
    """Run trials after an estimate of their time; yield the outcomes so far after each trial.

    Parameters
    ----------
    traces
        Folder of the trace files; attempts found there are reused.
    progress
        Starts a progress bar per trial.
    say
        Receives the estimate of the time before any long work starts.

    Raises
    ------
    DataFormatError
        If a test has no question, or scipy is not installed.
    PromptTooLongError
        If the LM's context is too short for a method's prompt.
    """
    _check_scipy()
    check(lm, trials)
    missing = [(trial, wanted - found) for trial in trials for found, wanted in [done(lm, trial, traces)]]
    attempts = sum(count for _, count in missing)
    if attempts:
        at_once = min(BATCH, max(min(trial.batch, len(trial.test.questions)) for trial, count in missing if count))
        seconds = Speeds.of(lm, at_once).seconds(missing, partial(tokens_to_prefill, lm))
        say(f"{len(trials)} trials, {attempts} attempts: about {duration(seconds)} on this machine.")
    outcomes: list[Outcome] = []
    for trial in trials:
        outcomes.append(run_trial(lm, trial, traces, progress))
        yield outcomes


def _check_scipy() -> None:
    if importlib.util.find_spec("scipy") is None:
        raise DataFormatError("Paired tests need scipy: run `pip install 'toolken[bench]'`.")


def _benchmark(name: str) -> _Benchmark:
    if name not in BENCHMARKS:
        raise DataFormatError(f"{name!r} has no end-to-end mode: choose among {', '.join(BENCHMARKS)}.")
    return cast("_Benchmark", importlib.import_module(BENCHMARKS[name]))


def methods_of(options: Options, names: Sequence[str]) -> list[str]:
    """Return the selected methods among `names`."""
    return [name for name in names if options.wants(name)]
