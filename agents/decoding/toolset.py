"""`Toolset`: the tools that may be called in a conversation, each with its toolken."""

import hashlib
import logging
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch

from toolken.agents.bound_tools import BoundTools
from toolken.agents.grammar.schema_grammar import check_schema
from toolken.training.estimation.gate import fit_gate
from toolken.training.examples import FewShotExample
from toolken.training.features.background import background
from toolken.training.features.decision_states import DecisionStates
from toolken.training.head.decision import Decision
from toolken.training.head.described import DescribedTools
from toolken.training.head.toolken_head import ToolkenHead
from toolken.training.lm import FrozenLM
from toolken.training.lm.state_memory import StateMemory
from toolken.training.prior.moments import BackgroundMoments
from toolken.training.prior.pretrained import PretrainedPrior
from toolken.training.prior.request_reader import described
from toolken.training.prompts.conversation_format import ConversationFormat
from toolken.training.prompts.prompt_format import PromptFormat
from toolken.training.tool_spec import ToolSpec

#: Sets of tools whose output embeddings are remembered.
REMEMBERED = 64
#: Characters of a description that a toolken is made from; some describe the arguments for pages.
MAX_DESCRIPTION = 600

#: Similarity from which two tools are reported as hard to tell apart.
ALIKE = 0.95

_log = logging.getLogger("toolken")


@dataclass(frozen=True)
class Toolset:
    """Tools and the head that has an output embedding for each of them.

    Attributes
    ----------
    tools
        The tools as they were bound; their schemas are the ones that arguments are written for.
    head
        A head that knows them all by name, and perhaps others; None where there is no tool and no head.
    prompt
        The prompt format of the conversation.
    """

    tools: BoundTools
    head: ToolkenHead | DescribedTools | None
    prompt: ConversationFormat
    _last: dict[str, tuple[Any, ...]] = field(default_factory=dict, repr=False, compare=False)

    def spec(self, name: str) -> ToolSpec:
        """Return a tool by its name."""
        return self.tools.by_name[name]

    @property
    def splits_requests(self) -> bool:
        """Whether each part of a message is decided separately by default: where all tools are known by description.

        Examples teach what a whole message calls, such as the first operation of a word problem.
        """
        if isinstance(self.head, DescribedTools):
            return True
        return self.head is not None and not bool(self.head.statistics.counts.any())

    def decide(self, hidden: torch.Tensor, names: Sequence[str], *, results: int) -> Decision:
        """Decide at a state `(d,)` after a number of tool results whether one of some tools is called, and which.

        Raises
        ------
        ToolSpecError
            If the head has no such tool.
        """
        assert self.head is not None
        return self.head.decide(hidden, self._subset(names, hidden.device), results=results)

    def _subset(self, names: Sequence[str], device: torch.device) -> torch.Tensor | None:
        """Return `ToolkenHead.subset` on a device; a turn asks for the same names at each token."""
        assert self.head is not None
        remembered = self._last.get("subset")
        if remembered is None or remembered[0] is not names or remembered[1] != device:
            subset = self.head.subset(names)
            remembered = self._last["subset"] = (names, device, None if subset is None else subset.to(device))
        found: torch.Tensor | None = remembered[2]
        return found

    def few_shot(self, tool: str, hidden: torch.Tensor) -> list[FewShotExample]:
        """Return the few-shot examples of a tool's arguments that are most like a call decided at a state `(d,)`."""
        assert self.head is not None
        given = [one for one in self.tools.few_shot if one.tool == tool]
        return given or self.head.few_shot_for(tool, hidden)

    def all_few_shot(self, tool: str) -> list[FewShotExample]:
        """Return all few-shot examples of a tool's arguments."""
        assert self.head is not None
        given = [one for one in self.tools.few_shot if one.tool == tool]
        return given or [one for one in self.head.few_shot.shown if one.tool == tool]


class Toolkens:
    """Gives toolkens to any tools: those of a head, and for all others output embeddings made from their descriptions.

    Parameters
    ----------
    lm
        The LM.
    head
        A head that was fitted with it; without one, all output embeddings are made from descriptions.
    prior
        A pretrained prior, which gives toolkens to tools where there is no head.
    prompt
        The format of conversations, where there is no head; a head has its own.
    by_name
        Whether a tool is the head's because it has the same name. Otherwise it must have the same description too,
        or none.

    Raises
    ------
    FingerprintError
        If the head was fitted with another LM.
    """

    def __init__(
        self,
        lm: FrozenLM,
        head: ToolkenHead | None = None,
        *,
        prior: PretrainedPrior | None = None,
        by_name: bool = False,
        prompt: ConversationFormat | None = None,
    ) -> None:
        if head is not None:
            head.check(lm)
        self.lm = lm
        if prior is not None:
            prior.check(lm)
        self.head = head
        self.prior = prior
        self.by_name = by_name
        self.prompt: ConversationFormat = head.prompt if head is not None else prompt or PromptFormat()
        self._reader = cast("FrozenLM", StateMemory(lm))
        self._heads: OrderedDict[str, ToolkenHead | DescribedTools] = OrderedDict()
        self._rows: dict[str, torch.Tensor] = {}
        self._alike: set[tuple[str, str]] = set()
        self._lock = threading.Lock()

    def of(self, tools: BoundTools) -> Toolset:
        """Return a set of tools with their toolkens; toolkens of tools that were bound before are remembered."""
        return Toolset(tools, self._head_of(tools.specs), self.prompt)

    def _embeddings(self, prior: PretrainedPrior, specs: Sequence[ToolSpec]) -> torch.Tensor:
        """Return the output embeddings of tools; the LM reads only descriptions that it has not read before."""
        new = {described(spec): spec for spec in specs if described(spec) not in self._rows}
        if new:
            self._rows |= zip(new, prior.output_embeddings(self.lm, list(new.values())), strict=True)
        found = torch.stack([self._rows[described(spec)] for spec in specs])
        self._report_alike(specs, found)
        return found

    def _report_alike(self, specs: Sequence[ToolSpec], embeddings: torch.Tensor) -> None:
        """Log each pair of tools once that can hardly be told apart."""
        near = torch.triu(embeddings @ embeddings.T, diagonal=1) > ALIKE
        for one, other in near.nonzero().tolist():
            pair = specs[one].name, specs[other].name
            if pair not in self._alike:
                self._alike.add(pair)
                _log.warning(
                    "The tools %r and %r can hardly be told apart by their descriptions: say in each what the other "
                    "does not do.",
                    *pair,
                )

    def _head_of(self, specs: Sequence[ToolSpec]) -> ToolkenHead | DescribedTools | None:
        fitted = {spec.name: spec for spec in self.head.specs} if self.head is not None else {}
        new = [spec for spec in specs if not self._is_same(spec, fitted.get(spec.name))]
        if not new:
            return self.head
        digest = hashlib.sha256("".join(spec.digest for spec in new).encode()).hexdigest()
        with self._lock:
            if digest not in self._heads:
                self._heads[digest] = self._with_described(new)
            self._heads.move_to_end(digest)
            while len(self._heads) > REMEMBERED:
                self._heads.popitem(last=False)
            return self._heads[digest]

    def _is_same(self, spec: ToolSpec, fitted: ToolSpec | None) -> bool:
        """Tell whether a tool is one of the head's; its schema may be written differently."""
        if fitted is None:
            return False
        return self.by_name or not spec.description or spec.description == fitted.description

    def _with_described(self, bound: Sequence[ToolSpec]) -> ToolkenHead | DescribedTools:
        for spec in bound:
            check_schema(spec)
        if self.head is None and self.prior is not None:
            return DescribedTools(self.prior, list(bound), self._embeddings(self.prior, bound), self.prior.threshold)
        new = [spec.model_copy(update={"description": _beginning(spec.description)}) for spec in bound]
        if self.head is not None:
            head = self.head.with_tools(new, self._reader, replace_existing=True)
        else:
            shared = background(self.lm, self.prompt)
            none = DecisionStates.none(self.lm.hidden_size)
            gate, _ = fit_gate(none, shared.decisions, running_text=self.prompt.everywhere)
            moments = BackgroundMoments.of(shared, self.lm.fingerprint, self.prompt)
            head = ToolkenHead.from_descriptions(self._reader, new, self.prompt, moments, gate)
        _ = head.output_embeddings  # computed now, so that the first question does not wait
        return head


def _beginning(description: str) -> str:
    """Return the beginning of a description, which says what the tool does."""
    text = description.strip()
    return text if len(text) <= MAX_DESCRIPTION else text[:MAX_DESCRIPTION].rsplit(maxsplit=1)[0]
