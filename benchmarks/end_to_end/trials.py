"""`Trial`: one method on one test, with the settings to choose among, run in batches and resumed where it stopped."""

import hashlib
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from toolken.benchmarks.end_to_end.traces import Attempt, Trace, TraceFile, trace_key
from toolken.benchmarks.sets.data_files import DataFolder, UnusableRecordError
from toolken.errors import DataFormatError, PromptTooLongError
from toolken.training.examples import Example
from toolken.training.fit import Progress
from toolken.training.head.provenance import Provenance
from toolken.training.lm import FrozenLM
from toolken.training.prompts.prompt_format import PromptFormat
from toolken.training.tool_spec import ToolSpec

#: Questions that are answered together, unless a trial says otherwise.
BATCH = 16
#: Tokens of their prompts together, at most: each text has a KV cache of its own, and tools in the prompt make it long.
TOKENS_AT_ONCE = 16384

TrialSettings = Mapping[str, Any]
#: Answers some questions together.
Answerer = Callable[[Sequence["Question"]], Sequence[Attempt]]


def told(specs: Sequence[ToolSpec], examples: Sequence[Example]) -> dict[str, Any]:
    """Return hashes of all that a head is told, for the identity of a trial: no attempt of another one is taken up."""
    return {"tools": [spec.digest for spec in specs], "data": Provenance.of(examples).data}


def digest(*files: Path) -> str:
    """Return a hash of what stands in some files and folders, for the identity of a trial that depends on them."""
    found = hashlib.sha256()
    for place in files:
        inside = sorted(one for one in place.rglob("*") if one.is_file()) if place.is_dir() else [place]
        for file in (one for one in inside if one.is_file()):
            found.update(f"{file.name} {file.stat().st_size}\n".encode())
            found.update(file.read_bytes())
    return found.hexdigest()[:32]


@dataclass(frozen=True)
class Question:
    """A question of a test.

    Attributes
    ----------
    number
        Its place in the test.
    text
        As it is asked.
    expected
        The right answer, for a reader.
    reference
        What the scorer, and nobody else, needs to know.
    """

    number: int
    text: str
    expected: str
    reference: Any = field(default=None, compare=False)


def read_questions(
    files: DataFolder, name: str, make: Callable[[int, dict[str, Any]], Question], limit: int | None = None
) -> list[Question]:
    """Return the questions of a published file, the first ones if there is a limit.

    Parameters
    ----------
    make
        Makes a question of its place and its record; raises `UnusableRecordError` where that is of no use, which is
        then left out and counted.

    Raises
    ------
    DataFormatError
        If a record is in another form; file and line are named.
    """
    found: list[Question] = []
    for at, (where, record) in enumerate(files.records(name)):
        if limit is not None and len(found) == limit:
            break
        try:
            found.append(make(at, record))
        except UnusableRecordError as reason:
            files.drop(name, str(reason))
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            detail = f"it has no {error}" if isinstance(error, KeyError) else str(error)
            raise DataFormatError(
                f"{where} is not a question of {files.name} in the published form ({detail}): mend or remove it."
            ) from error
    return found


@dataclass(frozen=True)
class Test:
    """Questions, and how attempts at them are scored.

    Attributes
    ----------
    benchmark, split
        What they are.
    tools
        Number of tools there are.
    questions
        The questions.
    score
        From a question and an attempt to metric -> 0 or 1, or a share.
    metrics
        Names of the metrics in the order of the stages; the last one is what settings are chosen by.
    """

    __test__ = False  # not one for pytest

    benchmark: str
    split: str
    tools: int
    questions: Sequence[Question]
    score: Callable[[Question, Attempt], dict[str, float]]
    metrics: tuple[str, ...]


@dataclass(frozen=True)
class Trial:
    """A method on a test.

    Attributes
    ----------
    test
        What is reported.
    method
        Name of the method.
    build
        Makes the method with some settings ready; whatever takes long (reading examples, fitting) is done here.
    candidates
        TrialSettings to choose among; where there is one, nothing is chosen.
    dev
        What the settings are chosen on.
    identity
        What else the attempts depend on: the training examples, for instance.
    examples_per_tool
        Training examples of each tool; None for all there are.
    seed
        Of whatever is drawn; None where nothing is.
    prompt_tokens
        Tokens of the longest prompt and of what is written after it, at most: the LM's context has to take them.
    read_tokens, written_tokens
        Tokens read and written for one question, roughly, for the estimate of the time.
    fit_tokens
        Tokens read before the first question, roughly.
    fit_key
        What these tokens belong to: trials with the same key read them once; None where no other trial does.
    prompt
        Format in which a head is fitted, whose background is read once for an LM; None where there is no head.
    train_tokens
        Tokens that could be read in the time that the method's own training takes.
    batch
        Questions that are answered together; fewer where prompts are long.
    choose
        Chooses among the candidates without an answer to a dev question, where answers would tell little.
    """

    test: Test
    method: str
    build: Callable[[TrialSettings], Answerer]
    candidates: Sequence[TrialSettings] = ({},)
    dev: Test | None = None
    identity: Mapping[str, Any] = field(default_factory=dict)
    examples_per_tool: int | None = None
    seed: int | None = None
    prompt_tokens: int = 0
    read_tokens: int = 100
    written_tokens: int = 20
    fit_tokens: int = 0
    fit_key: Hashable = None
    prompt: PromptFormat | None = None
    train_tokens: int = 0
    batch: int = BATCH
    choose: Callable[[], TrialSettings] | None = None


@dataclass(frozen=True)
class Outcome:
    """What came of a trial.

    Attributes
    ----------
    trial
        The trial.
    settings
        Those that were chosen.
    traces
        One for each question of the test, in its order.
    dev
        The candidates with their traces on the dev questions; empty where nothing was chosen.
    seconds
        Time that the attempts took, the first time they were made.
    """

    trial: Trial
    settings: TrialSettings
    traces: list[Trace]
    dev: list[tuple[TrialSettings, list[Trace]]]
    seconds: float


def check(lm: FrozenLM, trials: Sequence[Trial]) -> None:
    """Make sure, before any long work starts, that there are questions and that the LM's context takes the prompts.

    Raises
    ------
    DataFormatError
        If a test has no question.
    PromptTooLongError
        If a prompt does not fit.
    """
    for trial in trials:
        if not trial.test.questions:
            raise DataFormatError(
                f"There is no usable question in {trial.test.benchmark}, {trial.test.split}: give the published data."
            )
        if trial.prompt_tokens > lm.max_length:
            raise PromptTooLongError(
                f"{trial.method} needs {trial.prompt_tokens} tokens on {trial.test.benchmark}, {trial.test.split}, and "
                f"{lm.name} takes {lm.max_length}: name other methods with --method, or an LM with a longer context."
            )


def run_trial(lm: FrozenLM, trial: Trial, folder: Path, progress: Progress | None = None) -> Outcome:
    """Choose the settings on the dev questions, then answer the test; what is in the trace files is not done again.

    Attempts that are taken up are scored anew, so that a mended answer in the data counts.

    Parameters
    ----------
    folder
        Where the trace files are.

    Raises
    ------
    DataFormatError
        If a trace file is broken or cannot be written.
    """
    name = f"{trial.test.benchmark}-{trial.test.split}-{trial.method}".replace(" ", "-").replace("/", "-")
    dev: list[tuple[TrialSettings, list[Trace]]] = []
    built: dict[str, Answerer] = {}

    def answerer(settings: TrialSettings) -> Answerer:
        key = trace_key(**settings)
        if key not in built:
            built.clear()  # one at a time: a head and its caches take memory
            built[key] = trial.build(settings)
        return built[key]

    chosen = trial.candidates[0]
    if len(trial.candidates) > 1 and trial.dev is not None:
        with closing(TraceFile(folder / f"{name}-dev.jsonl")) as file:
            dev = [
                (settings, list(_answered(lm, trial, trial.dev, settings, file, answerer, progress)))
                for settings in trial.candidates
            ]
        last = trial.test.metrics[-1]
        # The first of equals: candidates stand in the order in which they are to be preferred.
        chosen, _ = max(dev, key=lambda one: mean(one[1], last))
    with closing(TraceFile(folder / f"{name}.jsonl")) as file:
        if trial.choose is not None:
            chosen = _begun_with(lm, trial, file) or trial.choose()
        traces = list(_answered(lm, trial, trial.test, chosen, file, answerer, progress))
    return Outcome(trial, chosen, traces, dev, sum(trace.seconds for trace in traces))


def _begun_with(lm: FrozenLM, trial: Trial, file: TraceFile) -> TrialSettings | None:
    """Return the settings that were chosen when a test was begun, if it was."""
    for settings in trial.candidates:
        if any(_key(lm, trial, trial.test, question, settings) in file.traces for question in trial.test.questions):
            return settings
    return None


def mean(traces: Sequence[Trace], metric: str) -> float:
    """Return the mean of a metric over the traces that have it; 0 where none has."""
    values = [trace.scores[metric] for trace in traces if metric in trace.scores]
    return sum(values) / len(values) if values else 0.0


def done(lm: FrozenLM, trial: Trial, folder: Path) -> tuple[int, int]:
    """Return how many attempts of a trial are in the trace files already, and how many there are to be in all."""
    name = f"{trial.test.benchmark}-{trial.test.split}-{trial.method}".replace(" ", "-").replace("/", "-")
    wanted = len(trial.test.questions)
    found = 0
    file = TraceFile(folder / f"{name}.jsonl")
    keys = {_key(lm, trial, trial.test, q, s) for q in trial.test.questions for s in trial.candidates}
    found += min(len(keys & file.traces.keys()), wanted)
    if len(trial.candidates) > 1 and trial.dev is not None:
        wanted += len(trial.candidates) * len(trial.dev.questions)
        file = TraceFile(folder / f"{name}-dev.jsonl")
        keys = {_key(lm, trial, trial.dev, q, s) for q in trial.dev.questions for s in trial.candidates}
        found += len(keys & file.traces.keys())
    return found, wanted


def _key(lm: FrozenLM, trial: Trial, test: Test, question: Question, settings: TrialSettings) -> str:
    return trace_key(
        version=version("toolken"),
        lm=lm.fingerprint,
        dtype=str(lm.dtype),
        benchmark=test.benchmark,
        split=test.split,
        tools=test.tools,
        method=trial.method,
        examples=trial.examples_per_tool,
        seed=trial.seed,
        settings=dict(settings),
        identity=dict(trial.identity),
        number=question.number,
        question=question.text,
    )


def _answered(
    lm: FrozenLM,
    trial: Trial,
    test: Test,
    settings: TrialSettings,
    file: TraceFile,
    answerer: Callable[[TrialSettings], Answerer],
    progress: Progress | None,
) -> Iterator[Trace]:
    keys = [_key(lm, trial, test, question, settings) for question in test.questions]
    for key, question in zip(keys, test.questions, strict=True):
        if key in file.traces:
            old = file.traces[key]
            now = {"scores": test.score(question, old.attempt), "expected": question.expected}
            if now != {"scores": old.scores, "expected": old.expected}:
                file.add(old.model_copy(update=now))
    missing = [at for at, key in enumerate(keys) if key not in file.traces]
    if missing:
        answer = answerer(settings)
        label = f"{test.benchmark}, {test.split}: {trial.method}"
        advance = progress(label, len(test.questions)) if progress else lambda _: None
        advance(len(test.questions) - len(missing))
        size = max(1, min(trial.batch, TOKENS_AT_ONCE // max(trial.prompt_tokens, 1)))
        for start in range(0, len(missing), size):
            part = missing[start : start + size]
            questions = [test.questions[at] for at in part]
            begun = time.perf_counter()
            attempts = answer(questions)
            seconds = (time.perf_counter() - begun) / len(part)
            for at, question, attempt in zip(part, questions, attempts, strict=True):
                file.add(
                    Trace(
                        key=keys[at],
                        benchmark=test.benchmark,
                        split=test.split,
                        method=trial.method,
                        number=question.number,
                        tools=test.tools,
                        examples=trial.examples_per_tool,
                        seed=trial.seed,
                        question=question.text,
                        expected=question.expected,
                        attempt=attempt,
                        scores=test.score(question, attempt),
                        settings=dict(settings),
                        seconds=seconds,
                    )
                )
            advance(len(part))
    yield from (file.traces[key] for key in keys)
