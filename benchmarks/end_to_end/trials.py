"""`Trial`: one method on one test with candidate settings, run in batches and resumed from trace files."""

import hashlib
import random
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from toolken.benchmarks.end_to_end.traces import Attempt, Trace, TraceFile, trace_key
from toolken.benchmarks.methods.one_entry_cache import OneEntryCache
from toolken.benchmarks.sets.data_files import DataFolder, UnusableRecordError
from toolken.errors import DataFormatError, PromptTooLongError
from toolken.training.examples import Example
from toolken.training.fit import Progress
from toolken.training.head.provenance import Provenance
from toolken.training.lm import FrozenLM
from toolken.training.prompts.prompt_format import PromptFormat
from toolken.training.tool_spec import ToolSpec

#: Maximum of dev questions to choose settings on.
DEV_QUESTIONS = 24
#: Default batch size in questions.
BATCH = 16
#: Maximum of prompt tokens per batch: each text has a KV cache, and tools in the prompt make it long.
TOKENS_AT_ONCE = 16384

TrialSettings = Mapping[str, Any]
#: Answers a batch of questions.
Answerer = Callable[[Sequence["Question"]], Sequence[Attempt]]


def head_hashes(specs: Sequence[ToolSpec], examples: Sequence[Example]) -> dict[str, Any]:
    """Return hashes of a head's training input for the identity of a trial: it separates heads' attempts."""
    return {"tools": [spec.digest for spec in specs], "data": Provenance.of(examples).data}


def digest(*files: Path) -> str:
    """Return a hash of the contents of files and folders, for the identity of a trial that depends on them."""
    found = hashlib.sha256()
    for place in files:
        inside = sorted(one for one in place.rglob("*") if one.is_file()) if place.is_dir() else [place]
        for file in (one for one in inside if one.is_file()):
            found.update(f"{file.name} {file.stat().st_size}\n".encode())
            found.update(file.read_bytes())
    return found.hexdigest()[:32]


def text_digest(text: str) -> str:
    """Return a hash of a text, for identities."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Question:
    """A question of a test.

    Attributes
    ----------
    number
        Position in the test.
    text
        Text of the question.
    expected
        The right answer, for display.
    reference
        Input of the scorer and, for function calling, of the method.
    identity
        Hash of further input that an attempt depends on, such as the tools of the question.
    """

    number: int
    text: str
    expected: str
    reference: Any = field(default=None, compare=False)
    identity: str = ""


def read_questions(
    files: DataFolder, name: str, make: Callable[[int, dict[str, Any]], Question], limit: int | None = None
) -> list[Question]:
    """Return the first `limit` usable questions of a published file; by default all.

    Parameters
    ----------
    make
        Converts a position and a record to a question; raises `UnusableRecordError` for records to skip and count.

    Raises
    ------
    DataFormatError
        If a record has another form; the message names file and line.
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
                f"{where} is not a question of {files.name} in the published form ({detail}): fix or remove it."
            ) from error
    return found


def dev_sample(questions: Sequence[Question], limit: int | None) -> list[Question]:
    """Sample dev questions: `DEV_QUESTIONS` of them, or `limit` if it is less."""
    count = min(limit or DEV_QUESTIONS, DEV_QUESTIONS, len(questions))
    return random.Random(0).sample(questions, count)


@dataclass(frozen=True)
class Test:
    """Questions with a scorer.

    Attributes
    ----------
    benchmark, split
        Names of the benchmark and split.
    tools
        Number of tools.
    questions
        The questions.
    score
        Returns metric -> 0 or 1, or a share, for a question and an attempt.
    metrics
        Names of the metrics in the order of the stages; the last one selects the settings.
    """

    __test__ = False  # keeps pytest from collecting it

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
        The test whose figures are reported.
    method
        Name of the method.
    build
        Returns the answerer for given settings; long work (feature pass, fit) happens here.
    candidates
        Settings to choose among; a single candidate needs no choice.
    dev
        Test to choose the settings on.
    identity
        Other inputs that attempts depend on, such as training examples.
    examples_per_tool
        Training examples per tool; None for all.
    seed
        Seed of random samples; None without any.
    prompt_tokens
        Maximum of prompt and generated tokens, which must fit the LM's context.
    read_tokens, written_tokens
        Approximate prefill and generated tokens per question, for the estimate of the time.
    fit_tokens
        Approximate tokens before the first question.
    fit_key
        Identifies these tokens: trials with the same key process them once; None if no other trial shares them.
    prompt
        Prompt format of the fit, whose background is computed once per LM; None without a head.
    train_tokens
        Number of prefill tokens that take as long as the method's training.
    batch
        Questions per batch; fewer for long prompts.
    choose
        Chooses a candidate without answering dev questions.
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

    @property
    def file_name(self) -> str:
        """Name of the trial's trace files, without ending."""
        return f"{self.test.benchmark}-{self.test.split}-{self.method}".replace(" ", "-").replace("/", "-")


@dataclass(frozen=True)
class Outcome:
    """The outcome of a trial.

    Attributes
    ----------
    trial
        The trial.
    settings
        The chosen settings.
    traces
        One trace per question of the test, in order.
    dev
        The candidates with their traces on the dev questions; empty if there was no choice.
    seconds
        Total time of the attempts when they were made.
    """

    trial: Trial
    settings: TrialSettings
    traces: list[Trace]
    dev: list[tuple[TrialSettings, list[Trace]]]
    seconds: float


def check(lm: FrozenLM, trials: Sequence[Trial]) -> None:
    """Check, before any long work, that every test has questions and every prompt fits the LM's context.

    Raises
    ------
    DataFormatError
        If a test has no question.
    PromptTooLongError
        If a prompt does not fit the context.
    """
    for trial in trials:
        if not trial.test.questions:
            raise DataFormatError(
                f"There is no usable question in {trial.test.benchmark}, {trial.test.split}: give the published data."
            )
        if trial.prompt_tokens > lm.max_length:
            raise PromptTooLongError(
                f"{trial.method} needs {trial.prompt_tokens} tokens on {trial.test.benchmark}, {trial.test.split}, "
                f"more than the {lm.max_length} of {lm.name}: name other methods with --method, "
                "or an LM with a longer context."
            )


def run_trial(lm: FrozenLM, trial: Trial, folder: Path, progress: Progress | None = None) -> Outcome:
    """Choose the settings on the dev questions, then answer the test, reusing attempts from the trace files.

    Reused attempts are scored again, so that corrected answers in the data take effect.

    Parameters
    ----------
    folder
        Folder of the trace files.

    Raises
    ------
    DataFormatError
        If a trace file is broken or cannot be written.
    """
    name = trial.file_name
    dev: list[tuple[TrialSettings, list[Trace]]] = []
    built = OneEntryCache()

    def answerer(settings: TrialSettings) -> Answerer:
        return built.get(trace_key(**settings), lambda: trial.build(settings))

    chosen = trial.candidates[0]
    if len(trial.candidates) > 1 and trial.dev is not None:
        with closing(TraceFile(folder / f"{name}-dev.jsonl")) as file:
            dev = [
                (settings, list(_traces_of(lm, trial, trial.dev, settings, file, answerer, progress)))
                for settings in trial.candidates
            ]
        last = trial.test.metrics[-1]
        # `max` returns the first of equals; candidates are sorted by preference.
        chosen, _ = max(dev, key=lambda one: mean(one[1], last))
    with closing(TraceFile(folder / f"{name}.jsonl")) as file:
        if trial.choose is not None:
            chosen = _settings_in_use(lm, trial, file) or trial.choose()
        traces = list(_traces_of(lm, trial, trial.test, chosen, file, answerer, progress))
    return Outcome(trial, chosen, traces, dev, sum(trace.seconds for trace in traces))


def _settings_in_use(lm: FrozenLM, trial: Trial, file: TraceFile) -> TrialSettings | None:
    """Return the settings of the traces of a test, if there are any."""
    for settings in trial.candidates:
        if any(_key(lm, trial, trial.test, question, settings) in file.traces for question in trial.test.questions):
            return settings
    return None


def mean(traces: Sequence[Trace], metric: str) -> float:
    """Return the mean of a metric over the traces that have it; 0.0 if there are none."""
    values = [trace.scores[metric] for trace in traces if metric in trace.scores]
    return sum(values) / len(values) if values else 0.0


def done(lm: FrozenLM, trial: Trial, folder: Path) -> tuple[int, int]:
    """Return the number of attempts of a trial in the trace files, and its total number of attempts."""
    name = trial.file_name
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
        # Omitted where it is empty, so that keys of earlier runs stay valid.
        **({"identity of the question": question.identity} if question.identity else {}),
    )


def _traces_of(
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
            batch = missing[start : start + size]
            questions = [test.questions[at] for at in batch]
            began = time.perf_counter()
            attempts = answer(questions)
            seconds = (time.perf_counter() - began) / len(batch)
            for at, question, attempt in zip(batch, questions, attempts, strict=True):
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
            advance(len(batch))
    yield from (file.traces[key] for key in keys)
