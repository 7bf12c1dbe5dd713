"""`pretrain`: corpora of tools and requests in, a `PretrainedPrior` out."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from toolken.training.lm import FrozenLM
from toolken.training.pretraining.call_gate import SampledSets, fit_gate
from toolken.training.pretraining.learning_set import LearningSet, read_learning_set
from toolken.training.pretraining.metric import PENALTIES, DescriptionMap, Metric
from toolken.training.pretraining.reading import read_views
from toolken.training.prior.pretrained import DecisionReader, PretrainedPrior, described
from toolken.training.progress import Progress

#: Tools of other domains beside those of a dev request, for the choice of settings.
OTHERS = 10
#: Scales of the softmax over tools, and thresholds of P(call), to choose among.
SCALES = (5.0, 7.5, 10.0, 15.0, 20.0, 30.0)
THRESHOLDS = tuple(number / 20 for number in range(2, 19))
#: What a call that should not happen costs, compared with a request that is declined wrongly.
WRONG_CALL = 1.0


def pretrain(
    lm: FrozenLM,
    data: Iterable[str | Path],
    work: str | Path,
    *,
    card: dict[str, Any] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> PretrainedPrior:
    """Learn a prior: the LM reads all texts once, and closed forms and two logistic regressions do the rest.

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
    seed
        Seed of the sampled sets of tools.
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
    reader = DecisionReader.of_depth(lm)
    start = progress or (lambda _label, _total: lambda _done: None)
    texts = [[(described(spec), "")] for spec in found.tools]
    tool_views = read_views(lm, reader, texts, Path(work), advance=start("Reading descriptions", len(texts)))
    asked = [one.conversation for one in found.requests]
    request_views = read_views(lm, reader, asked, Path(work), advance=start("Reading requests", len(asked)))
    train = [at for at in found.of_split("train") if found.requests[at].tool >= 0]
    labels = [found.requests[at].tool for at in train]
    metric = Metric.fitted(request_views[train], tool_views, labels)
    requests, tools = metric.requests(request_views), metric.tools(tool_views)
    maps = {p: DescriptionMap.fitted(requests[train], tools, labels, p) for p in PENALTIES}
    dev = [at for at in found.of_split("dev") if found.requests[at].tool >= 0]
    sets = SampledSets(found, "dev", seed)
    drawn = {at: sets.draw(at, OTHERS, left_out=False)[0] for at in dev}

    def accuracy(penalty: float) -> float:
        scores = requests[dev] @ maps[penalty].output_embeddings(tools).T
        right = [
            drawn[at][int(scores[place, drawn[at]].argmax())] == found.requests[at].tool for place, at in enumerate(dev)
        ]
        return sum(right) / len(right)

    penalty = max(PENALTIES, key=accuracy)

    def embeddings_without(domains: Iterable[str]) -> torch.Tensor:
        gone = set(domains)
        kept = [place for place, at in enumerate(train) if found.requests[at].domain not in gone]
        chosen = [train[place] for place in kept]
        fold = DescriptionMap.fitted(requests[chosen], tools, [labels[place] for place in kept], penalty)
        return fold.output_embeddings(tools)

    gate = fit_gate(found, requests, embeddings_without, seed=seed)
    embeddings = maps[penalty].output_embeddings(tools)
    scores = requests @ embeddings.T
    scale = min(SCALES, key=lambda one: _log_loss(found, scores, drawn, one))
    threshold, figures = _threshold(found, requests, scores, gate, seed)
    figures |= {"tool accuracy, own tools and 10 others": round(accuracy(penalty), 4), "dev requests": len(dev)}
    return PretrainedPrior(
        lm_name=lm.name,
        lm_fingerprint=lm.fingerprint,
        reader=reader,
        request_means=metric.request_means.float(),
        tool_means=metric.tool_means.float(),
        whitening=metric.whitening.float(),
        left=maps[penalty].left.float(),
        right=maps[penalty].right.float(),
        scale=scale,
        gate=gate,
        threshold=threshold,
        card={
            **(card or {}),
            "tools": len(found.tools),
            "requests": len(found.requests),
            "domains": found.splits,
            "penalty": penalty,
            "dev": figures,
        },
    )


def _log_loss(found: LearningSet, scores: torch.Tensor, drawn: dict[int, list[int]], scale: float) -> float:
    """Return the mean log loss of the right tool on dev requests."""
    total = 0.0
    for at, tools in drawn.items():
        shares = torch.log_softmax(scale * scores[at, tools], dim=0)
        total -= float(shares[tools.index(found.requests[at].tool)])
    return total / max(len(drawn), 1)


def _threshold(
    found: LearningSet, requests: torch.Tensor, scores: torch.Tensor, gate: Any, seed: int
) -> tuple[float, dict[str, float]]:
    """Return the threshold with the least mean error on dev, and the shares that are declined there by kind."""
    sets = SampledSets(found, "dev", seed)
    kinds: dict[str, list[float]] = {}
    asking: list[float] = []
    others: list[float] = []
    for at in found.of_split("dev"):
        one = found.requests[at]
        for left_out in (False, True) if one.tool >= 0 else (False,):
            tools, right = sets.draw(at, OTHERS, left_out=left_out)
            odds = gate.log_odds(requests[at : at + 1].float(), scores[at : at + 1, tools].float())
            probability = float(torch.sigmoid(odds))
            (asking if right else others).append(probability)
            kinds.setdefault("left out" if left_out else one.kind, []).append(probability)

    def error(threshold: float) -> float:
        declined = sum(one < threshold for one in asking) / max(len(asking), 1)
        called = sum(one >= threshold for one in others) / max(len(others), 1)
        return declined + WRONG_CALL * called

    chosen = min(THRESHOLDS, key=error)
    shares = {
        f"declined, {kind}": round(sum(one < chosen for one in found_) / len(found_), 4)
        for kind, found_ in sorted(kinds.items())
    }
    return chosen, shares
