"""`ToolkenHead`: the output embeddings of a set of tools, their call gate, and what extending and saving them takes."""

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import torch

from toolken.errors import FingerprintError, ToolSpecError
from toolken.training.estimation.estimate import TEMPERATURE, Estimate
from toolken.training.estimation.gate import THRESHOLD, Gate
from toolken.training.estimation.refinement import Correction
from toolken.training.estimation.settings import ClosedFormSettings
from toolken.training.estimation.statistics import ToolStatistics
from toolken.training.examples import Example, FewShotExample, check_examples
from toolken.training.features.decision_states import DecisionStates, decisions
from toolken.training.features.feature_cache import FeatureCache
from toolken.training.head.decision import Decision, DecisionRule
from toolken.training.head.provenance import Provenance
from toolken.training.lm import FrozenLM
from toolken.training.prior.geometry import PriorGeometry
from toolken.training.prior.moments import BackgroundMoments
from toolken.training.prior.sources import prior_forms
from toolken.training.prior.teacher import Teacher
from toolken.training.prompts.conversation_format import ConversationFormat
from toolken.training.prompts.few_shot import FewShotExamples
from toolken.training.tool_spec import ToolLike, ToolSpec, check_descriptions, tool_specs, unknown_tools

__all__ = ["TEMPERATURE", "ToolkenHead"]


@dataclass(frozen=True, eq=False)
class ToolkenHead:
    """One output embedding per tool beside those of a frozen LM's vocabulary, and a gate that decides whether to call.

    `decide` computes P(call | h) and P(tool | call, h) from a hidden state h. A head is never changed: `with_tools`,
    `without_tools`, `with_examples` and `without_examples` return new heads, and so does `dataclasses.replace`.

    Attributes
    ----------
    lm_name, lm_fingerprint
        The LM the head was fitted with, and what must be equal in any LM it is used with.
    prompt
        The prompt format it was fitted for.
    specs
        The T tools.
    estimate
        Their output embeddings, and the descriptions' embeddings and the examples' statistics that these follow from.
    gate
        Whether to call at all.
    threshold
        P(call) from which a tool is called.
    few_shot
        A few examples of each tool's arguments; used only when arguments are written.
    teacher
        The map from a sentence encoder's vectors to hidden states, where an encoder was used.
    provenance
        Number and hash of the examples it was fitted on, and what was measured.
    """

    lm_name: str
    lm_fingerprint: str
    prompt: ConversationFormat
    specs: Sequence[ToolSpec]
    estimate: Estimate
    gate: Gate
    threshold: float = THRESHOLD
    few_shot: FewShotExamples = field(default_factory=FewShotExamples)
    teacher: Teacher | None = None
    provenance: Provenance = field(default_factory=Provenance)

    @property
    def names(self) -> list[str]:
        """The tools' names, in the order of their output embeddings."""
        return [spec.name for spec in self.specs]

    @cached_property
    def index(self) -> dict[str, int]:
        """Position of each tool's output embedding, by its name."""
        return {spec.name: at for at, spec in enumerate(self.specs)}

    @property
    def output_embeddings(self) -> torch.Tensor:
        """W, the toolkens, `(T, d) float32`."""
        return self.estimate.output_embeddings

    @property
    def biases(self) -> torch.Tensor:
        """b, `(T,) float32`."""
        return self.estimate.biases

    @property
    def forms(self) -> Mapping[str, torch.Tensor]:
        """Embeddings of the descriptions per source of the prior, `(T, d) float32` each."""
        return self.estimate.forms

    @property
    def statistics(self) -> ToolStatistics:
        """Sums over the examples."""
        return self.estimate.statistics

    @property
    def settings(self) -> ClosedFormSettings:
        """Numbers of the closed form."""
        return self.estimate.settings

    @property
    def temperature(self) -> float:
        """What the closed form's scores are divided by, so that probabilities are calibrated."""
        return self.estimate.temperature

    @property
    def correction(self) -> Correction | None:
        """What the refinement on the examples changed, where it helped."""
        return self.estimate.correction

    @property
    def geometry(self) -> PriorGeometry:
        """The background's metric, in which descriptions are compared."""
        return self.estimate.geometry

    def check(self, lm: FrozenLM, prompt: ConversationFormat | None = None) -> None:
        """Make sure that the head was fitted with this LM (and prompt format).

        The LM also serves the head from then on to read its background again, should the cached file be missing.

        Raises
        ------
        FingerprintError
            If it was not.
        """
        if lm.fingerprint != self.lm_fingerprint:
            raise FingerprintError(
                f"This head was fitted with the LM {self.lm_name!r}, and {lm.name!r} is another one: "
                f"load {self.lm_name!r}, or fit a head with {lm.name!r}."
            )
        if prompt is not None and prompt.fingerprint != self.prompt.fingerprint:
            raise FingerprintError(
                "This head was fitted for another prompt format: use the head's own (`head.prompt`), or fit it again."
            )
        self.estimate.background.use(lm, self.prompt)

    def subset(self, names: Sequence[str]) -> torch.Tensor | None:
        """Return the indices `(m,) int64` of some tools; None where they are all tools in the head's order.

        Raises
        ------
        ToolSpecError
            If a name is not in the head.
        """
        unknown_tools([name for name in names if name not in self.index][:1], self.names)
        chosen = [self.index[name] for name in names]
        if len(chosen) == len(self.specs) and chosen == list(range(len(chosen))):
            return None
        return torch.tensor(chosen, dtype=torch.long)

    def decide(
        self,
        hidden: torch.Tensor,
        tools: Sequence[str] | torch.Tensor | None = None,
        *,
        results: int | torch.Tensor = 0,
    ) -> Decision:
        """Decide at hidden states whether a tool is called and which one; the only place where this is computed.

        Parameters
        ----------
        hidden
            States `(d,)` or `(n, d)`, on any device; the head's numbers are copied there once.
        tools
            The tools that may be called: names, or indices as `subset` returns them, which saves looking the names up
            at each step. All tools by default.
        results
            Number of tool results before each state, `(n,) int64` or one for all.

        Raises
        ------
        ToolSpecError
            If a name is not in the head.
        """
        if tools is not None and not isinstance(tools, torch.Tensor):
            tools = self.subset(tools)
        if tools is not None:
            tools = tools.to(hidden.device)
        return Decision(self._rule(hidden.device), hidden, tools, results)

    def _rule(self, device: torch.device) -> DecisionRule:
        rule = self._rules.get(device)
        if rule is None:
            evidence = None if self.prompt.everywhere else self.estimate.evidence
            rule = DecisionRule(self.output_embeddings, self.biases, self.gate, evidence).to(device)
            self._rules[device] = rule
        return rule

    @cached_property
    def _rules(self) -> dict[torch.device, DecisionRule]:
        return {}

    def few_shot_for(self, tool: str, hidden: torch.Tensor) -> list[FewShotExample]:
        """Return the few-shot examples of a tool's arguments most like the call that is decided at a state `(d,)`."""
        if not any(one.tool == tool for one in self.few_shot.shown):
            return []
        return self.few_shot.nearest(tool, hidden.float().cpu(), self.geometry.factor)

    def with_tools(
        self, tools: Iterable[ToolLike | ToolSpec], lm: FrozenLM, *, replace_existing: bool = False
    ) -> "ToolkenHead":
        """Return a head with further tools, known by their descriptions alone; examples for them can follow.

        Parameters
        ----------
        replace_existing
            Let a new tool take the place of one with its name. Descriptions that do not tell tools apart are not
            refused then, since not all of the tools need be in use.

        Raises
        ------
        FingerprintError
            If `lm` is not the LM of this head.
        ToolSpecError
            If there is no tool, or a tool's name or description is taken already.
        """
        self.check(lm)
        new = tool_specs(tools)
        taken = [spec.name for spec in new if spec.name in self.index]
        if not replace_existing:
            if taken:
                raise ToolSpecError(
                    f"The head has a tool {taken[0]!r} already: remove that one first, or rename the new."
                )
            check_descriptions(new, list(self.specs))
        kept = self._without(taken) if taken else self
        names = [spec.name for spec in new]
        forms = prior_forms(lm, new, self.prompt, list(self.forms), self.teacher)
        return replace(
            kept,
            specs=[*kept.specs, *new],
            estimate=kept.estimate.with_tools(names, forms),
            provenance=self.provenance.unmeasured(),
        )

    def without_tools(self, names: Iterable[str]) -> "ToolkenHead":
        """Return a head without some tools.

        The spread of their examples around their own mean stays part of the covariance that all tools share; to remove
        that as well, remove the examples first (`without_examples`).

        Raises
        ------
        ToolSpecError
            If a name is not in the head, or no tool would be left.
        """
        names = list(names)
        unknown_tools(names, self.names)
        if len(set(names)) == len(self.specs):
            raise ToolSpecError("A head needs at least one tool: remove fewer, or start a new head.")
        return self._without(names)

    def _without(self, names: Sequence[str]) -> "ToolkenHead":
        gone = set(names)
        return replace(
            self,
            specs=[spec for spec in self.specs if spec.name not in gone],
            estimate=self.estimate.without_tools(names),
            few_shot=self.few_shot.without(names),
            provenance=self.provenance.unmeasured(),
        )

    def with_examples(
        self, examples: Iterable[Example], lm: FrozenLM, *, cache: FeatureCache | None = None
    ) -> "ToolkenHead":
        """Return a head that has learned from further examples of its tools, which the LM reads.

        Output embeddings, biases and few-shot examples follow exactly. What `fit` chose stays: the gate, the settings
        and the temperature.

        Raises
        ------
        FingerprintError
            If `lm` is not the LM of this head, or the cache is of another one.
        ExampleError
            If an example calls a tool the head does not have, does not fit the LM's context, or has a call at no
            decision position.
        """
        examples = list(examples)
        read = self._read(examples, lm, cache)
        calls = read.calls()
        few_shot = deepcopy(self.few_shot)
        few_shot.add(examples, read, running_text=self.prompt.everywhere)
        return replace(
            self,
            estimate=self.estimate.with_examples(calls.hidden, calls.labels),
            few_shot=few_shot,
            provenance=self.provenance.joined(examples).unmeasured(),
        )

    def without_examples(
        self, examples: Iterable[Example], lm: FrozenLM, *, cache: FeatureCache | None = None
    ) -> "ToolkenHead":
        """Return a head as it would be if it had never learned from some of its examples.

        What `fit` chose on them stays: the gate, the settings and the temperature.

        Raises
        ------
        FingerprintError
            If `lm` is not the LM of this head, or the cache is of another one.
        ExampleError
            If an example calls a tool the head does not have.
        HeadError
            If a tool has fewer examples than are to be removed.
        """
        examples = list(examples)
        calls = self._read(examples, lm, cache).calls()
        running_text = self.prompt.everywhere
        return replace(
            self,
            estimate=self.estimate.without_examples(calls.hidden, calls.labels),
            few_shot=self.few_shot.without_examples(examples, calls, running_text=running_text),
            provenance=self.provenance.without(examples).unmeasured(),
        )

    def _read(self, examples: Sequence[Example], lm: FrozenLM, cache: FeatureCache | None) -> DecisionStates:
        self.check(lm)
        check_examples(examples, self.names)
        parts = decisions(lm, self.prompt, examples, self.names, no_calls=False, cache=cache)
        return DecisionStates.join([DecisionStates.none(lm.hidden_size), *parts])

    def save_pretrained(self, folder: str | Path) -> str:
        """Write the head to a folder and return its version; a kill at any moment leaves the old head or the new one.

        The version is a hash of all there is in the folder: two folders with one version hold the same head.

        Raises
        ------
        HeadError
            If the folder cannot be written.
        """
        from toolken.training.head.artifacts import write_head

        return write_head(self, Path(folder))

    @classmethod
    def from_pretrained(cls, folder: str | Path, lm: FrozenLM | None = None) -> "ToolkenHead":
        """Read a head from a folder, and check it against the LM if one is given.

        Raises
        ------
        HeadError
            If the folder has no head, or a file of it is broken.
        FingerprintError
            If `lm` is not the LM of this head.
        """
        from toolken.training.head.artifacts import read_head

        head = read_head(Path(folder))
        if lm is not None:
            head.check(lm)
        return head

    @classmethod
    def from_descriptions(
        cls, lm: FrozenLM, specs: Sequence[ToolSpec], prompt: ConversationFormat, moments: BackgroundMoments, gate: Gate
    ) -> "ToolkenHead":
        """Return a head that knows its tools by their descriptions alone."""
        statistics = ToolStatistics.empty([spec.name for spec in specs], lm.hidden_size)
        return cls(
            lm_name=lm.name,
            lm_fingerprint=lm.fingerprint,
            prompt=prompt,
            specs=list(specs),
            estimate=Estimate(prior_forms(lm, specs, prompt, ["query"]), statistics, moments),
            gate=gate,
        )
