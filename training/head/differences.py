"""`differences`: how two heads differ, in terms of their tools, settings and decisions."""

from collections.abc import Iterator
from typing import NamedTuple

import torch

from toolken.training.head.toolken_head import ToolkenHead

#: Tools that are named in one line; of the rest only the number is given.
NAMED = 8


class Difference(NamedTuple):
    """One property in which two heads differ, and its value in each of them."""

    what: str
    one: str
    other: str


def differences(one: ToolkenHead, other: ToolkenHead) -> list[Difference]:
    """Return the differences between two heads, the most important first.

    Output embeddings and decisions are compared for the tools that both heads have; the decisions are taken at the
    states of the few-shot examples that either head keeps.
    """
    found = [Difference(what, str(a), str(b)) for what, a, b in (*_facts(one, other), *_numbers(one, other)) if a != b]
    found += _tools(one, other)
    found += _decisions(one, other)
    return found


def _facts(one: ToolkenHead, other: ToolkenHead) -> Iterator[tuple[str, object, object]]:
    yield "LM", f"{one.lm_name} ({one.lm_fingerprint[:8]})", f"{other.lm_name} ({other.lm_fingerprint[:8]})"
    if type(one.prompt) is not type(other.prompt):
        yield "prompt format", type(one.prompt).__name__, type(other.prompt).__name__
        return
    for name in type(one.prompt).model_fields:
        yield f"prompt format: {name}", repr(getattr(one.prompt, name)), repr(getattr(other.prompt, name))
    yield "prior", ", ".join(one.forms), ", ".join(other.forms)
    yield "examples", one.provenance.examples, other.provenance.examples
    yield "hash of the examples", one.provenance.data[:16], other.provenance.data[:16]


def _numbers(one: ToolkenHead, other: ToolkenHead) -> Iterator[tuple[str, object, object]]:
    for name in type(one.settings).model_fields:
        yield f"settings: {name}", getattr(one.settings, name), getattr(other.settings, name)
    yield "temperature", f"{one.temperature:.6g}", f"{other.temperature:.6g}"
    yield "threshold", f"{one.threshold:.6g}", f"{other.threshold:.6g}"
    refined = [len(head.correction.names) if head.correction else 0 for head in (one, other)]
    yield "refined tools", refined[0], refined[1]
    for name in sorted({*one.provenance.metrics, *other.provenance.metrics}):
        values = [head.provenance.metrics.get(name) for head in (one, other)]
        a, b = ("not measured" if value is None else f"{value:.4f}" for value in values)
        yield name, a, b
    for where in ("opening", "following"):
        gates = [getattr(head.gate, where) for head in (one, other)]
        a, b = (f"|v| {float(gate.weight.norm()):.6g}, c {gate.bias:.6g}" for gate in gates)
        yield f"gate: {where}", a, b


def _tools(one: ToolkenHead, other: ToolkenHead) -> Iterator[Difference]:
    known = [{spec.name: spec for spec in head.specs} for head in (one, other)]
    only = [[name for name in known[i] if name not in known[1 - i]] for i in (0, 1)]
    if only[0] or only[1]:
        yield Difference("tools that only one head has", *map(_listed, only))
    both = [name for name in known[0] if name in known[1]]
    for what, changed in (
        ("description", [name for name in both if known[0][name].words != known[1][name].words]),
        ("argument schema", [name for name in both if known[0][name].parameters != known[1][name].parameters]),
    ):
        if changed:
            yield Difference(f"tools with another {what}", "", _listed(changed))
    counts = [dict(zip(head.names, head.statistics.counts.tolist(), strict=True)) for head in (one, other)]
    changed_counts = [name for name in both if counts[0][name] != counts[1][name]]
    if changed_counts:
        shown = [", ".join(f"{name}: {count[name]:.0f}" for name in changed_counts[:NAMED]) for count in counts]
        more = f" and {len(changed_counts) - NAMED} more" if len(changed_counts) > NAMED else ""
        yield Difference("examples per tool", shown[0] + more, shown[1] + more)


def _decisions(one: ToolkenHead, other: ToolkenHead) -> Iterator[Difference]:
    places = {name: at for at, name in enumerate(other.names)}
    pairs = [(at, places[name]) for at, name in enumerate(one.names) if name in places]
    if not pairs or one.output_embeddings.shape[1] != other.output_embeddings.shape[1]:
        return
    mine, theirs = (torch.tensor(side) for side in zip(*pairs, strict=True))
    vectors, their_vectors = one.output_embeddings[mine], other.output_embeddings[theirs]
    moved = (vectors - their_vectors).norm(dim=1) / vectors.norm(dim=1).clamp(min=1e-12)
    # Output embeddings are float32: smaller differences are rounding.
    if float(moved.max()) > 1e-6:
        distances = f"median {float(moved.median()):.3g}, most {moved.max():.3g}"
        yield Difference("output embeddings of common tools, relative distance", "", distances)
    states = [head.few_shot.states for head in (one, other) if len(head.few_shot.states)]
    if states:
        hidden = torch.cat(states)
        chosen = [head.decide(hidden, at).scores.argmax(1) for head, at in ((one, mine), (other, theirs))]
        changed = int((chosen[0] != chosen[1]).sum())
        if changed:
            yield Difference("other tool chosen at kept few-shot examples", "", f"{changed} of {len(hidden)}")


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
