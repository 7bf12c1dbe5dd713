"""Agreement of one LM on two backends: hidden states and the tools a head selects."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from toolken.benchmarks.selection.rows import bootstrap_interval
from toolken.benchmarks.selection.sampling import draw
from toolken.benchmarks.sets.dataset import Dataset
from toolken.errors import FingerprintError
from toolken.training.features.decision_states import DecisionStates, decisions
from toolken.training.features.feature_cache import FeatureCache
from toolken.training.fit import Progress, fit
from toolken.training.lm import FrozenLM


@dataclass(frozen=True)
class Agreement:
    """One figure, with its 95 % bootstrap interval over the questions."""

    what: str
    value: float
    low: float
    high: float
    n: int


def agreement(
    lm: FrozenLM,
    other: FrozenLM,
    dataset: Dataset,
    *,
    examples_per_tool: int = 5,
    progress: Progress | None = None,
) -> Iterator[Agreement]:
    """Yield the agreement of two backends on the largest test of a data set, with a head fitted on the first backend.

    Parameters
    ----------
    lm, other
        The same LM on two backends.
    dataset
        A data set whose questions each call one tool.
    examples_per_tool
        Training examples of each tool.

    Raises
    ------
    FingerprintError
        If the LMs differ.
    """
    if lm.fingerprint != other.fingerprint:
        raise FingerprintError(f"{lm.name} and {other.name} are different models: name the same one for both backends.")
    test = max(dataset.tests.values(), key=lambda one: len(one.specs))
    train = dataset.train["supervised"]
    shown = [train[at] for at in draw(train, examples_per_tool, 0, by_problem=False)]
    head = fit(lm, dataset.specs, shown, cache=FeatureCache(lm), progress=progress)
    known = {name: at for at, name in enumerate(head.names)}
    candidates = torch.tensor([known[spec.name] for spec in test.specs])
    points = []
    for one in (lm, other):
        advance = progress(f"Reading the test on {one.number_format}", len(test.examples)) if progress else None
        parts = decisions(one, head.prompt, test.examples, head.names, cache=FeatureCache(one), advance=advance)
        points.append(DecisionStates.join(parts).calls())
    chosen = [candidates[head.decide(states.hidden).scores[:, candidates].argmax(1)] for states in points]
    cosines = torch.cosine_similarity(points[0].hidden, points[1].hidden)
    yield _mean("cosine of the hidden states", cosines)
    yield Agreement("minimum of these cosines", *3 * (float(cosines.min()),), len(cosines))
    for one, found in zip((lm, other), chosen, strict=True):
        yield _mean(f"right tool on {one.number_format}", found == points[0].labels)
    yield _mean("the same tool on both", chosen[0] == chosen[1])


def _mean(what: str, values: torch.Tensor) -> Agreement:
    counts = values.double()[None, :, None]
    low, high = bootstrap_interval(counts, lambda rows: rows.mean((-2, -1)))
    return Agreement(what, float(values.double().mean()), low, high, len(values))
