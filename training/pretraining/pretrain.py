"""`pretrain`: corpora of tools and requests in, a `PretrainedPrior` out."""

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import torch

from toolken.training.features.background import plain_examples
from toolken.training.lm import FrozenLM
from toolken.training.pretraining.asking_fit import STEPS as ASKING_STEPS
from toolken.training.pretraining.asking_fit import fit_asking
from toolken.training.pretraining.contexts import Contexts, polite
from toolken.training.pretraining.dev_decisions import DevDecisions
from toolken.training.pretraining.gate_fit import NO_TOOL, PlacedTexts, fit_gate
from toolken.training.pretraining.learning_set import read_learning_set
from toolken.training.pretraining.metric_fit import STEPS, MetricData, fit_metric
from toolken.training.pretraining.reading_store import read_stored
from toolken.training.prior.pretrained import PretrainedPrior
from toolken.training.prior.request_metric import RequestMetric
from toolken.training.prior.request_reader import Exchange, RequestReader, described
from toolken.training.progress import Progress

#: Parts of the train domains, each of which is decided with what was learned on the others, for the gate.
FOLDS = 5
#: Scales of the softmax over tools to choose among.
SCALES = (7.5, 10.0, 15.0, 20.0, 30.0, 40.0)
#: Share of the dev requests for a tool, whose tool is the nearest, that the threshold declines.
DECLINED = 0.03
#: How often a follow-up counts besides once, for what asks for a tool.
FOLLOW_UPS = 4
#: How often a message of the corpora that asks for nothing counts, beside questions that need no tool.
CORPUS = 3


def pretrain(
    lm: FrozenLM,
    data: Iterable[str | Path],
    work: str | Path,
    *,
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
    asked: list[Sequence[Exchange]] = [one.conversation for one in found.requests]
    plain = [(example.question, "") for example in plain_examples()]
    contexts = Contexts.of(found, seed)
    # Questions that the LM answers without tools, whatever the tools are, also in the middle of a conversation.
    quiet = [[one] for one in plain] + contexts.before([*plain, *contexts.quiet])
    changed = [*contexts.before(contexts.asking), *polite(found, seed)]
    asked += [*quiet, *changed]
    messages = read_stored(lm, reader, asked, Path(work), advance=start("Reading requests", len(asked)))
    learning = MetricData(messages, tools, [one.tool for one in found.requests], found.domains)
    train = found.of_split("train")
    calls = [at for at in train if found.requests[at].tool >= 0]
    domains = sorted(domain for domain, split in found.splits.items() if split == "train")
    folds = [held_out for number in range(FOLDS) if (held_out := set(domains[number::FOLDS])) and len(domains) > 1]
    advance = start("Learning the metric", steps * (len(folds) + 1))

    def fitted(held_out: Collection[str]) -> tuple[RequestMetric, PlacedTexts]:
        chosen = [at for at in calls if found.requests[at].domain not in held_out]
        metric = fit_metric(learning, chosen, lm.vocab_size, seed=seed, steps=steps, advance=advance)
        with torch.no_grad():
            return metric, PlacedTexts(held_out, metric.requests(messages), metric.tools(tools))

    metric, everything = fitted(())
    gate = fit_gate(found, (fitted(held_out)[1] for held_out in folds), seed=seed)
    # What no tool of a domain does is asked for all the same: tools of another domain may do it.
    asks = [at for at in train if found.requests[at].asks or found.requests[at].kind == NO_TOOL]
    others = [at for at in train if not found.requests[at].asks and found.requests[at].kind != NO_TOOL]
    # Follow-ups ("and in Rome?") are few and unlike other requests.
    asks += [at for at in asks if len(found.requests[at].conversation) > 1] * FOLLOW_UPS
    asking = fit_asking(
        messages,
        [*asks, *range(len(asked) - len(changed), len(asked))],
        # What people say beside tools counts more than questions that the LM answers without tools.
        [*others * CORPUS, *range(len(found.requests), len(asked) - len(changed))],
        seed=seed,
        advance=start("Learning what asks for a tool", ASKING_STEPS),
    )
    decisions = DevDecisions.of(found, everything, asking.log_odds(messages), gate, seed)
    scale = min(SCALES, key=decisions.log_loss)
    threshold = decisions.threshold(DECLINED)
    return PretrainedPrior(
        lm_name=lm.name,
        lm_fingerprint=lm.fingerprint,
        reader=reader,
        metric=metric,
        asking=asking,
        scale=scale,
        gate=gate,
        threshold=threshold,
        card={
            "sources": found.sources,
            "tools": len(found.tools),
            "requests": len(found.requests),
            "domains": found.splits,
            "steps": steps,
            "seed": seed,
            "number_format": lm.number_format,
            "dev": decisions.figures(threshold),
        },
    )
