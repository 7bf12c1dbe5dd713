"""Cost of a fit compared with the LM's forward pass and a published trainer, as ratios in one run."""

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

#: Timed steps of the published trainer, from which its total time is extrapolated.
STEPS = 40
#: Repetitions of measurements that take milliseconds.
REPETITIONS = 7


class Cost(NamedTuple):
    """One line of the comparison: the work, its cost in seconds or megabytes, and the ratio to that of the fit."""

    what: str
    value: float
    unit: str
    ratio: float


def measure(lm: FrozenLM, benchmark: str, comparison: Comparison, examples: list[Example]) -> Iterator[Cost]:
    """Yield the time of a fit, a forward pass and a published trainer on the same examples.

    The bare forward pass covers the same tokens (examples up to their last decision, and all query forms of the
    descriptions) and computes the same states. The published trainer (`toolkengpt`, one example per step, running the
    LM in every published epoch) is timed for `STEPS` steps and extrapolated. Memory is the peak of the process, LM
    included, during the fit and during a fit on a tenth of the examples; it is omitted if the operating system does
    not report it.
    """
    names = [spec.name for spec in comparison.specs]
    prompt = comparison.prompt
    background(lm, prompt)  # computed once per LM and prompt format, not per fit
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
    fit(lm, comparison.specs[:2], prompt=prompt)  # excludes lazy imports from the timing

    _reset_peak()
    fit(lm, comparison.specs, examples[: max(len(examples) // 10, 1)], prompt=prompt)
    small = _peak()
    _reset_peak()
    started = time.perf_counter()
    head = fit(lm, comparison.specs, examples, prompt=prompt)
    assert len(head.output_embeddings) == len(names)  # a lazy property
    whole = time.perf_counter() - started
    large = _peak()
    yield Cost(f"fit, {len(examples)} examples, {len(names)} tools", whole, "s", 1.0)
    started = time.perf_counter()
    for _ in lm.hidden_states(sequences, positions):
        pass
    bare = time.perf_counter() - started
    yield Cost("bare forward pass over the same tokens", bare, "s", bare / whole)
    schedule = SCHEDULES.get(benchmark)
    epochs = schedule.epochs if schedule else PRESETS["toolkengpt"].epochs
    steps = min(STEPS, len(examples))
    started = time.perf_counter()
    for _ in islice(rerun(lm, prompt, examples, names, PRESETS["toolkengpt"], epochs=epochs), steps):
        pass
    published = (time.perf_counter() - started) / steps * len(examples) * epochs
    yield Cost(f"toolkengpt, batch 1, {epochs} epochs, from {steps} steps", published, "s", published / whole)
    added = []
    for number in range(REPETITIONS):
        tool = ToolSpec(name=f"new_{number}", description=f"Tells how many visitors museum number {number} had.")
        started = time.perf_counter()
        head = head.with_tools([tool], lm)
        assert len(head.output_embeddings) == len(names) + number + 1
        added.append(time.perf_counter() - started)
    yield Cost("one tool added by its description, median", median(added), "s", median(added) / whole)
    if large and small:
        yield Cost("memory of the fit", large, "MB", 1.0)
        yield Cost("memory of a fit of a tenth of the examples", small, "MB", small / large)


def _reset_peak() -> None:
    with suppress(OSError):  # Linux only
        Path("/proc/self/clear_refs").write_text("5")


def _peak() -> float:
    """Return the peak memory of this process in MiB since `_reset_peak`, or 0 if unknown."""
    with suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024
    return 0.0
