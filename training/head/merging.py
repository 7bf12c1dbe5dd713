"""`merge`: join heads that were fitted separately, as if one had been fitted on all of their examples."""

from collections.abc import Iterable
from dataclasses import replace

import torch

from toolken.errors import FingerprintError, HeadError, ToolSpecError
from toolken.training.head.toolken_head import ToolkenHead
from toolken.training.prompts.few_shot import FewShotExamples
from toolken.training.tool_spec import ToolSpec, check_descriptions


def merge(heads: Iterable[ToolkenHead]) -> ToolkenHead:
    """Return one head with the tools and the examples of several, tools matched by name.

    The statistics are sums, so output embeddings and biases are those of a fit on all examples with the same settings.
    What `fit` chooses from single examples cannot be summed and comes from the head with the most examples: the gate,
    its threshold, the settings and the temperature. A refinement is dropped, since it fits its own examples alone.

    Raises
    ------
    HeadError
        If there is no head, two have the same examples, or their priors differ.
    FingerprintError
        If two were fitted with different LMs or prompt formats.
    ToolSpecError
        If tools of one name have different descriptions, or tools of different names have one.
    """
    heads = list(heads)
    if not heads:
        raise HeadError("There is nothing to merge: name at least one head.")
    largest = max(heads, key=lambda head: head.provenance.examples)
    specs = {spec.name: spec for spec in largest.specs}
    for head in heads:
        _check_pair(largest, head)
        _check_names(specs, head)
        specs |= {spec.name: spec for spec in head.specs if spec.name not in specs}
    check_descriptions(list(specs.values()))
    seen: dict[str, int] = {}
    for number, head in enumerate(heads):
        if head.provenance.examples and seen.setdefault(head.provenance.data, number) != number:
            raise HeadError(
                f"Heads {seen[head.provenance.data] + 1} and {number + 1} were fitted on the same examples, which "
                "would count twice: merge heads of different examples."
            )
    specs = {spec.name: spec for spec in largest.specs}
    statistics, provenance = largest.statistics, largest.provenance.unmeasured()
    shown, states = list(largest.few_shot.shown), [largest.few_shot.states]
    forms = {source: [form] for source, form in largest.forms.items()}
    for head in heads:
        if head is largest:
            continue
        new = [at for at, spec in enumerate(head.specs) if spec.name not in specs]
        specs |= {head.specs[at].name: head.specs[at] for at in new}
        for source, collected in forms.items():
            collected.append(head.forms[source][new])
        statistics = statistics.merge(head.statistics)
        provenance = provenance.merge(head.provenance)
        shown += head.few_shot.shown
        states.append(head.few_shot.states)
    joined = {source: torch.cat(collected) for source, collected in forms.items()}
    return replace(
        largest,
        specs=list(specs.values()),
        estimate=replace(largest.estimate, forms=joined, statistics=statistics, correction=None),
        few_shot=FewShotExamples(shown, torch.cat([one for one in states if len(one)] or states[:1])).few(),
        provenance=provenance,
    )


def _check_pair(one: ToolkenHead, other: ToolkenHead) -> None:
    if one.lm_fingerprint != other.lm_fingerprint:
        raise FingerprintError(
            f"A head of the LM {other.lm_name!r} cannot be merged with one of {one.lm_name!r}: fit both with one LM."
        )
    if one.prompt.fingerprint != other.prompt.fingerprint:
        raise FingerprintError("Heads of different prompt formats cannot be merged: fit both with one format.")
    teachers = [head.teacher.encoder if head.teacher else None for head in (one, other)]
    same_background = one.estimate.background.fingerprint == other.estimate.background.fingerprint
    if list(one.forms) != list(other.forms) or teachers[0] != teachers[1] or not same_background:
        raise HeadError(
            "Heads with different priors cannot be merged: fit both with the same prior, teacher and unlabelled "
            "requests."
        )


def _check_names(specs: dict[str, ToolSpec], other: ToolkenHead) -> None:
    for spec in other.specs:
        if spec.name in specs and specs[spec.name].words != spec.words:
            raise ToolSpecError(
                f"Two different tools are called {spec.name!r}: rename one of them, or give both one description."
            )
