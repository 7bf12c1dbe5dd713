"""Rows of a function-calling run: scores, calibration and costs, with intervals and paired tests."""

from collections.abc import Callable, Iterator, Sequence

import torch

from toolken.benchmarks.end_to_end.figures import rows as mean_rows
from toolken.benchmarks.end_to_end.traces import Trace
from toolken.benchmarks.end_to_end.trials import Outcome
from toolken.benchmarks.function_calling.record import CallRecord
from toolken.benchmarks.function_calling.trials import COSTS, OWN_TOOLS
from toolken.benchmarks.selection.rows import Row, bootstrap_interval

#: Bins of the expected calibration error.
BINS = 10
#: The scores of the summary with their headings: each where it applies.
SUMMARY = {
    "exact": "exact calls",
    "declined": "no call where none is right",
    "asked": "asked back",
    "says": "sensible text",
}
#: Quantiles of the seconds.
QUANTILES = {"median seconds": 0.5, "p95 seconds": 0.95}


def rows(outcomes: Sequence[Outcome]) -> list[Row]:
    """Return the rows of trials.

    Scores are means with paired tests against `toolken`; tokens and megabytes are means; seconds are the median and
    the 95th percentile; set-up seconds are the largest, since later requests find descriptions that were read before.
    """
    # A paired test on costs would say nothing.
    means = [row for row in mean_rows(outcomes, COSTS) if row.metric not in ("seconds", "set-up seconds")]
    found = [row.model_copy(update={"mode": "function-calling"}) for row in means]
    for outcome in outcomes:
        found += _times(outcome)
        found += _calibration(outcome)
    return found


def main_scores(rows: Sequence[Row]) -> list[Row]:
    """Return one score per test and method: exact calls, else the sensible text, else the requests without a call."""
    best: dict[tuple[object, ...], Row] = {}
    order = ("exact", "says", "declined")
    whole = {_test_key(row): row.n for row in rows if row.metric == "declined"}
    for row in rows:
        # Texts of a few requests are not the score of all.
        if row.metric not in order or (row.metric == "says" and row.n < whole.get(_test_key(row), 0)):
            continue
        known = best.get(_test_key(row))
        if known is None or order.index(row.metric) < order.index(known.metric):
            best[_test_key(row)] = row
    return list(best.values())


def _test_key(row: Row) -> tuple[object, ...]:
    return row.benchmark, row.split, row.tools, has_own_tools(row), row.method, row.examples_per_tool


def has_own_tools(row: Row) -> bool:
    """Return whether the records of a row's test had their own tools alone."""
    return bool(row.settings.get("tools") == OWN_TOOLS["tools"])


def pooled(rows: Sequence[Row]) -> Row:
    """Return the figure of several categories together: their mean, weighted by the number of requests.

    The categories are independent, so that the squares of their weighted half intervals add up.
    """
    n = sum(row.n for row in rows)
    value = sum(row.value * row.n for row in rows) / n
    low = value - sum((row.n * (row.value - row.low)) ** 2 for row in rows) ** 0.5 / n
    high = value + sum((row.n * (row.high - row.value)) ** 2 for row in rows) ** 0.5 / n
    tools = max(row.tools for row in rows)
    changes = {"value": value, "low": low, "high": high, "n": n, "tools": tools, "p_value": None, "beside": None}
    return rows[0].model_copy(update=changes)


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
