"""What fitting costs beside the LM's own forward pass and beside the published trainers, as ratios in one run."""

import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from statistics import median
from typing import NamedTuple

from toolken.benchmarks.methods.published_trainers import PRESETS, SCHEDULES, rerun
from toolken.benchmarks.selection.comparisons import Comparison
from toolken.training.examples import Example
from toolken.training.features.background import background
from toolken.training.features.decision_states import decision_positions
from toolken.training.fit import fit
from toolken.training.lm import FrozenLM
from toolken.training.prior.sources import requests_of
from toolken.training.tool_spec import ToolSpec

#: Steps of the published trainer that are timed; the rest is like them.
STEPS = 40
#: Repetitions of what takes milliseconds.
REPETITIONS = 7


class Cost(NamedTuple):
    """One line of the comparison: what was done, what it cost in seconds or megabytes, and the ratio to the fit's."""

    what: str
    value: float
    unit: str
    ratio: float


def measure(lm: FrozenLM, benchmark: str, comparison: Comparison, examples: list[Example]) -> Iterator[Cost]:
    """Yield the time of a fit, and of what it is compared with, all on the same examples.

    The bare forward pass goes over the same tokens, the examples up to their last decision and the descriptions in all
    their wordings, and gives the same states. The published trainer (`toolkengpt`, one example a step, the LM run again
    in each of its published epochs) is timed for some steps and its whole time computed from them. Memory is the most
    that the process held, LM included, during the fit and during one of a tenth of the examples; it is left out where
    the operating system does not tell.
    """
    names = [spec.name for spec in comparison.specs]
    prompt = comparison.prompt
    background(lm, prompt)  # once for an LM and a wording, not for a fit
    texts = [prompt.query(request) for spec in comparison.specs for request in requests_of(spec)]
    index_of = {name: i for i, name in enumerate(names)}
    sequences = [lm.encode(text).ids for text in texts]
    positions = [[len(ids) - 1] for ids in sequences]
    for example in examples:
        for rendered in prompt.renderings(example):
            encoding = lm.encode(rendered.text)
            places = [place.position for place in decision_positions(encoding, rendered, index_of)]
            sequences.append(encoding.ids[: places[-1] + 1])
            positions.append(places)
    fit(lm, comparison.specs[:2], prompt=prompt)  # what is loaded at first use is loaded now

    _forget_peak()
    fit(lm, comparison.specs, examples[: max(len(examples) // 10, 1)], prompt=prompt)
    small = _peak()
    _forget_peak()
    begun = time.perf_counter()
    head = fit(lm, comparison.specs, examples, prompt=prompt)
    assert len(head.output_embeddings) == len(names)  # the rows are computed when they are asked for
    whole = time.perf_counter() - begun
    large = _peak()
    yield Cost(f"fit, {len(examples)} examples, {len(names)} tools", whole, "s", 1.0)
    begun = time.perf_counter()
    for _ in lm.hidden_states(sequences, positions):
        pass
    bare = time.perf_counter() - begun
    yield Cost("bare forward pass over the same tokens", bare, "s", bare / whole)
    schedule = SCHEDULES.get(benchmark)
    epochs = schedule.epochs if schedule else PRESETS["toolkengpt"].epochs
    steps = min(STEPS, len(examples))
    begun = time.perf_counter()
    for _ in islice(rerun(lm, prompt, examples, names, PRESETS["toolkengpt"], epochs=epochs), steps):
        pass
    published = (time.perf_counter() - begun) / steps * len(examples) * epochs
    yield Cost(f"toolkengpt, batch 1, {epochs} epochs, from {steps} steps", published, "s", published / whole)
    added = []
    for number in range(REPETITIONS):
        tool = ToolSpec(name=f"new_{number}", description=f"Tells how many visitors museum number {number} had.")
        begun = time.perf_counter()
        head = head.with_tools([tool], lm)
        assert len(head.output_embeddings) == len(names) + number + 1
        added.append(time.perf_counter() - begun)
    yield Cost("one tool added by its description, median", median(added), "s", median(added) / whole)
    if large and small:
        yield Cost("memory of the fit", large, "MB", 1.0)
        yield Cost("memory of a fit of a tenth of the examples", small, "MB", small / large)


def _forget_peak() -> None:
    with suppress(OSError):  # Linux only
        Path("/proc/self/clear_refs").write_text("5")


def _peak() -> float:
    """Return the most megabytes this process has held since `_forget_peak`, or 0 where that is not known."""
    with suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024
    return 0.0
