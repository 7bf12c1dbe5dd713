"""Growth of time and memory with the number of tools, as ratios in one run."""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from toolken.agents.bound_tools import BoundTools
from toolken.agents.decoding.toolset import Toolset
from toolken.training.estimation.estimate import Estimate
from toolken.training.estimation.gate import fit_gate
from toolken.training.estimation.statistics import ToolStatistics
from toolken.training.features.background import background
from toolken.training.features.decision_states import DecisionStates
from toolken.training.fit import Progress
from toolken.training.head.toolken_head import ToolkenHead
from toolken.training.lm import FrozenLM
from toolken.training.prior.moments import BackgroundMoments
from toolken.training.prior.sources import query_forms, requests_of
from toolken.training.prompts.prompt_format import PromptFormat
from toolken.training.tool_spec import ToolSpec, tool_specs

#: Places that distinguish synthetic variants of the actions, to reach any number of tools.
PLACES = (
    "the kitchen",
    "the bedroom",
    "the garden",
    "the office",
    "the cellar",
    "the workshop",
    "the shop",
    "the attic",
)
#: Repetitions of measurements that take milliseconds; tools of a subset that a request may be restricted to.
REPETITIONS, SUBSET = 15, 10
#: Distance of a synthetic query form from a computed one, in standard deviations of the background.
SPREAD = 0.3
#: Program of a new process that loads a head and decides once. It prints the growth of its resident memory in bytes: in
#: all, and without pages of the head's file.
PROGRAM = """
import json, sys
from pathlib import Path

from toolken.benchmarks.measurements.scale import bound
from toolken.training.head.toolken_head import ToolkenHead

def resident(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) * 1024

before = [resident(key) for key in ("VmRSS", "RssAnon")]
toolset, hidden = bound(ToolkenHead.from_pretrained(sys.argv[1]))
decision = toolset.decide(hidden, toolset.tools.names, results=0)
decision.call_probability, decision.shares
print(json.dumps([now - then for now, then in zip([resident(key) for key in ("VmRSS", "RssAnon")], before)]))
"""


@dataclass(frozen=True)
class Line:
    """One figure, and its ratio to the figure named by `beside`."""

    what: str
    value: float
    unit: str
    ratio: float
    beside: str


def action_specs(names: Sequence[str], count: int) -> list[ToolSpec]:
    """Return `count` tools for actions such as "close address_book", with variants at other places if needed."""
    specs = []
    for number in range(count):
        action = names[number % len(names)].replace("_", " ")
        round_number = number // len(names)
        where = f" in {PLACES[(round_number - 1) % len(PLACES)]}" if round_number else ""
        again = f", number {round_number // len(PLACES) + 1}" if round_number > len(PLACES) else ""
        specs.append(ToolSpec(name=f"action_{number}", description=f"{action.capitalize()}{where}{again}."))
    return specs


def bound(head: ToolkenHead) -> tuple[Toolset, torch.Tensor]:
    """Return the bound toolset of all tools of a head, and a hidden state for a decision."""
    toolset, mean = Toolset(BoundTools.of(head.specs), head, head.prompt), head.geometry.mean.float()
    return toolset, mean + 0.1 * torch.randn(len(mean), generator=torch.Generator().manual_seed(0))


def measure(
    lm: FrozenLM, names: Sequence[str], *, tools: int = 100_000, read: int = 128, progress: Progress | None = None
) -> Iterator[Line]:
    """Yield the costs of a head with very many tools: feature pass, output embeddings, files, decisions.

    The LM computes the query forms of the first `read` tools, which measures its speed. The forms of the other tools
    are random points near these: later costs do not depend on the values.

    Parameters
    ----------
    names
        Names of the actions.
    tools, read
        Number of tools, and number of tools whose query forms the LM computes.
    """
    prompt = PromptFormat()
    shared = background(lm, prompt)
    specs = tool_specs(action_specs(names, tools))
    few = specs[:read]
    texts = [prompt.query(request) for spec in few for request in requests_of(spec)]
    advance = progress("Computing query forms, and the bare forward pass", 2 * len(texts)) if progress else None
    started = time.perf_counter()
    forms = query_forms(lm, few, prompt, advance=advance)
    reading = time.perf_counter() - started
    sequences = [lm.encode(text).ids for text in texts]
    started = time.perf_counter()
    for _ in lm.hidden_states(sequences, [[len(ids) - 1] for ids in sequences], advance=advance):
        pass
    bare = time.perf_counter() - started
    tokens = sum(map(len, sequences))
    yield Line(f"query forms of {read} tools", tokens / reading, "tokens/s", reading / bare, "the bare forward pass")

    gate, _ = fit_gate(DecisionStates.none(lm.hidden_size), shared.decisions, running_text=False)
    head = _head(lm, specs, prompt, shared, gate, _forms_near(forms, shared.covariance, tools))
    tenth = _head(lm, specs[: tools // 10], prompt, shared, gate, head.forms["query"][: tools // 10])
    numbers = 4 * tools * lm.hidden_size
    part = _seconds(lambda: tenth.output_embeddings)
    held = _peak(reset=True)
    whole = _seconds(lambda: head.output_embeddings)
    peak = _peak() - held
    all_read = reading / read * tools
    yield Line(
        f"output embeddings of {tools} tools", whole, "s", whole / all_read, "their query forms, at the speed above"
    )
    yield Line("the same for a tenth of them", part, "s", 10 * part / whole, "a tenth of the time")
    if peak > 0:
        yield Line("memory to compute the output embeddings", peak / 1e6, "MB", peak / numbers, "T x d x 4 bytes")
    with tempfile.TemporaryDirectory() as folder:
        yield from _file_costs(head, tenth, Path(folder), numbers)
    yield from _decision_costs(lm, head)


def _file_costs(head: ToolkenHead, tenth: ToolkenHead, folder: Path, numbers: int) -> Iterator[Line]:
    """Yield time and memory of saving and loading."""
    saved = [_seconds(lambda one=one: one.save_pretrained(folder / str(len(one.specs)))) for one in (head, tenth)]  # type: ignore[misc]
    yield Line("saving", saved[0], "s", saved[0] / saved[1] / 10, "ten times that of a tenth of the tools")
    paths = [folder / str(len(one.specs)) for one in (head, tenth)]
    loaded = [_seconds(lambda path=path: ToolkenHead.from_pretrained(path)) for path in paths]  # type: ignore[misc]
    yield Line("loading", loaded[0], "s", loaded[0] / loaded[1] / 10, "ten times that of a tenth of the tools")
    if Path("/proc/self/status").is_file():  # Linux only
        sizes = []
        for path in paths:
            command = [sys.executable, "-c", PROGRAM, str(path)]
            sizes.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
        beside = "T x d x 4 bytes"
        grown = [(large - small) * 10 / 9 for large, small in zip(*sizes, strict=True)]
        constant = max(sizes[0][0] - grown[0], 0.0)
        yield Line("memory of a process that decides, per-tool part", grown[0] / 1e6, "MB", grown[0] / numbers, beside)
        yield Line("of this, not pages of the head's file", grown[1] / 1e6, "MB", grown[1] / numbers, beside)
        yield Line("its constant part, code included", constant / 1e6, "MB", constant / numbers, beside)


def _decision_costs(lm: FrozenLM, head: ToolkenHead) -> Iterator[Line]:
    """Yield the time that tools add to a decoding step, relative to the step and to the LM's output projection."""
    toolset, _ = bound(head)
    # In running text every token is a decision, so a step could cost more.
    running_text = head.prompt.model_copy(update={"everywhere": True})
    running = replace(toolset, head=replace(head, prompt=running_text), prompt=running_text)
    names = tuple(toolset.tools.names)
    session = lm.start()
    hidden, _ = session.feed(lm.encode("Question: Where is the address book?\nAnswer: The answer is").ids)
    word = lm.encode(" the").ids[:1]
    step = _median(lambda: session.feed(word))
    vocabulary = torch.randn(lm.vocab_size, lm.hidden_size).to(lm.dtype)
    state = hidden[None].to(lm.dtype)
    product = _median(lambda: torch.nn.functional.linear(state, vocabulary))
    count = len(names)
    yield Line("a decoding step of the LM", 1e3 * step, "ms", 1.0, "itself")
    yield Line("its output projection", 1e3 * product, "ms", product / step, "the step")

    def decides(chosen: Toolset, which: Sequence[str]) -> Callable[[], Any]:
        return lambda: chosen.decide(hidden, which, results=0).call_probability

    bound_ms = max(0.05 * step, product)
    overhead = _median(decides(running, names))
    yield Line(f"{count} tools after a token, no call", 1e3 * overhead, "ms", overhead / step, "the step")
    yield Line("the same", 1e3 * overhead, "ms", overhead / bound_ms, "5 % of a step or the projection, the larger one")
    calling = _median(lambda: running.decide(hidden, names, results=0).shares)
    yield Line("selecting the tool of a call", 1e3 * calling, "ms", calling / product, "the projection")
    opening = _median(decides(toolset, names))
    yield Line("call decision at the opening of an answer", 1e3 * opening, "ms", opening / step, "the step")
    subset = names[:: count // SUBSET][:SUBSET]
    chosen = _median(lambda: running.decide(hidden, subset, results=0).shares)
    yield Line(f"selecting among {SUBSET} of them", 1e3 * chosen, "ms", chosen / calling, "selecting among all")
    half = names[::2]
    running.decide(hidden, half, results=0)  # names are resolved once per request
    halved = _median(lambda: running.decide(hidden, half, results=0).shares)
    yield Line("selecting among half of them", 1e3 * halved, "ms", halved / calling, "selecting among all")


def _head(
    lm: FrozenLM, specs: list[ToolSpec], prompt: PromptFormat, shared: Any, gate: Any, forms: torch.Tensor
) -> ToolkenHead:
    return ToolkenHead(
        lm_name=lm.name,
        lm_fingerprint=lm.fingerprint,
        prompt=prompt,
        specs=specs,
        estimate=Estimate(
            forms={"query": forms},
            statistics=ToolStatistics.empty([spec.name for spec in specs], lm.hidden_size),
            background=BackgroundMoments.of(shared, lm.fingerprint, prompt),
        ),
        gate=gate,
    )


def _forms_near(forms: torch.Tensor, covariance: torch.Tensor, count: int) -> torch.Tensor:
    """Return query forms `(count, d) float32`: the given ones, and random points near them."""
    random = torch.Generator().manual_seed(0)
    found = torch.randn(count, forms.shape[1], generator=random)
    found *= SPREAD * covariance.diagonal().float().sqrt()
    found[: len(forms)] = 0
    for begin in range(0, count, len(forms)):
        part = found[begin : begin + len(forms)]
        part += forms[: len(part)].float()
    return found


def _peak(*, reset: bool = False) -> int:
    """Return the peak memory of this process in bytes since the last reset; 0 if unknown."""
    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024
    except (OSError, StopIteration):
        return 0


def _seconds(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _median(work: Callable[[], Any]) -> float:
    """Return the median time in seconds of `REPETITIONS` runs, after one warm-up run."""
    work()
    return statistics.median(_seconds(work) for _ in range(REPETITIONS))
