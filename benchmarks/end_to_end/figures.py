"""Rows of an end-to-end run: means with intervals, paired tests, and tables for the terminal."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence

import torch
from rich.table import Table

from toolken.benchmarks.end_to_end.traces import Trace
from toolken.benchmarks.end_to_end.trials import Outcome, TrialSettings
from toolken.benchmarks.selection.rows import Row, bootstrap_interval

#: Random permutations of a paired test on shares.
PERMUTATIONS = 9999
#: The reference method of the paired tests, if it was run.
OURS = "toolken"


def rows(outcomes: Sequence[Outcome], untested: Collection[str] = ()) -> list[Row]:
    """Return the rows of trials: each metric with its 95 % bootstrap interval and paired test against `OURS`.

    Metrics that are `untested`, such as costs, have no paired test.

    Trials that differ only in their seed give one row, the mean over seeds, with the settings of each seed. Rows of the
    candidates on dev questions have the split `dev: ...`.
    """
    groups: dict[tuple[object, ...], list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        groups[_test(outcome), outcome.trial.method, outcome.trial.examples_per_tool].append(outcome)
    found: list[Row] = []
    for group in groups.values():
        beside = [o for o in outcomes if o.trial.method == OURS and _test(o) == _test(group[0])]
        most = [o for o in beside if o.trial.examples_per_tool == beside[0].trial.examples_per_tool]
        found += _rows(group, most if group[0].trial.method != OURS else [], untested)
    return found


def _test(outcome: Outcome) -> tuple[str, str, int]:
    test = outcome.trial.test
    return test.benchmark, test.split, test.tools


def _rows(group: Sequence[Outcome], beside: Sequence[Outcome], untested: Collection[str]) -> Iterator[Row]:
    test = group[0].trial.test
    candidates: dict[str, tuple[TrialSettings, list[Sequence[Trace]]]] = {}
    for outcome in group:
        for settings, traces in outcome.dev:
            candidates.setdefault(repr(sorted(settings.items())), (settings, []))[1].append(traces)
    for settings, runs in candidates.values():
        for metric in test.metrics:
            yield from _row(group, f"dev: {test.split}", metric, runs, settings)
    for metric in test.metrics:
        for row in _row(group, test.split, metric, [one.traces for one in group], _settings(group)):
            if metric in untested:
                yield row
                continue
            mine, other = _outcomes(group, metric), _outcomes(beside, metric)
            paired = any(a is not None and b is not None for a, b in zip(mine, other, strict=bool(beside)))
            yield row.model_copy(update={"p_value": p_value(mine, other), "beside": OURS}) if paired else row


def _settings(group: Sequence[Outcome]) -> TrialSettings:
    """Return the settings; a setting that differs between seeds becomes a list."""
    return {
        name: value if all(one.settings[name] == value for one in group) else [one.settings[name] for one in group]
        for name, value in group[0].settings.items()
    }


def _outcomes(group: Sequence[Outcome], metric: str) -> list[float | None]:
    """Return the metric of each question, averaged over seeds; None if the metric does not apply."""
    found: list[float | None] = []
    for traces in zip(*(one.traces for one in group), strict=True):
        values = [trace.scores[metric] for trace in traces if metric in trace.scores]
        found.append(sum(values) / len(values) if len(values) == len(traces) else None)
    return found


def _row(
    group: Sequence[Outcome], split: str, metric: str, traces: Sequence[Sequence[Trace]], settings: TrialSettings
) -> Iterator[Row]:
    """Yield the row of a metric over one or several runs of the same questions; no row if no trace has the metric."""
    trial = group[0].trial
    kept = [at for at in range(len(traces[0])) if all(metric in run[at].scores for run in traces)]
    if not kept:
        return
    values = torch.tensor([[run[at].scores[metric] for at in kept] for run in traces], dtype=torch.float64)
    low, high = bootstrap_interval(values[:, :, None], _mean)
    yield Row(
        benchmark=trial.test.benchmark,
        split=split,
        method=trial.method,
        tools=trial.test.tools,
        examples_per_tool=trial.examples_per_tool,
        seed=None,
        metric=metric,
        value=float(values.mean()),
        low=low,
        high=high,
        n=len(kept),
        seconds=sum(one.seconds for one in group) / len(group),
        mode="end-to-end",
        settings=dict(settings),
    )


def p_value(mine: Sequence[float | None], other: Sequence[float | None]) -> float:
    """Return the two-sided p-value of a paired test on the questions; incomplete pairs are omitted.

    Under the null hypothesis the two outcomes of a question are exchangeable. For outcomes 0 or 1 this is the exact
    McNemar test: of the questions that only one method gets right, each method is expected to have half. For shares,
    such as means over seeds, it is a permutation test with `PERMUTATIONS` permutations.
    """
    from scipy.stats import binomtest, permutation_test

    pairs = [(a, b) for a, b in zip(mine, other, strict=True) if a is not None and b is not None]
    if all(value in (0.0, 1.0) for pair in pairs for value in pair):
        first, second = sum(a > b for a, b in pairs), sum(b > a for a, b in pairs)
        return float(binomtest(first, first + second).pvalue) if first + second else 1.0
    differences = [a - b for a, b in pairs]
    if len(differences) < 2 or not any(differences):
        return 1.0
    found = permutation_test(
        (differences,), lambda d, axis: d.mean(axis=axis), permutation_type="samples", n_resamples=PERMUTATIONS, rng=0
    )
    return float(found.pvalue)


def _mean(counts: torch.Tensor) -> torch.Tensor:
    return counts[..., 0].mean(-1)


def tables(rows: Sequence[Row]) -> list[Table]:
    """Return one table per test: a line per method with its metrics, their intervals and the p-value."""
    groups: dict[tuple[str, str, int], list[Row]] = defaultdict(list)
    for row in rows:
        if not row.split.startswith("dev: "):
            groups[row.benchmark, row.split, row.tools].append(row)
    found = []
    for (benchmark, split, tools), group in groups.items():
        metrics = list(dict.fromkeys(row.metric for row in group))
        table = Table(title=f"{benchmark}, {split}: {tools} tools, {max(row.n for row in group)} questions")
        table.add_column("method")
        for metric in metrics:
            table.add_column(metric, justify="right")
        table.add_column(f"p ({metrics[-1]})", justify="right")
        table.add_column("settings")
        for method, k in dict.fromkeys((row.method, row.examples_per_tool) for row in group):
            cells = {row.metric: row for row in group if (row.method, row.examples_per_tool) == (method, k)}
            shown = [cells.get(metric) for metric in metrics]
            p = cells[metrics[-1]].p_value if metrics[-1] in cells else None
            table.add_row(
                method + ("" if k is None else f", {k} examples"),
                *(f"{c.value:.3f} ({c.low:.2f}-{c.high:.2f})" if c is not None else "" for c in shown),
                "" if p is None else f"{p:.1g}",
                ", ".join(f"{key} {value}" for key, value in next(iter(cells.values())).settings.items()),
            )
        found.append(table)
    return found
