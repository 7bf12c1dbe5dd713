"""How long fitting takes beside the LM's own forward pass and beside the published trainers, as ratios in one run."""

import time
from collections.abc import Iterator
from itertools import islice
from statistics import median
from typing import NamedTuple

from toolken.training.background import background
from toolken.training.benchmarks.comparisons import Comparison
from toolken.training.examples import Example
from toolken.training.fit import fit
from toolken.training.lm import FrozenLM
from toolken.training.priors import requests_of
from toolken.training.reference import PRESETS, SCHEDULES, rerun
from toolken.training.tool_spec import ToolSpec

#: Steps of the published trainer that are timed; the rest is like them.
STEPS = 40
#: Repetitions of what takes milliseconds.
REPETITIONS = 7


class Timing(NamedTuple):
    """One line of the comparison: what was done, its seconds, and their ratio to the fit's."""

    what: str
    seconds: float
    ratio: float


def measure(lm: FrozenLM, benchmark: str, comparison: Comparison, examples: list[Example]) -> Iterator[Timing]:
    """Yield the time of a fit, and of what it is compared with, all on the same examples.

    The bare forward pass goes over the same tokens: the examples up to their last decision, and the descriptions in all
    their wordings. The published trainer (`toolkengpt`, one example a step, the LM run again in each of its published
    epochs) is timed for some steps and its whole time computed from them.
    """
    names = [spec.name for spec in comparison.specs]
    prompt = comparison.prompt
    background(lm, prompt)  # once for an LM and a wording, not for a fit
    texts = [prompt.query(request) for spec in comparison.specs for request in requests_of(spec)]
    descriptions = [lm.encode(text).ids for text in texts]
    rendered = [prompt.render(example) for example in examples]
    encoded = [lm.encode(one.text) for one in rendered]
    sequences: list[list[int]] = []
    for one, encoding in zip(rendered, encoded, strict=True):
        last = len(one.text) if one.everywhere else max(offset for offset, _ in one.calls)
        sequences.append(encoding.ids[: encoding.last_token_before(last) + 1])
    fit(lm, comparison.specs[:2], prompt=prompt)  # what is loaded at first use is loaded now

    begun = time.perf_counter()
    head = fit(lm, comparison.specs, examples, prompt=prompt)
    assert len(head.rows) == len(names)  # the rows are computed when they are asked for
    whole = time.perf_counter() - begun
    yield Timing(f"fit, {len(examples)} examples, {len(names)} tools", whole, 1.0)
    begun = time.perf_counter()
    for part in (sequences, descriptions):
        for _ in lm.hidden_states(part, [[len(ids) - 1] for ids in part]):
            pass
    bare = time.perf_counter() - begun
    yield Timing("bare forward pass over the same tokens", bare, bare / whole)
    schedule = SCHEDULES.get(benchmark)
    epochs = schedule.epochs if schedule else PRESETS["toolkengpt"].epochs
    steps = min(STEPS, len(examples))
    begun = time.perf_counter()
    for _ in islice(rerun(lm, prompt, examples, names, PRESETS["toolkengpt"], epochs=epochs), steps):
        pass
    published = (time.perf_counter() - begun) / steps * len(examples) * epochs
    yield Timing(f"toolkengpt, batch 1, {epochs} epochs, from {steps} steps", published, published / whole)
    added = []
    for number in range(REPETITIONS):
        tool = ToolSpec(name=f"new_{number}", description=f"Tells how many visitors museum number {number} had.")
        begun = time.perf_counter()
        head.add_tools([tool], lm)
        assert len(head.rows) == len(names) + number + 1
        added.append(time.perf_counter() - begun)
    yield Timing("one tool added by its description, median", median(added), median(added) / whole)
