"""Counts of a method on a test, and the rows of the metrics computed from them."""

from collections.abc import Iterator, Sequence

import torch

from toolken.benchmarks.methods.selection_methods import Fitted
from toolken.benchmarks.selection.comparisons import Comparison
from toolken.benchmarks.selection.rows import Row, bootstrap_interval
from toolken.training.estimation.calibration import calibration_error
from toolken.training.features.decision_states import NO_CALL, DecisionStates


def measure(
    fitted: Fitted, test: DecisionStates, candidates: torch.Tensor, firing: bool
) -> dict[str, tuple[torch.Tensor, ...]]:
    """Return the counts of each metric, one entry per test example or call."""
    calls = test.calls()
    scores = (calls.hidden @ fitted.output_embeddings.T + fitted.biases)[:, candidates]
    known = (calls.labels[:, None] == candidates).long().argmax(1)
    found = selection_hits(scores, known)
    if fitted.calibrated:
        probabilities = torch.softmax(scores, dim=1)
        found["ece"] = (probabilities, known)
    if firing:
        fired = fitted.log_odds(test.hidden, test.logsumexp, test.results) > 0
        true = test.labels != NO_CALL
        size = int(test.examples.max()) + 1

        def per_example(mask: torch.Tensor) -> torch.Tensor:
            return torch.zeros(size).index_add_(0, test.examples, mask.float())

        found["firing"] = (per_example(fired & true), per_example(fired & ~true), per_example(~fired & true))
    return found


def selection_hits(scores: torch.Tensor, known: torch.Tensor) -> dict[str, tuple[torch.Tensor, ...]]:
    """Return whether the right tool `known`, `(n,)`, has the top score and a top-5 score, per call."""
    order = scores.topk(min(5, scores.shape[1]), dim=1).indices == known[:, None]
    return {"accuracy": (order[:, 0],), "top5": (order.any(1),)}


def rows_of(
    benchmark: str,
    comparison: Comparison,
    method: str,
    k: int | None,
    seed: int | None,
    measured: Sequence[dict[str, tuple[torch.Tensor, ...]]],
    seconds: float,
) -> Iterator[Row]:
    """Yield a row per metric of one method, from the counts of one or several seeds."""
    figures: dict[str, tuple[float, float, float, int]] = {}
    for metric in measured[0]:
        values = [one[metric] for one in measured]
        if metric == "ece":
            pairs = [torch.stack([p.max(1).values, (p.argmax(1) == y).float()], dim=1) for p, y in values]
            counts = torch.stack(pairs)
            mean = float(_ece(counts).mean())
            figures["ece"] = (mean, *bootstrap_interval(counts, _ece, around=mean), counts.shape[1])
        elif metric == "firing":
            counts = torch.stack([torch.stack(one, 1) for one in values])
            for name, statistic in (("precision", _precision), ("recall", _recall), ("f1", _f1)):
                mean = float(torch.stack([statistic(one) for one in counts]).mean())
                figures[name] = (mean, *bootstrap_interval(counts, statistic), counts.shape[1])
        else:
            correct = torch.stack([one[0].double() for one in values])
            figures[metric] = (float(correct.mean()), *bootstrap_interval(correct[:, :, None], _mean), correct.shape[1])
    split = comparison.split if k != 0 or comparison.split == "left-out" else "zero-shot"
    for metric, (value, low, high, count) in figures.items():
        yield Row(
            benchmark=benchmark,
            split=split,
            method=method,
            tools=len(comparison.candidates),
            examples_per_tool=k,
            seed=seed,
            metric=metric,
            value=value,
            low=low,
            high=high,
            n=count,
            seconds=seconds,
        )


def _mean(counts: torch.Tensor) -> torch.Tensor:
    return counts[..., 0].mean(-1)


def _precision(counts: torch.Tensor) -> torch.Tensor:
    right, wrong, _ = counts.sum(-2).unbind(-1)
    return right / (right + wrong).clamp(min=1)


def _recall(counts: torch.Tensor) -> torch.Tensor:
    right, _, missed = counts.sum(-2).unbind(-1)
    return right / (right + missed).clamp(min=1)


def _f1(counts: torch.Tensor) -> torch.Tensor:
    right, wrong, missed = counts.sum(-2).unbind(-1)
    return 2 * right / (2 * right + wrong + missed).clamp(min=1)


def _ece(counts: torch.Tensor) -> torch.Tensor:
    confidence, hit = counts.unbind(-1)
    return calibration_error(confidence, hit)
