"""The trials of the function-calling benchmark: each method on each category of a set, with any number of tools."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from langchain_core.messages import HumanMessage

from toolken.benchmarks.end_to_end.traces import Attempt
from toolken.benchmarks.end_to_end.trials import Answerer, Question, Test, Trial, TrialSettings, text_digest
from toolken.benchmarks.function_calling.call_set import CallSet
from toolken.benchmarks.function_calling.call_sets import dev_and_test, takes_distractors, with_distractors
from toolken.benchmarks.function_calling.call_traces import attempt_of, expected_text, outcome_of, shown
from toolken.benchmarks.function_calling.methods import (
    MAX_TOKENS,
    METHODS,
    Method,
    methods_for,
    prompt_tokens,
    prompted,
    retrieving,
    toolkens,
)
from toolken.benchmarks.function_calling.prompts import has_tool_template, prompt_of
from toolken.benchmarks.function_calling.record import CallRecord
from toolken.benchmarks.function_calling.reserved_examples import ReservedExamples
from toolken.benchmarks.function_calling.scoring import METRICS, score
from toolken.errors import DataFormatError
from toolken.training.lm import FrozenLM
from toolken.training.prior.teacher import Encoder
from toolken.training.prompts.prompt_format import PromptFormat
from toolken.training.tool_spec import ToolSpec

#: What the rows report beside the scores.
COSTS = ("seconds", "set-up seconds", "tokens read", "tokens written", "cache megabytes")
#: The settings of a test in which each record has its own tools alone.
OWN_TOOLS: TrialSettings = {"tools": "own"}
#: Tokens of an answer, and characters per token of descriptions, for the estimate of the time.
WRITTEN, CHARACTERS_PER_TOKEN = 40, 4


@dataclass(frozen=True)
class CallOptions:
    """What to run.

    Attributes
    ----------
    methods
        Names of methods; None for all that apply to the LM.
    limit
        Number of records per category, taken from the start; None for all.
    tools
        Numbers of tools, one test per number; 0 leaves the records' own tools. Distractors come from the set.
    split
        "dev" or "test"; see `dev_and_test`.
    categories
        The categories to run; None for all.
    examples
        Examples per tool of the method toolken-k.
    encoder
        The retriever's sentence encoder; None if it is not installed.
    """

    methods: tuple[str, ...] | None = None
    limit: int | None = None
    tools: tuple[int, ...] = (0,)
    split: str = "test"
    categories: tuple[str, ...] | None = None
    examples: int = 3
    encoder: Encoder | None = None


@dataclass(frozen=True)
class Plan:
    """The trials, and what could not be planned.

    Attributes
    ----------
    trials
        The trials.
    notes
        Sentences about methods that do not apply, dropped records and schemas without a grammar.
    """

    trials: list[Trial]
    notes: list[str]


def plan(lm: FrozenLM, call_set: CallSet, options: CallOptions) -> Plan:
    """Plan the trials of a set, without any long work.

    Raises
    ------
    DataFormatError
        If a method or category is unknown, or no record is left.
    """
    known = methods_for(lm)
    for name in options.methods or ():
        if name not in known:
            takes = "takes" if has_tool_template(lm) else "takes no"
            reason = f", whose chat template {takes} tools" if name in METHODS else ""
            raise DataFormatError(
                f"There is no method {name!r} for {lm.name}{reason}: choose among {', '.join(known)}."
            )
    records = dev_and_test(call_set)[options.split == "test"]
    categories: dict[str, list[CallRecord]] = {}
    for record in records:
        categories.setdefault(record.category, []).append(record)
    for name in options.categories or ():
        if name not in categories:
            raise DataFormatError(
                f"{call_set.name} has no {options.split} records of the category {name!r}: choose among "
                f"{', '.join(categories)}."
            )
    notes = _set_notes(call_set)
    examples = ReservedExamples.of(records, options.examples)
    # A distractor that no method can take would make each of its records a miss.
    pool = [spec for spec in call_set.pool if spec.name not in call_set.uncompiled]
    methods = []
    for name in known if options.methods is None else [name for name in known if name in options.methods]:
        if obstacle := _obstacle(lm, name, options, examples):
            notes.append(f"{name} is not applicable to {call_set.name}: {obstacle}.")
        else:
            methods.append(name)
    trials: list[Trial] = []
    for category, found in categories.items():
        if options.categories is not None and category not in options.categories:
            continue
        free = [one for one in found if one.id not in examples.used]
        for count in options.tools:
            asked = _with_tools(free, pool, count, options.limit)
            where = f"{category} with {count} tools" if count else category
            if not asked:
                notes.append(f"There is no test of {where}: {_why_none(free, count)}.")
                continue
            for name in methods:
                trial = _trial(lm, call_set.name, category, asked, count, name, options, examples)
                if isinstance(trial, Trial):
                    trials.append(trial)
                else:
                    notes.append(f"{name} is not applicable to {where}: {trial}.")
    if not trials:
        raise DataFormatError(" ".join(["Nothing can be measured.", *notes]))
    return Plan(trials, list(dict.fromkeys(notes)))


def _with_tools(
    records: Sequence[CallRecord], pool: Sequence[ToolSpec], count: int, limit: int | None
) -> list[CallRecord]:
    """Return the first records with `count` tools each; with the tools that they have if `count` is 0."""
    if not count:
        return list(records[:limit])
    fitting = (one for one in records if takes_distractors(one) and len(one.tools) <= count)
    filled = (with_distractors(one, pool, count) for one in fitting)
    return list(islice((one for one in filled if len(one.tools) == count), limit))


def _why_none(records: Sequence[CallRecord], count: int) -> str:
    if not records:
        return "its records are examples of toolken-k"
    taking = [one for one in records if takes_distractors(one)]
    if not taking:
        return "a tool of another record may fit its requests, so none can be added"
    fewest = min(len(one.tools) for one in taking)
    return f"its records have {fewest} tools or more" if fewest > count else "the set has too few tools"


def _set_notes(call_set: CallSet) -> list[str]:
    notes = [
        f"{count} records of {file} are left out: {reason}."
        for file, reasons in call_set.dropped.items()
        for reason, count in reasons.items()
    ]
    if call_set.uncompiled:
        names = ", ".join(sorted(call_set.uncompiled)[:5])
        notes.append(
            f"{len(call_set.uncompiled)} tools have a schema that cannot be compiled to a grammar ({names}): their "
            "records count as misses where a method needs the grammar."
        )
    return notes


def _obstacle(lm: FrozenLM, method: str, options: CallOptions, examples: ReservedExamples) -> str | None:
    """Return why a method does not apply to any record of a set, or None if it may."""
    if method == "toolken-k" and not examples.by_tool:
        return f"most of its tools have no more than {options.examples} requests each"
    if method == "retriever" and options.encoder is None:
        return "the sentence encoder is not installed (`pip install 'toolken[teacher]'`)"
    if method.endswith("constrained") and prompt_of(lm).call_form is None:
        return "the chat template does not write calls as JSON"
    return None


def _trial(
    lm: FrozenLM,
    name: str,
    category: str,
    records: Sequence[CallRecord],
    count: int,
    method: str,
    options: CallOptions,
    examples: ReservedExamples,
) -> "Trial | str":
    """Return a trial, or why there is none."""
    with_toolkens = method.startswith("toolken")
    prompt = None if with_toolkens else prompt_of(lm)
    constrained = method.endswith("constrained")
    needed = prompt_tokens(lm, method, records)
    if needed > lm.max_length:
        return f"its prompts and answers take up to {needed} tokens, and {lm.name} takes {lm.max_length}"
    test = Test(
        benchmark=name,
        split=category,
        tools=count or max(len(record.tools) for record in records),
        questions=[
            Question(number, shown(record), expected_text(record), record, identity=_identity(record))
            for number, record in enumerate(records)
        ],
        score=_score,
        metrics=(*METRICS, *COSTS),
    )
    builders: dict[str, Callable[[], Method]] = {
        "toolken": lambda: toolkens(lm),
        "toolken-k": lambda: toolkens(lm, examples.for_tools),
        "retriever": lambda: retrieving(lm, _encoder(options)),
    }
    build = builders.get(method, lambda: prompted(lm, constrained=constrained))
    identity: dict[str, Any] = {"max_tokens": MAX_TOKENS}
    if method == "toolken-k":
        identity["examples"] = examples.digest
    if prompt is not None:
        identity["prompt"] = text_digest(repr(prompt.ids([HumanMessage("")], ())))
    return Trial(
        test=test,
        method=method,
        build=lambda settings: _answerer(build()),
        candidates=(OWN_TOOLS if not count else {},),
        identity=identity,
        examples_per_tool=options.examples if method == "toolken-k" else 0,
        prompt_tokens=needed,
        read_tokens=needed - MAX_TOKENS,
        written_tokens=WRITTEN,
        fit_tokens=_described_tokens(records) if with_toolkens else 0,
        fit_key="descriptions",
        prompt=PromptFormat() if with_toolkens else None,
        batch=1,
    )


def _identity(record: CallRecord) -> str:
    """Return a hash of what an attempt depends on besides the shown conversation: the tools, and the messages."""
    messages = [message.model_dump(exclude={"id"}) for message in record.messages]
    return text_digest(repr(([spec.digest for spec in record.tools], messages)))


def _described_tokens(records: Sequence[CallRecord]) -> int:
    """Return the approximate tokens of the descriptions of all tools."""
    words = {spec.digest: len(spec.words) for record in records for spec in record.tools}
    return sum(words.values()) // CHARACTERS_PER_TOKEN


def _encoder(options: CallOptions) -> Encoder:
    assert options.encoder is not None
    return options.encoder


def _answerer(method: Method) -> Answerer:
    def answer(questions: Sequence[Question]) -> list[Attempt]:
        return [attempt_of(method(question.reference)) for question in questions]

    return answer


def _score(question: Question, attempt: Attempt) -> dict[str, float]:
    scores = {name: float(value) for name, value in score(question.reference, outcome_of(attempt)).items()}
    return scores | {
        "seconds": attempt.seconds,
        "set-up seconds": attempt.setup_seconds,
        "tokens read": float(attempt.read_tokens),
        "tokens written": float(attempt.written_tokens),
        "cache megabytes": attempt.cache_bytes / 1e6,
    }
