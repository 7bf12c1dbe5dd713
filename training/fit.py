"""`fit`: examples and descriptions in, a head out."""

import warnings
from collections.abc import Callable, Iterable, Sequence

import torch

from toolken.errors import ExampleError, ToolSpecError
from toolken.training.background import background
from toolken.training.demonstrations import Demonstrations
from toolken.training.examples import Example
from toolken.training.features import WORDS, Decisions, decisions
from toolken.training.gate import fit_gate
from toolken.training.head import ToolkenHead
from toolken.training.lm import FrozenLM
from toolken.training.prompt import PromptFormat
from toolken.training.statistics import ToolStatistics
from toolken.training.tool_spec import ToolLike, ToolSpec, tool_specs

#: Decisions of each kind, calls and words, that are kept for the gate: enough for one vector, and a bound on memory.
GATE_POINTS = 4000

#: Called with a label and a number of steps before some work begins; returns what is called as steps are done.
Progress = Callable[[str, int], Callable[[int], None]]


def fit(
    lm: FrozenLM,
    tools: Iterable[ToolLike | ToolSpec],
    examples: Sequence[Example] = (),
    *,
    prompt: PromptFormat | None = None,
    progress: Progress | None = None,
    seed: int = 0,
) -> ToolkenHead:
    """Fit a head: one run of the LM over examples and descriptions, then closed forms.

    Without examples the head knows its tools by their descriptions alone.

    Parameters
    ----------
    lm
        The frozen LM.
    tools
        The tools, in any form `ToolSpec.of` reads.
    examples
        Questions with their calls; examples without a call teach the gate when not to call.
    prompt
        The wording around them; the default one if absent.
    progress
        Told what is being done, and how far it has come.
    seed
        Of the sample of decisions that the gate is fitted on, where there are more than it keeps.

    Raises
    ------
    ToolSpecError
        If there is no tool, or two have one name or one description.
    ExampleError
        If an example calls an unknown tool or is longer than the LM's context.
    """
    specs = tool_specs(tools)
    _check_descriptions(specs)
    names = [spec.name for spec in specs]
    check_examples(examples, names)
    prompt = prompt or PromptFormat()

    def step(label: str) -> Callable[[int], Callable[[int], None]]:
        return lambda total: progress(label, total) if progress else (lambda _: None)

    shared = background(lm, prompt, started=step("Reading background requests (once for this model)"))
    statistics = ToolStatistics.empty(names, lm.hidden_size)
    sample = _GateSample(seed)
    demonstrations = Demonstrations()
    advance = step("Reading examples")(len(examples)) if examples else None
    for part in decisions(lm, prompt, examples, names, advance=advance):
        calls = part.calls()
        statistics.add(calls.hidden, calls.labels)
        sample.add(part)
        demonstrations.add(examples, part)
    gate = fit_gate(sample.points(lm.hidden_size), shared.decisions, running_text=prompt.everywhere)
    head = ToolkenHead.from_descriptions(lm, specs, prompt, shared, gate)
    head.statistics = statistics
    head.demonstrations = demonstrations
    return head


def check_examples(examples: Sequence[Example], names: Sequence[str]) -> None:
    """Make sure that examples call known tools only, before anything long begins.

    Raises
    ------
    ExampleError
        Naming the first example that does not, and the tool it calls.
    """
    known = set(names)
    for number, example in enumerate(examples, start=1):
        unknown = next((call.tool for call in example.calls if call.tool not in known), None)
        if unknown is not None:
            raise ExampleError(
                f"Example {number} calls {unknown!r}, which is not among the {len(known)} tools: "
                "add the tool or remove the example."
            )


class _GateSample:
    """A uniform sample of bounded size of the decisions that stream past, calls and words apart."""

    def __init__(self, seed: int) -> None:
        self._random = torch.Generator().manual_seed(seed)
        self._kept: dict[bool, tuple[Decisions, torch.Tensor]] = {}

    def add(self, part: Decisions) -> None:
        called = part.labels != WORDS
        for kind in (True, False):
            chosen = part.where(called if kind else ~called)
            # Keeping the smallest of independent random keys is a uniform sample whatever the order and the grouping.
            keys = torch.rand(len(chosen.labels), generator=self._random)
            if kind in self._kept:
                before, old_keys = self._kept[kind]
                chosen, keys = Decisions.join([before, chosen]), torch.cat([old_keys, keys])
            if len(keys) > GATE_POINTS:
                smallest = torch.topk(keys, GATE_POINTS, largest=False).indices.sort().values
                mask = torch.zeros(len(keys), dtype=torch.bool)
                mask[smallest] = True
                chosen, keys = chosen.where(mask), keys[mask]
            self._kept[kind] = (chosen, keys)

    def points(self, hidden_size: int) -> Decisions:
        return Decisions.join([Decisions.none(hidden_size), *(kept for kept, _ in self._kept.values())])


def _check_descriptions(specs: Sequence[ToolSpec]) -> None:
    by_words: dict[str, str] = {}
    for spec in specs:
        if not spec.description.strip():
            warnings.warn(
                f"The tool {spec.name!r} has no description: the words of its name are used instead.", stacklevel=3
            )
        words = spec.words.strip().lower()
        if words in by_words:
            raise ToolSpecError(
                f"The tools {by_words[words]!r} and {spec.name!r} have one description, so nothing tells them apart: "
                "describe what each is for."
            )
        by_words[words] = spec.name
