"""`ToolkenHead`: the learned vectors of a set of tools, and everything needed to extend, save and check them."""

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch

from toolken.errors import FingerprintError, ToolSpecError
from toolken.training.estimation.closed_form import closed_form
from toolken.training.estimation.gate import THRESHOLD, Gate
from toolken.training.estimation.refinement import Correction
from toolken.training.estimation.settings import ClosedFormSettings
from toolken.training.estimation.statistics import ToolStatistics
from toolken.training.examples import Example, FewShotExample, check_examples
from toolken.training.features.background import Background
from toolken.training.features.decision_states import DecisionStates, decisions
from toolken.training.features.feature_cache import FeatureCache
from toolken.training.head.provenance import Provenance
from toolken.training.lm import FrozenLM
from toolken.training.prior.geometry import PriorGeometry
from toolken.training.prior.sources import prior_forms
from toolken.training.prior.teacher import Teacher
from toolken.training.prompts.few_shot import FewShotExamples
from toolken.training.prompts.prompt_format import PromptFormat
from toolken.training.tool_spec import ToolLike, ToolSpec, check_descriptions, tool_specs, unknown_tools

#: Temperature of a head that no example says anything about. Chosen on KAMEL's supervised dev split.
TEMPERATURE = 2.0
#: Share of the tools up to which their rows are gathered for a product of their own; of more, all rows are multiplied.
GATHERED = 0.05


@dataclass
class ToolkenHead:
    """One vector a tool beside the word vectors of a frozen LM, and a gate that decides whether a tool is called.

    P(tool j) is `P(call | h) P(j | call, h)`: the gate says how likely a call is, and the tools share that by
    `softmax_j(W h + b)` (design: method, gate and selection).

    Attributes
    ----------
    lm_name, lm_fingerprint
        The LM the head was fitted with, and what must be equal in any LM it is used with.
    prompt
        The wording it was fitted for.
    specs
        The T tools.
    forms
        Where each source of the prior puts the tools, `(T, d) float32` each.
    statistics
        Sums over the examples.
    mean, covariance
        Of the background requests, `(d,)` and `(d, d) float64`.
    gate
        Whether to call at all.
    threshold
        P(call) from which a tool is called.
    few_shot
        A few examples of each tool's arguments; used only when arguments are written.
    settings
        Numbers the closed form was computed with.
    temperature
        What the closed form's scores are divided by, so that probabilities are calibrated.
    correction
        What the refinement on the examples changed, where it was found to help.
    teacher
        The map that carries a sentence encoder's vectors into the hidden space, where a teacher was used.
    provenance
        The examples it was made from, by number and hash, and what was measured.
    """

    lm_name: str
    lm_fingerprint: str
    prompt: PromptFormat
    specs: list[ToolSpec]
    forms: dict[str, torch.Tensor]
    statistics: ToolStatistics
    mean: torch.Tensor
    covariance: torch.Tensor
    gate: Gate
    threshold: float = THRESHOLD
    few_shot: FewShotExamples = field(default_factory=FewShotExamples)
    settings: ClosedFormSettings = field(default_factory=lambda: ClosedFormSettings())
    temperature: float = TEMPERATURE
    correction: Correction | None = None
    teacher: Teacher | None = None
    provenance: Provenance = field(default_factory=Provenance)

    @property
    def names(self) -> list[str]:
        """The tools' names, in the order of the rows."""
        return [spec.name for spec in self.specs]

    @property
    def index(self) -> dict[str, int]:
        """The row of each tool by its name."""
        known: tuple[list[ToolSpec], dict[str, int]] | None = self.__dict__.get("_index")
        if known is None or known[0] is not self.specs:
            known = self.specs, {spec.name: at for at, spec in enumerate(self.specs)}
            self.__dict__["_index"] = known
        return known[1]

    @cached_property
    def geometry(self) -> PriorGeometry:
        """The background's metric, in which descriptions are compared."""
        return PriorGeometry.of(self.mean, self.covariance, self.settings)

    @cached_property
    def _rows_and_biases(self) -> tuple[torch.Tensor, torch.Tensor]:
        form = closed_form(self.geometry, self.forms, self.statistics, self.settings)
        rows, biases = form.into_rows(self.temperature)
        if self.correction is not None:
            index = torch.tensor([self.index[name] for name in self.correction.names])
            rows.index_add_(0, index, self.correction.output_embeddings.float())
            biases.index_add_(0, index, self.correction.biases.float())
        return rows, biases

    @property
    def output_embeddings(self) -> torch.Tensor:
        """W, the toolkens, `(T, d) float32`."""
        return self._rows_and_biases[0]

    @property
    def biases(self) -> torch.Tensor:
        """b, `(T,) float32`."""
        return self._rows_and_biases[1]

    @property
    def offsets(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Lengths and spreads `(T,) float64` of the query forms; see `PriorGeometry.offsets`."""
        if "_offsets" not in self.__dict__:
            self.__dict__["_offsets"] = self.geometry.offsets(self.forms["query"])
        found: tuple[torch.Tensor, torch.Tensor] = self.__dict__["_offsets"]
        return found

    def check(self, lm: FrozenLM, prompt: PromptFormat | None = None) -> None:
        """Make sure that the head was fitted with this LM (and prompt format).

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
                "This head was fitted for another prompt format: use the head's own (`head.prompt`), or fit it anew."
            )

    def mask(self, names: Iterable[str]) -> torch.Tensor:
        """Return a mask `(T,) bool` of some of the tools, for requests that may call no others.

        Raises
        ------
        ToolSpecError
            If a name is not in the head.
        """
        index, names = self.index, list(names)
        unknown_tools([name for name in names if name not in index][:1], self.names)
        mask = torch.zeros(len(self.specs), dtype=torch.bool)
        mask[[index[name] for name in names]] = True
        return mask

    def scores(self, hidden: torch.Tensor, rows: torch.Tensor | None = None) -> torch.Tensor:
        """Return `W h + b`, `(n, T) float32`, for states `(n, d)`, or only that of some rows, `(n, len(rows))`.

        Parameters
        ----------
        rows
            Indices of the tools that are wanted, `(m,) int64`.
        """
        states = hidden.float()
        if rows is None:
            return torch.addmm(self.biases, states, self.output_embeddings.T)
        if len(rows) > len(self.specs) * GATHERED:
            return torch.addmm(self.biases, states, self.output_embeddings.T)[:, rows]
        return torch.addmm(self.biases[rows], states, self.output_embeddings[rows].T)

    def selection(self, hidden: torch.Tensor, allowed: Sequence[str] | torch.Tensor | None = None) -> torch.Tensor:
        """Return log P(tool | call, h), `(n, T) float32`, for states `(n, d)`; tools not allowed get minus infinity.

        Parameters
        ----------
        allowed
            Names of the tools that may be called, or a mask `(T,) bool` of them. The rows are not copied for it.
        """
        scores = self.scores(hidden)
        if allowed is not None:
            mask = allowed if isinstance(allowed, torch.Tensor) else self.mask(allowed)
            scores = scores.masked_fill(~mask, -torch.inf)
        return torch.log_softmax(scores, dim=-1)

    def logits(
        self,
        hidden: torch.Tensor,
        logsumexp: torch.Tensor,
        allowed: Sequence[str] | torch.Tensor | None = None,
        *,
        results: int = 0,
    ) -> torch.Tensor:
        """Return the tools' logits, `(n, T) float32`, that stand beside the word logits in one softmax.

        Parameters
        ----------
        hidden, logsumexp
            States `(n, d)` and the words' logsumexp `(n,)` there.
        results
            Behind how many results these places are.
        """
        odds = self.gate.log_odds(hidden.double(), results=results).float()
        return (odds + logsumexp)[:, None] + self.selection(hidden, allowed)

    def with_tools(self, tools: Iterable[ToolLike | ToolSpec], lm: FrozenLM) -> "ToolkenHead":
        """Return a head that has further tools; one whose name is taken already replaces the old one.

        Whether descriptions tell the tools apart is not checked, as `add_tools` does: not all of them need be in use.

        Raises
        ------
        FingerprintError
            If `lm` is not the LM of this head.
        ToolSpecError
            If there is no tool, or two of the new ones share a name.
        """
        new = tool_specs(tools)
        head = copy.copy(self)
        head.forget()
        replaced = [spec.name for spec in new if spec.name in self.index]
        if replaced and len(replaced) == len(self.specs):
            fresh = ToolStatistics.empty([], self.statistics.hidden_size)
            head.specs, head.few_shot, head.correction = [], FewShotExamples(), None
            head.forms = {source: form[:0] for source, form in self.forms.items()}
            head.statistics = self.statistics.without_tools(replaced).merge(fresh)
        elif replaced:
            head.remove_tools(replaced)
        head._extend(new, lm)
        return head

    def few_shot_for(self, tool: str, hidden: torch.Tensor) -> list[FewShotExample]:
        """Return the few-shot examples of a tool's arguments that are most like the call decided at a state `(d,)`."""
        return self.few_shot.nearest(tool, hidden, self.geometry.factor)

    def add_tools(self, tools: Iterable[ToolLike | ToolSpec], lm: FrozenLM) -> None:
        """Add tools by their descriptions alone; examples for them can follow.

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
        if taken:
            raise ToolSpecError(f"The head has a tool {taken[0]!r} already: remove that one first, or rename the new.")
        check_descriptions(new, self.specs)
        self._extend(new, lm)

    def _extend(self, new: list[ToolSpec], lm: FrozenLM) -> None:
        self.check(lm)
        forms = prior_forms(lm, new, self.prompt, list(self.forms), self.teacher)
        self.specs = [*self.specs, *new]
        self.forms = {source: torch.cat([form, forms[source]]) for source, form in self.forms.items()}
        self.statistics = self.statistics.with_tools([spec.name for spec in new])
        self.forget()

    def remove_tools(self, names: Iterable[str]) -> None:
        """Take tools out of the head.

        Raises
        ------
        ToolSpecError
            If a name is not in the head, or no tool would be left.
        """
        names = list(names)
        unknown_tools(names, self.names)
        gone = set(names)
        keep = [i for i, spec in enumerate(self.specs) if spec.name not in gone]
        if not keep:
            raise ToolSpecError("A head needs at least one tool: remove fewer, or start a new head.")
        self.specs = [self.specs[i] for i in keep]
        self.forms = {source: form[keep] for source, form in self.forms.items()}
        self.statistics = self.statistics.without_tools(names)
        self.correction = self.correction.without(names) if self.correction else None
        self.few_shot = self.few_shot.without(names)
        self.forget()

    def add_examples(self, examples: Iterable[Example], lm: FrozenLM, *, cache: FeatureCache | None = None) -> None:
        """Learn from further examples of the head's tools: the LM reads them, and their states join the sums.

        Output embeddings, biases and few-shot examples follow them exactly. What `fit` chose stays: the gate, the
        settings and the temperature. Agents and chat models that are in use already do not see the change; make new
        ones.

        Raises
        ------
        FingerprintError
            If `lm` is not the LM of this head, or the cache is of another one.
        ExampleError
            If an example calls a tool the head does not have, does not fit the LM's context, or has a call without a
            place of its own.
        """
        examples = list(examples)
        read = self._read(examples, lm, cache)
        calls = read.calls()
        # Copies of a head share what they have in common.
        statistics, few_shot = self.statistics.copy(), copy.deepcopy(self.few_shot)
        statistics.add(calls.hidden, calls.labels)
        few_shot.add(examples, read, running_text=self.prompt.everywhere)
        self.statistics, self.few_shot = statistics, few_shot
        self.provenance = self.provenance.joined(examples)
        self.forget()

    def remove_examples(self, examples: Iterable[Example], lm: FrozenLM, *, cache: FeatureCache | None = None) -> None:
        """Forget examples that were learnt before, exactly: what is left is as if they had never been there.

        What `fit` chose on them stays as it is: the gate, the settings and the temperature.

        Raises
        ------
        FingerprintError
            If `lm` is not the LM of this head, or the cache is of another one.
        ExampleError
            If an example calls a tool the head does not have.
        HeadError
            If a tool has had fewer examples than are to be removed.
        """
        examples = list(examples)
        calls = self._read(examples, lm, cache).calls()
        statistics = self.statistics.copy()
        statistics.remove(calls.hidden, calls.labels)
        self.statistics = statistics
        running_text = self.prompt.everywhere
        self.few_shot = self.few_shot.without_examples(examples, calls, running_text=running_text)
        self.provenance = self.provenance.without(examples)
        self.forget()

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
        cls, lm: FrozenLM, specs: Sequence[ToolSpec], prompt: PromptFormat, background: Background, gate: Gate
    ) -> "ToolkenHead":
        """Return a head that has seen nothing but descriptions."""
        return cls(
            lm_name=lm.name,
            lm_fingerprint=lm.fingerprint,
            prompt=prompt,
            specs=list(specs),
            forms=prior_forms(lm, specs, prompt, ["query"]),
            statistics=ToolStatistics.empty([spec.name for spec in specs], lm.hidden_size),
            mean=background.mean,
            covariance=background.covariance,
            gate=gate,
        )

    def forget(self) -> None:
        # Rows follow from the statistics; whatever changes those makes the cached ones stale, and so what was measured.
        for computed in ("_rows_and_biases", "_offsets"):
            self.__dict__.pop(computed, None)
        self.provenance = self.provenance.unmeasured()

    def keep(self, rows: torch.Tensor, biases: torch.Tensor, offsets: tuple[torch.Tensor, torch.Tensor] | None) -> None:
        """Take rows `(T, d)`, biases `(T,) float32` and offsets that were computed from this head before."""
        self.__dict__["_rows_and_biases"] = (rows, biases)
        if offsets is not None:
            self.__dict__["_offsets"] = offsets
