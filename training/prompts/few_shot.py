"""`FewShotExamples`: examples of the tools' arguments, shown to the LM only while it writes arguments."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch

from toolken.training.examples import Example, FewShotExample
from toolken.training.features.decision_states import DecisionStates
from toolken.training.prompts.prompt_format import PromptFormat

#: Few-shot examples kept for each tool, first calls and later ones apart.
KEPT = 16
#: Few-shot examples shown for one call.
SHOWN = 4


@dataclass
class FewShotExamples:
    """Few-shot examples with the hidden states at which their calls were decided, `(n, d) float32`.

    The states tell which few-shot examples are like the call that is being written, at no cost: its own state is known.
    """

    shown: list[FewShotExample] = field(default_factory=list)
    states: torch.Tensor = field(default_factory=lambda: torch.empty(0, 0))

    def add(self, examples: Sequence[Example], part: DecisionStates, *, running_text: bool = False) -> None:
        """Keep the first few of each tool among the calls of a feature pass.

        In running text the arguments of a call stand in its sentence, which is shown in place of the question.
        """
        kept = Counter((one.tool, bool(one.results)) for one in self.shown)
        states = []
        for hidden, example, number in _calls(part):
            one = _few_shot_example(examples[example], number, running_text=running_text)
            key = (one.tool, bool(one.results))
            if one.args and one.question and kept[key] < KEPT:
                kept[key] += 1
                self.shown.append(one)
                states.append(hidden)
        if states:
            self.states = torch.cat([self.states, torch.stack(states)]) if len(self.states) else torch.stack(states)

    def nearest(self, tool: str, hidden: torch.Tensor, whiten: torch.Tensor) -> list[FewShotExample]:
        """Return the tool's few-shot examples most like a state `(d,)`, the likest last, where the LM heeds it most.

        Parameters
        ----------
        whiten
            Cholesky factor `(d, d)` of the covariance in whose metric states are compared.
        """
        mine = [i for i, one in enumerate(self.shown) if one.tool == tool]
        if not mine:
            return []
        offsets = self.states[mine].to(whiten.dtype) - hidden.to(whiten.dtype)
        white: torch.Tensor = torch.linalg.solve_triangular(whiten, offsets.T, upper=False)
        order = white.square().sum(0).argsort()[:SHOWN].tolist()
        return [self.shown[mine[i]] for i in reversed(order)]

    def include(self, other: "FewShotExamples") -> None:
        """Add further few-shot examples, as far as `add` would keep them."""
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
        self.__dict__["_kept"] = len(self.shown), kept  # counted once, not for every part

    def few(self) -> "FewShotExamples":
        """Return the first few of each tool, as many as `add` keeps."""
        kept: Counter[tuple[str, bool]] = Counter()
        keep = []
        for one in self.shown:
            key = (one.tool, bool(one.results))
            kept[key] += 1
            keep.append(kept[key] <= KEPT)
        return self._where(keep)

    def without(self, tools: Sequence[str]) -> "FewShotExamples":
        """Return the few-shot examples of all other tools."""
        gone = set(tools)
        return self._where([one.tool not in gone for one in self.shown])

    def without_examples(
        self, examples: Sequence[Example], part: DecisionStates, *, running_text: bool = False
    ) -> "FewShotExamples":
        """Return the few-shot examples without those that `add` made of the calls of a feature pass.

        Of several that read the same, one is taken for each call, the one whose state is nearest.
        """
        places: defaultdict[str, list[int]] = defaultdict(list)
        for at, one in enumerate(self.shown):
            places[_key(one)].append(at)
        keep = [True] * len(self.shown)
        # Older heads may hold the whole question of a call in running text.
        wordings = (True, False) if running_text else (False,)
        for hidden, example, number in _calls(part):
            told = examples[example]
            there = [places[_key(_few_shot_example(told, number, running_text=wording))] for wording in wordings]
            same = next((found for found in there if found), None)
            if same is not None:
                nearest = int((self.states[same] - hidden).square().sum(1).argmin())
                keep[same.pop(nearest)] = False
        return self._where(keep)

    def _where(self, kept: Sequence[bool]) -> "FewShotExamples":
        keep = [i for i, one in enumerate(kept) if one]
        return FewShotExamples([self.shown[i] for i in keep], self.states[keep] if keep else torch.empty(0, 0))


def _few_shot_example(example: Example, number: int, *, running_text: bool) -> FewShotExample:
    """Return what a call of an example shows of its arguments."""
    call = example.calls[number]
    earlier, question = example.calls[:number], example.question
    if running_text and call.start is not None:
        earlier, question = (), PromptFormat.recent((example.answer or "")[: call.start])
    results, before = tuple(one.result for one in earlier), tuple(one.args for one in earlier)
    return FewShotExample(tool=call.tool, question=question, results=results, args=call.args, before=before)


def _key(one: FewShotExample) -> str:
    """Return what is equal in few-shot examples that read the same, whether they have been saved in between or not."""
    return json.dumps(one.model_dump(mode="json"), sort_keys=True)


def _calls(part: DecisionStates) -> Iterator[tuple[torch.Tensor, int, int]]:
    """Yield state, example and position in the example's chain of each call; calls of an example come in order."""
    calls = part.calls()
    seen: Counter[int] = Counter()
    for hidden, example in zip(calls.hidden, calls.examples.tolist(), strict=True):
        yield hidden, example, seen[example]
        seen[example] += 1
