"""Outcomes of function-calling records as attempts of trace files, and records as text for display."""

from collections.abc import Iterator
from typing import Any

from toolken.benchmarks.end_to_end.traces import Attempt, TracePiece
from toolken.benchmarks.function_calling.record import CallOutcome, CallRecord, MadeCall


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
    if record.expected:
        return ", ".join(
            f"{call.tool}({', '.join(f'{name}={values[0]!r}' for name, values in call.accepted.items() if values)})"
            for call in record.expected
        )
    asked = [*(name for names in record.missing.values() for name in names), *record.wrong]
    if asked:
        return f"no call; ask for {', '.join(asked)}"
    return f"no call; say {', '.join(record.says)}" if record.says else "no call"
