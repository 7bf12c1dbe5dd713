"""Rows of a function-calling run: scores, calibration and costs, with intervals and paired tests."""

from collections.abc import Callable, Iterator, Sequence

import torch

from toolken.benchmarks.end_to_end.figures import rows as mean_rows
from toolken.benchmarks.end_to_end.traces import Trace
from toolken.benchmarks.end_to_end.trials import Outcome
from toolken.benchmarks.function_calling.record import CallRecord
from toolken.benchmarks.function_calling.trials import COSTS
from toolken.benchmarks.selection.rows import Row, bootstrap_interval

#: Bins of the expected calibration error.
BINS = 10
#: Quantiles of the seconds.
QUANTILES = {"median seconds": 0.5, "p95 seconds": 0.95}


def rows(outcomes: Sequence[Outcome]) -> list[Row]:
    """Return the rows of trials.

    Scores are means with paired tests against `toolken`; tokens and megabytes are means; seconds are the median and
    the 95th percentile; set-up seconds are the largest, since later requests find descriptions that were read before.
    """
    found = [row for row in mean_rows(outcomes) if row.metric not in ("seconds", "set-up seconds")]
    # A paired test on costs would say nothing.
    cost = {"mode": "function-calling", "p_value": None, "beside": None}
    found = [row.model_copy(update=cost if row.metric in COSTS else {"mode": "function-calling"}) for row in found]
    for outcome in outcomes:
        found += _times(outcome)
        found += _calibration(outcome)
    return found


def _times(outcome: Outcome) -> Iterator[Row]:
    seconds = torch.tensor([[trace.scores["seconds"]] for trace in outcome.traces], dtype=torch.float64)
    for name, level in QUANTILES.items():
        value = float(torch.quantile(seconds[:, 0], level))
        low, high = bootstrap_interval(seconds[None], _quantile(level))
        yield _row(outcome, name, value, low, high, len(seconds))
    setup = max(trace.scores["set-up seconds"] for trace in outcome.traces)
    yield _row(outcome, "set-up seconds", setup, setup, setup, len(seconds))


def _quantile(level: float) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda counts: torch.quantile(counts[..., 0], level, dim=-1)


def _calibration(outcome: Outcome) -> Iterator[Row]:
    """Yield the expected calibration error of the first decision (Guo et al. 2017, arXiv 1706.04599).

    The confidence is P(tool) where a tool was called and 1 - P(call) where none was; a decision is right if the tool
    is one of the right ones, whose order is free, or if no call is right.
    """
    pairs = zip(outcome.traces, outcome.trial.test.questions, strict=True)
    decided = [_decision(trace, question.reference) for trace, question in pairs]
    known = [one for one in decided if one is not None]
    if not known:
        return
    counts = torch.tensor(known, dtype=torch.float64)
    value = float(calibration_error(counts))
    low, high = bootstrap_interval(counts[None], calibration_error, around=value)
    yield _row(outcome, "calibration error", value, low, high, len(known))


def _decision(trace: Trace, record: CallRecord) -> tuple[float, float] | None:
    """Return confidence and correctness of the first decision, or None for methods without probabilities."""
    attempt = trace.attempt
    if attempt.call_probability is None:
        return None
    first = next(iter(attempt.calls), None)
    if first is None:
        return 1 - attempt.call_probability, float(not record.expected)
    if first.probability is None:
        return None
    return first.probability, float(first.tool in {call.tool for call in record.expected})


def calibration_error(counts: torch.Tensor) -> torch.Tensor:
    """Return the expected calibration error `(...)` of pairs of confidence and correctness, `(..., n, 2)`."""
    confidence, correct = counts[..., 0], counts[..., 1]
    bins = (confidence * BINS).long().clamp(0, BINS - 1)
    total = torch.zeros(counts.shape[:-2], dtype=counts.dtype)
    for index in range(BINS):
        inside = (bins == index).to(counts.dtype)
        total += ((confidence - correct) * inside).sum(-1).abs()
    return total / counts.shape[-2]


def _row(outcome: Outcome, metric: str, value: float, low: float, high: float, n: int) -> Row:
    trial = outcome.trial
    return Row(
        benchmark=trial.test.benchmark,
        split=trial.test.split,
        method=trial.method,
        tools=trial.test.tools,
        examples_per_tool=trial.examples_per_tool,
        seed=None,
        metric=metric,
        value=value,
        low=low,
        high=high,
        n=n,
        seconds=outcome.seconds,
        mode="function-calling",
        settings=dict(outcome.settings),
    )
