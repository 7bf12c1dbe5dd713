"""The trials of the function-calling benchmark: each method on each category of a set, with any number of tools."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from toolken.benchmarks.end_to_end.traces import Attempt, TracePiece
from toolken.benchmarks.end_to_end.trials import Answerer, Question, Test, Trial
from toolken.benchmarks.function_calling.call_set import CallSet
from toolken.benchmarks.function_calling.call_sets import dev_and_test, takes_distractors, with_distractors
from toolken.benchmarks.function_calling.methods import (
    MAX_TOKENS,
    Method,
    as_example,
    methods_for,
    prompt_tokens,
    prompted,
    retrieving,
    toolkens,
)
from toolken.benchmarks.function_calling.record import CallOutcome, CallRecord, MadeCall
from toolken.benchmarks.function_calling.scoring import METRICS, score
from toolken.errors import DataFormatError
from toolken.training.examples import Example
from toolken.training.lm import FrozenLM
from toolken.training.prior.teacher import Encoder
from toolken.training.prompts.prompt_format import PromptFormat

#: What the rows report beside the scores.
COSTS = ("seconds", "set-up seconds", "tokens read", "tokens written", "cache megabytes")


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
            raise DataFormatError(
                f"There is no method called {name!r} for {lm.name}: choose among {', '.join(known)}."
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
    examples = _Examples.of(records, options.examples)
    trials: list[Trial] = []
    for category, found in categories.items():
        if options.categories is not None and category not in options.categories:
            continue
        for count in options.tools:
            asked = [one for one in found if one.id not in examples.used]
            if count:
                asked = [with_distractors(one, call_set.pool, count) for one in asked if takes_distractors(one)]
                asked = [one for one in asked if len(one.tools) == max(count, _own(one, found))]
            asked = asked[: options.limit]
            if not asked:
                notes.append(f"{category} has no test with {count} tools: no tool can be added, or too few are there.")
                continue
            for name in known:
                if options.methods is not None and name not in options.methods:
                    continue
                trial = _trial(lm, call_set.name, category, asked, count, name, options, examples)
                if isinstance(trial, Trial):
                    trials.append(trial)
                elif options.methods is not None or name != "toolken-k":
                    notes.append(f"{name} is not applicable to {category}{f' with {count} tools' * bool(count)}: {trial}.")
    if not trials:
        raise DataFormatError(" ".join(["Nothing can be measured.", *notes]))
    return Plan(trials, list(dict.fromkeys(notes)))


def _own(record: CallRecord, originals: Sequence[CallRecord]) -> int:
    """Return the number of tools that a record had before distractors were added."""
    return next(len(one.tools) for one in originals if one.id == record.id)


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
            "records count as missed where a method needs the grammar."
        )
    return notes


@dataclass(frozen=True)
class _Examples:
    """The records that are kept as training examples, so that no method is asked them.

    They exist only where most tools have more records than examples are wanted.
    """

    by_tool: Mapping[str, list[Example]]
    used: frozenset[str]

    @classmethod
    def of(cls, records: Sequence[CallRecord], wanted: int) -> "_Examples":
        single = [one for one in records if len(one.expected) == 1 and len(one.messages) == 1]
        by_tool: dict[str, list[CallRecord]] = {}
        for record in sorted(single, key=lambda one: hashlib.sha256(one.id.encode()).digest()):
            spec = next(spec for spec in record.tools if spec.name == record.expected[0].tool)
            by_tool.setdefault(spec.digest, []).append(record)
        enough = {key: found for key, found in by_tool.items() if len(found) > wanted}
        if not wanted or 2 * sum(map(len, enough.values())) < len(single):
            return cls({}, frozenset())
        kept = {key: found[:wanted] for key, found in enough.items()}
        used = frozenset(record.id for found in kept.values() for record in found)
        return cls({key: [as_example(one) for one in found] for key, found in kept.items()}, used)

    def for_tools(self, record: CallRecord) -> list[Example]:
        return [
            example.model_copy(
                update={"calls": tuple(call.model_copy(update={"tool": spec.name}) for call in example.calls)}
            )
            for spec in record.tools
            for example in self.by_tool.get(spec.digest, ())
        ]


def _trial(
    lm: FrozenLM,
    name: str,
    category: str,
    records: Sequence[CallRecord],
    count: int,
    method: str,
    options: CallOptions,
    examples: _Examples,
) -> "Trial | str":
    """Return a trial, or why there is none."""
    if method == "toolken-k" and not examples.by_tool:
        return f"its tools have not more than {options.examples} requests each"
    if method == "retriever" and options.encoder is None:
        return "the sentence encoder is not installed (`pip install 'toolken[teacher]'`)"
    needed = prompt_tokens(lm, method, records)
    if needed > lm.max_length:
        return f"its prompts take up to {needed} tokens, and {lm.name} takes {lm.max_length}"
    by_id = {record.id: record for record in records}
    test = Test(
        benchmark=name,
        split=category,
        tools=count or max(len(record.tools) for record in records),
        questions=[
            Question(number, shown(record), expected_text(record), record) for number, record in enumerate(records)
        ],
        score=_score,
        metrics=(*METRICS, *COSTS),
    )
    builders: dict[str, Callable[[], Method]] = {
        "toolken": lambda: toolkens(lm),
        "toolken-k": lambda: toolkens(lm, examples.for_tools),
        "retriever": lambda: retrieving(lm, _encoder(options)),
    }
    constrained = method.endswith("constrained")
    build = builders.get(method, lambda: prompted(lm, constrained=constrained))
    read = needed if method != "toolken" else 100
    return Trial(
        test=test,
        method=method,
        build=lambda settings: _answerer(build(), by_id),
        identity={
            "records": hashlib.sha256(repr([(r.id, [s.digest for s in r.tools]) for r in records]).encode()).hexdigest(),
            "max_tokens": MAX_TOKENS,
        },
        examples_per_tool=options.examples if method == "toolken-k" else 0,
        prompt_tokens=needed,
        read_tokens=read,
        written_tokens=40,
        prompt=PromptFormat() if method.startswith("toolken") else None,
        batch=1,
    )


def _encoder(options: CallOptions) -> Encoder:
    assert options.encoder is not None
    return options.encoder


def _answerer(method: Method, records: Mapping[str, CallRecord]) -> Answerer:
    def answer(questions: Sequence[Question]) -> list[Attempt]:
        return [attempt_of(method(records[question.reference.id])) for question in questions]

    return answer


def attempt_of(outcome: CallOutcome) -> Attempt:
    """Return an outcome as the attempt that trace files hold."""
    pieces = [
        TracePiece(
            tool=call.tool,
            arguments=dict(call.arguments or {}),
            failed=call.arguments is None,
            probability=outcome.tool_probability if number == 0 else None,
        )
        for number, call in enumerate(outcome.calls)
    ]
    return Attempt(
        pieces=tuple([*pieces, TracePiece(text=outcome.text)] if outcome.text else pieces),
        answer=outcome.text,
        call_probability=outcome.call_probability,
        read_tokens=outcome.read_tokens,
        written_tokens=outcome.written_tokens,
        setup_seconds=outcome.setup_seconds,
        seconds=outcome.seconds,
        cache_bytes=outcome.cache_bytes,
    )


def outcome_of(attempt: Attempt) -> CallOutcome:
    """Return the outcome that an attempt holds."""
    calls = [MadeCall(piece.tool or "", None if piece.failed else piece.arguments) for piece in attempt.calls]
    return CallOutcome(calls=tuple(calls), text=attempt.answer, call_probability=attempt.call_probability)


def _score(question: Question, attempt: Attempt) -> dict[str, float]:
    scores = {name: float(value) for name, value in score(question.reference, outcome_of(attempt)).items()}
    return scores | {
        "seconds": attempt.seconds,
        "set-up seconds": attempt.setup_seconds,
        "tokens read": float(attempt.read_tokens),
        "tokens written": float(attempt.written_tokens),
        "cache megabytes": attempt.cache_bytes / 1e6,
    }


def shown(record: CallRecord) -> str:
    """Return a conversation as text for display: one line per message."""
    return "\n".join(_lines(record)) if len(record.messages) > 1 else record.messages[-1].text


def _lines(record: CallRecord) -> Iterator[str]:
    for message in record.messages:
        calls: list[Any] = getattr(message, "tool_calls", None) or []
        said = [*([message.text] if message.text else []), *(f"{one['name']}({one['args']})" for one in calls)]
        yield f"{message.type}: {' '.join(said)}"


def expected_text(record: CallRecord) -> str:
    """Return what is right for a record, for display."""
    calls = [f"{call.tool}({', '.join(f'{k}={v[0]!r}' for k, v in call.accepted.items() if v)})" for call in record.expected]
    if calls:
        return ", ".join(calls)
    asked = [*(name for names in record.missing.values() for name in names), *record.wrong]
    return f"no call; ask for {', '.join(asked)}" if asked else "no call"


def with_encoder(options: CallOptions, encoder: Encoder | None) -> CallOptions:
    """Return options with a retriever's encoder."""
    return replace(options, encoder=encoder)


def folder_name(name: str | Path) -> str:
    """Return the name of a set that was given as a folder."""
    return Path(name).name
