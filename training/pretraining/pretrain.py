"""`pretrain`: corpora of tools and requests in, a `PretrainedPrior` out."""

from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch

from toolken.training.lm import FrozenLM
from toolken.training.pretraining.call_gate import PlacedTexts, SampledSets, fit_gate
from toolken.training.pretraining.learning_set import LearningSet, read_learning_set
from toolken.training.pretraining.metric_fit import STEPS, MetricData, fit_metric
from toolken.training.pretraining.reading_store import read_stored
from toolken.training.prior.call_features import CallGate
from toolken.training.prior.pretrained import PretrainedPrior
from toolken.training.prior.request_metric import RequestMetric
from toolken.training.prior.request_reader import ReadTexts, RequestReader, described
from toolken.training.progress import Progress

#: Parts of the train domains, each of which is decided with what was learned on the others, for the gate.
FOLDS = 5
#: Tools of other domains beside those of a dev request, for the choice of settings.
OTHERS = 10
#: Scales of the softmax over tools, and thresholds of P(tool), to choose among.
SCALES = (7.5, 10.0, 15.0, 20.0, 30.0, 40.0)
THRESHOLDS = tuple(number / 40 for number in range(4, 37))
#: What a call that should not happen costs, compared with a request that is declined wrongly.
WRONG_CALL = 1.0
#: Texts that are placed in the metric together.
CHUNK = 512


def pretrain(
    lm: FrozenLM,
    data: Iterable[str | Path],
    work: str | Path,
    *,
    card: dict[str, Any] | None = None,
    steps: int = STEPS,
    seed: int = 0,
    progress: Progress | None = None,
) -> PretrainedPrior:
    """Learn a prior: the LM reads all texts once, and what is learned from its states takes minutes.

    Settings are chosen on the dev domains; test domains are not read.

    Parameters
    ----------
    lm
        The LM, on a backend that gives the states between layers.
    data
        Folders or files of corpora; see `read_corpus` for their form.
    work
        Folder for the states that were read. A run that was interrupted goes on from there.
    card
        What the prior's card says of the corpora: names, sources, licences.
    steps
        Steps of contrastive learning.
    seed
        Seed of the batches and of the sampled sets of tools.
    progress
        Called at the start of each stage and as its steps finish.

    Raises
    ------
    DataFormatError
        If a corpus has a fault, or there is no train or dev domain.
    BackendError
        If the LM's backend does not give the states between layers.
    """
    found = read_learning_set(data)
    reader = RequestReader.of_depth(lm)
    start = progress or (lambda _label, _total: lambda _done: None)
    texts = [[(described(spec), "")] for spec in found.tools]
    tools = read_stored(lm, reader, texts, Path(work), advance=start("Reading descriptions", len(texts)))
    asked = [one.conversation for one in found.requests]
    requests = read_stored(lm, reader, asked, Path(work), advance=start("Reading requests", len(asked)))
    learning = MetricData(requests, tools, [one.tool for one in found.requests], found.domains)
    train = [at for at in found.of_split("train") if found.requests[at].tool >= 0]
    advance = start("Learning the metric", steps * (FOLDS + 1))

    def fitted(held_out: Collection[str]) -> tuple[RequestMetric, PlacedTexts]:
        chosen = [at for at in train if found.requests[at].domain not in held_out]
        metric = fit_metric(learning, chosen, lm.vocab_size, seed=seed, steps=steps, advance=advance)
        return metric, _placed(metric, requests, tools, held_out)

    metric, everything = fitted(())
    gate = fit_gate(found, _folds(found, fitted), everything, seed=seed)
    scores = everything.requests @ everything.tools.T
    dev = [at for at in found.of_split("dev") if found.requests[at].tool >= 0]
    sets = SampledSets(found, "dev", seed)
    drawn = {at: sets.draw(at, OTHERS, left_out=False)[0] for at in dev}
    right = sum(tools[int(scores[at, tools].argmax())] == found.requests[at].tool for at, tools in drawn.items())
    scale = min(SCALES, key=lambda one: _log_loss(found, scores, drawn, one))
    threshold, figures = _threshold(found, everything, scores, gate, scale, seed)
    figures |= {f"right tool among its domain's and {OTHERS} others": round(right / len(dev), 4), "requests": len(dev)}
    return PretrainedPrior(
        lm_name=lm.name,
        lm_fingerprint=lm.fingerprint,
        reader=reader,
        metric=metric,
        scale=scale,
        gate=gate,
        threshold=threshold,
        card={
            **(card or {}),
            "tools": len(found.tools),
            "requests": len(found.requests),
            "domains": found.splits,
            "steps": steps,
            "seed": seed,
            "number_format": lm.number_format,
            "dev": figures,
        },
    )


def _folds(
    found: LearningSet, fitted: Callable[[Collection[str]], tuple[RequestMetric, PlacedTexts]]
) -> Iterator[PlacedTexts]:
    domains = sorted(domain for domain, split in found.splits.items() if split == "train")
    for number in range(FOLDS):
        held_out = set(domains[number::FOLDS])
        if held_out and len(held_out) < len(domains):
            yield fitted(held_out)[1]


@torch.no_grad()
def _placed(metric: RequestMetric, requests: ReadTexts, tools: ReadTexts, held_out: Collection[str]) -> PlacedTexts:
    count = len(requests)
    parts = [range(begin, min(begin + CHUNK, count)) for begin in range(0, count, CHUNK)]
    views = torch.cat([metric.views(requests, "request", part) for part in parts])
    return PlacedTexts(held_out, views, metric.placed(views, "request"), metric.tools(tools))


def _log_loss(found: LearningSet, scores: torch.Tensor, drawn: dict[int, list[int]], scale: float) -> float:
    """Return the mean log loss of the right tool on dev requests."""
    total = 0.0
    for at, tools in drawn.items():
        shares = torch.log_softmax(scale * scores[at, tools], dim=0)
        total -= float(shares[tools.index(found.requests[at].tool)])
    return total / max(len(drawn), 1)


def _threshold(
    found: LearningSet, texts: PlacedTexts, scores: torch.Tensor, gate: CallGate, scale: float, seed: int
) -> tuple[float, dict[str, float]]:
    """Return the threshold of P(tool) with the least mean error on dev, and what is declined there by kind.

    A call of a wrong tool counts like a call that should not happen.
    """
    sets = SampledSets(found, "dev", seed)
    kinds: dict[str, list[float]] = {}
    asking: list[float] = []
    others: list[float] = []
    for at in found.of_split("dev"):
        one = found.requests[at]
        for left_out in (False, True) if one.tool >= 0 else (False,):
            tools, asks = sets.draw(at, OTHERS, left_out=left_out)
            shares = torch.softmax(scale * scores[at, tools], dim=0)
            call = torch.sigmoid(gate.log_odds(texts.views[at : at + 1], scores[at : at + 1, tools]))
            best = int(shares.argmax())
            probability = float(call) * float(shares[best])
            right = asks and tools[best] in (one.tool, one.about)
            (asking if right else others).append(probability)
            kind = "no tool of the set fits" if left_out else one.kind
            kinds.setdefault(kind if right or not asks else f"{kind}, another tool is nearest", []).append(probability)

    def error(threshold: float) -> float:
        declined = sum(one < threshold for one in asking) / max(len(asking), 1)
        called = sum(one >= threshold for one in others) / max(len(others), 1)
        return declined + WRONG_CALL * called

    chosen = min(THRESHOLDS, key=error)
    declined_by_kind = {
        f"declined: {kind}": round(sum(one < chosen for one in values) / len(values), 4)
        for kind, values in sorted(kinds.items())
    }
    return chosen, declined_by_kind
