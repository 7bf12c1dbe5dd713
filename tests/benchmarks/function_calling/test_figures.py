"""Figures of function calling: calibration, quantiles, costs without tests, and categories together."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from langchain_core.messages import HumanMessage

from toolken.benchmarks.end_to_end.traces import Attempt, Trace, TracePiece
from toolken.benchmarks.end_to_end.trials import Outcome, Question, Test, Trial
from toolken.benchmarks.function_calling.figures import calibration_error, main_scores, pooled, rows
from toolken.benchmarks.function_calling.record import CallRecord, ExpectedCall
from toolken.benchmarks.function_calling.scoring import METRICS
from toolken.benchmarks.function_calling.trials import COSTS
from toolken.benchmarks.selection.rows import Row


@pytest.mark.parametrize(
    ("pairs", "error"),
    [
        ([(1.0, 1), (1.0, 1)], 0.0),
        ([(1.0, 0), (1.0, 0)], 1.0),
        ([(0.85, 1), (0.85, 0)], 0.35),
        # One bin is 0.05 too confident, the other one 0.25 too cautious; two decisions each.
        ([(0.55, 1), (0.55, 0), (0.75, 1), (0.75, 1)], (0.05 + 0.25) / 2),
        # Errors of opposite sign in one bin cancel.
        ([(0.52, 1), (0.52, 0), (0.48, 1), (0.48, 0)], 0.02),
    ],
)
def test_the_calibration_error_of_hand_made_decisions(pairs: list[tuple[float, int]], error: float) -> None:
    assert float(calibration_error(torch.tensor(pairs, dtype=torch.float64))) == pytest.approx(error)


EXPECTED = (ExpectedCall("a", {}), ExpectedCall("b", {}))


def outcome(
    method: str, attempts: Sequence[Attempt], expected: Sequence[tuple[ExpectedCall, ...]], **scores: Sequence[float]
) -> Outcome:
    """Return an outcome with a score per question."""
    records = [CallRecord(str(at), "c", (HumanMessage("?"),), (), one) for at, one in enumerate(expected)]
    questions = [Question(at, "?", "", record) for at, record in enumerate(records)]
    test = Test("mine", "c", 2, questions, lambda *_: {}, (*METRICS, *COSTS))
    common: dict[str, Any] = {"benchmark": "mine", "split": "c", "method": method, "question": "?", "expected": ""}
    costs = dict.fromkeys(COSTS, 1.0)
    traces = [
        Trace(
            key=str(at),
            number=at,
            attempt=attempt,
            scores=costs | {name: values[at] for name, values in scores.items()},
            settings={},
            seconds=1.0,
            **common,
        )
        for at, attempt in enumerate(attempts)
    ]
    return Outcome(Trial(test, method, lambda _: lambda _: [], examples_per_tool=0), {}, traces, [], 1.0)


def found(outcomes: Sequence[Outcome], metric: str, method: str = "toolken") -> Row:
    (row,) = [row for row in rows(outcomes) if (row.metric, row.method) == (metric, method)]
    return row


def test_a_decision_is_right_with_any_of_the_right_tools_or_without_a_call() -> None:
    attempts = [
        Attempt(pieces=(TracePiece(tool="b", probability=0.9),), call_probability=1.0),
        Attempt(pieces=(TracePiece(tool="c", probability=0.7),), call_probability=1.0),
        Attempt(call_probability=0.2),
        Attempt(call_probability=0.0),
    ]
    row = found([outcome("toolken", attempts, [EXPECTED, EXPECTED, (), EXPECTED])], "calibration error")
    # Confidences 0.9, 0.7, 0.8 and 1.0, the first and the third of which are right; 0.9 and 1.0 share a bin.
    assert row.value == pytest.approx((abs(1.9 - 1) + 0.7 + 0.2) / 4)
    assert row.low <= row.value <= row.high
    assert row.n == 4


def test_methods_without_probabilities_have_no_calibration_error() -> None:
    attempts = [Attempt(pieces=(TracePiece(tool="a"),)), Attempt()]
    metrics = {row.metric for row in rows([outcome("native", attempts, [EXPECTED, ()])])}
    assert "calibration error" not in metrics


def test_seconds_are_median_and_p95_and_the_set_up_the_largest() -> None:
    seconds = [float(one) for one in range(1, 102)]
    one = outcome("toolken", [Attempt()] * 101, [()] * 101)
    for trace, spent in zip(one.traces, seconds, strict=True):
        trace.scores["seconds"] = spent
        trace.scores["set-up seconds"] = spent / 10
    assert found([one], "median seconds").value == 51
    assert found([one], "p95 seconds").value == 96
    assert found([one], "median seconds").low < 51 < found([one], "median seconds").high
    assert found([one], "set-up seconds").value == 10.1
    assert not [row for row in rows([one]) if row.metric == "seconds"]


def test_scores_are_tested_against_toolkens_and_costs_are_not() -> None:
    attempts, expected = [Attempt()] * 6, [EXPECTED] * 6
    ours = outcome("toolken", attempts, expected, exact=[1.0] * 6)
    theirs = outcome("native", attempts, expected, exact=[0.0] * 6)
    assert found([ours, theirs], "exact", "native").p_value == pytest.approx(2 / 2**6)
    assert found([ours, theirs], "exact").p_value is None
    for name in ("tokens read", "tokens written", "cache megabytes"):
        assert found([ours, theirs], name, "native").p_value is None
    assert {row.mode for row in rows([ours, theirs])} == {"function-calling"}


def test_one_request_is_enough_for_rows() -> None:
    pair = [outcome(name, [Attempt()], [EXPECTED], exact=[at]) for at, name in enumerate(("toolken", "native"))]
    pair[1].traces[0].scores["tokens read"] = 99.0
    assert found(pair, "tokens read", "native").value == 99
    assert found(pair, "exact", "native").p_value == 1.0


ROW = Row(
    **{"benchmark": "mine", "split": "c", "method": "toolken", "tools": 2, "examples_per_tool": 0, "seed": None},
    **{"metric": "exact", "value": 0.5, "low": 0.4, "high": 0.6, "n": 40, "seconds": 1.0, "mode": "function-calling"},
)


def row(**changes: Any) -> Row:
    return ROW.model_copy(update=changes)


def test_the_main_score_is_exact_calls_else_the_text_else_no_call() -> None:
    given = [
        *(row(), row(metric="declined", n=10)),
        *(row(split="answer", metric="declined"), row(split="answer", metric="says", value=0.3)),
        *(row(split="mixed", metric="declined"), row(split="mixed", metric="says", n=3)),
        row(split="none", metric="tokens read"),
    ]
    assert {one.split: one.metric for one in main_scores(given)} == {
        "c": "exact",
        "answer": "says",
        "mixed": "declined",
    }


def test_categories_are_pooled_by_their_requests() -> None:
    one = pooled([row(value=0.5, low=0.2, high=0.8, n=30), row(value=1.0, low=0.6, high=1.0, n=10)])
    assert (one.value, one.n) == (pytest.approx(25 / 40), 40)
    assert one.low == pytest.approx(25 / 40 - (9.0**2 + 4.0**2) ** 0.5 / 40)
    assert one.high == pytest.approx(25 / 40 + 9 / 40)
    assert pooled([row()]).model_copy(update={"p_value": None}) == row()
