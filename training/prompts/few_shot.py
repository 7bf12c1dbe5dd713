"""`FewShotExamples`: few-shot examples of arguments, in the prompt only while the LM writes arguments."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch

from toolken.training.examples import Example, FewShotExample
from toolken.training.features.decision_states import DecisionStates
from toolken.training.prompts.prompt_format import PromptFormat

#: Largest number of few-shot examples kept per tool, for first and for later calls each.
KEPT = 16
#: Largest number of few-shot examples in the prompt of one call.
SHOWN = 4


@dataclass
class FewShotExamples:
    """Few-shot examples with the hidden states `(n, d) float32` at their decision positions.

    The examples whose states are nearest to that of a new call are shown. This costs no forward pass: the state of the
    new call has been computed for its decision.

    Attributes
    ----------
    shown
        The few-shot examples.
    states
        The hidden state of each of them.
    """

    shown: list[FewShotExample] = field(default_factory=list)
    states: torch.Tensor = field(default_factory=lambda: torch.empty(0, 0))

    def add(self, examples: Sequence[Example], decisions: DecisionStates, *, running_text: bool = False) -> None:
        """Add the first few calls of each tool in a feature pass.

        Parameters
        ----------
        examples
            The examples of the feature pass.
        decisions
            Its hidden states.
        running_text
            Whether the calls are in running text. Their arguments then occur in their sentence, which replaces the
            question.
        """
        kept = Counter((one.tool, bool(one.results)) for one in self.shown)
        states = []
        for hidden, example, number in _calls(decisions):
            one = _few_shot_example(examples[example], number, running_text=running_text)
            key = (one.tool, bool(one.results))
            if one.args and one.question and kept[key] < KEPT:
                kept[key] += 1
                self.shown.append(one)
                states.append(hidden)
        if states:
            self.states = torch.cat([self.states, torch.stack(states)]) if len(self.states) else torch.stack(states)

    def nearest(self, tool: str, hidden: torch.Tensor, whiten: torch.Tensor) -> list[FewShotExample]:
        """Return the tool's few-shot examples nearest to a state, the nearest last, where it influences the LM most.

        Parameters
        ----------
        tool
            Name of the tool.
        hidden
            The state, `(d,)`.
        whiten
            Cholesky factor `(d, d)` of the covariance that defines the Mahalanobis distance.
        """
        mine = [i for i, one in enumerate(self.shown) if one.tool == tool]
        if not mine:
            return []
        offsets = self.states[mine].to(whiten.dtype) - hidden.to(whiten.dtype)
        white: torch.Tensor = torch.linalg.solve_triangular(whiten, offsets.T, upper=False)
        order = white.square().sum(0).argsort()[:SHOWN].tolist()
        return [self.shown[mine[i]] for i in reversed(order)]

    def include(self, other: "FewShotExamples") -> None:
        """Add the few-shot examples of another set, up to the number per tool that `add` keeps."""
        known: tuple[int, Counter[tuple[str, bool]]] = self.__dict__.get("_kept", (-1, Counter()))
        kept = known[1] if known[0] == len(self.shown) else Counter((one.tool, bool(one.results)) for one in self.shown)
        new = []
        for at, one in enumerate(other.shown):
            key = (one.tool, bool(one.results))
            if kept[key] < KEPT:
                kept[key] += 1
                new.append(at)
        if new:
            self.shown += [other.shown[at] for at in new]
            self.states = torch.cat([self.states, other.states[new]]) if len(self.states) else other.states[new]
        self.__dict__["_kept"] = len(self.shown), kept  # not recounted for each further set

    def few(self) -> "FewShotExamples":
        """Return the first few-shot examples of each tool, as many as `add` keeps."""
        kept: Counter[tuple[str, bool]] = Counter()
        keep = []
        for one in self.shown:
            key = (one.tool, bool(one.results))
            kept[key] += 1
            keep.append(kept[key] <= KEPT)
        return self._where(keep)

    def without(self, tools: Sequence[str]) -> "FewShotExamples":
        """Return the few-shot examples of all tools except these."""
        gone = set(tools)
        return self._where([one.tool not in gone for one in self.shown])

    def without_examples(
        self, examples: Sequence[Example], decisions: DecisionStates, *, running_text: bool = False
    ) -> "FewShotExamples":
        """Return the few-shot examples without those that `add` made from the calls of a feature pass.

        Among equal few-shot examples, the one whose state is nearest to that of the call is removed.

        Parameters
        ----------
        examples, decisions, running_text
            As for `add`.
        """
        places: defaultdict[str, list[int]] = defaultdict(list)
        for at, one in enumerate(self.shown):
            places[_key(one)].append(at)
        keep = [True] * len(self.shown)
        # Heads saved by older versions may contain the whole question for a call in running text.
        versions = (True, False) if running_text else (False,)
        for hidden, example, number in _calls(decisions):
            source = examples[example]
            equal = [places[_key(_few_shot_example(source, number, running_text=version))] for version in versions]
            same = next((found for found in equal if found), None)
            if same is not None:
                nearest = int((self.states[same] - hidden).square().sum(1).argmin())
                keep[same.pop(nearest)] = False
        return self._where(keep)

    def _where(self, kept: Sequence[bool]) -> "FewShotExamples":
        keep = [i for i, one in enumerate(kept) if one]
        return FewShotExamples([self.shown[i] for i in keep], self.states[keep] if keep else torch.empty(0, 0))


def _few_shot_example(example: Example, number: int, *, running_text: bool) -> FewShotExample:
    """Return the few-shot example made from one call of an example."""
    call = example.calls[number]
    earlier, question = example.calls[:number], example.question
    if running_text and call.start is not None:
        earlier, question = (), PromptFormat.recent((example.answer or "")[: call.start])
    results, before = tuple(one.result for one in earlier), tuple(one.args for one in earlier)
    return FewShotExample(tool=call.tool, question=question, results=results, args=call.args, before=before)


def _key(one: FewShotExample) -> str:
    """Return a text that is the same for equal few-shot examples, also after saving and loading."""
    return json.dumps(one.model_dump(mode="json"), sort_keys=True)


def _calls(decisions: DecisionStates) -> Iterator[tuple[torch.Tensor, int, int]]:
    """Yield state, example and index in the example's chain of each call, in the order of the chain."""
    calls = decisions.calls()
    seen: Counter[int] = Counter()
    for hidden, example in zip(calls.hidden, calls.examples.tolist(), strict=True):
        yield hidden, example, seen[example]
        seen[example] += 1
