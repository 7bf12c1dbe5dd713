"""`Toolset`: the tools that may be called in a conversation, each with its toolken."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch

from toolken.agents.bound_tools import BoundTools
from toolken.agents.grammar.number_use import NumberHabits, NumberUse
from toolken.agents.grammar.schema_grammar import check_schema
from toolken.errors import FingerprintError
from toolken.training.estimation.gate import fit_gate
from toolken.training.examples import FewShotExample
from toolken.training.features.background import background
from toolken.training.features.decision_states import DecisionStates
from toolken.training.head.toolken_head import ToolkenHead
from toolken.training.lm import FrozenLM
from toolken.training.lm.state_memory import StateMemory
from toolken.training.prior.evidence import Evidence
from toolken.training.prompts.prompt_format import PromptFormat
from toolken.training.tool_spec import ToolSpec, unknown_tools

#: Sets of tools whose rows are remembered.
REMEMBERED = 64
#: Characters of a description that a toolken is made from; some run on for pages about the arguments.
MAX_DESCRIPTION = 600


@dataclass(frozen=True)
class Toolset:
    """Tools and the head that has a row for each of them.

    Attributes
    ----------
    tools
        The tools as they were bound; their schemas are the ones that arguments are written for.
    head
        A head that knows them all by name, and perhaps others; None where there is no tool and no head.
    prompt
        The wording of the conversation.
    evidence
        What the descriptions of tools without examples say on whether one is called.
    """

    tools: BoundTools
    head: ToolkenHead | None
    prompt: PromptFormat
    evidence: Evidence | None = None
    _last: dict[str, tuple[Any, ...]] = field(default_factory=dict, repr=False, compare=False)

    def spec(self, name: str) -> ToolSpec:
        """Return a tool by its name."""
        return self.tools.by_name[name]

    def call_probability(self, hidden: torch.Tensor, names: Sequence[str], *, results: int) -> float:
        """Return P(one of some tools is called) at a state `(d,)`, behind so many results; 0 without a head."""
        if self.head is None:
            return 0.0
        odds = self.head.gate.log_odds(hidden[None].double(), results=results)[0]
        if self.evidence is not None and not results and not self.prompt.everywhere:
            rows = self._rows_of(names)
            odds = odds + self.evidence.log_odds(hidden, rows, lambda: self._scores(hidden, rows))
        return float(torch.sigmoid(odds))

    def shares(self, hidden: torch.Tensor, names: Sequence[str]) -> torch.Tensor:
        """Return P(tool | call) at a state `(d,)` for some of the tools, `(len(names),) float32`.

        Raises
        ------
        ToolSpecError
            If the head has no such tool.
        """
        return torch.softmax(self._scores(hidden, self._rows_of(names)), dim=-1)

    def _scores(self, hidden: torch.Tensor, rows: torch.Tensor | None) -> torch.Tensor:
        """Return the scores of some rows at a state `(d,)`; the last answer is remembered, it is asked for twice."""
        assert self.head is not None
        asked, remembered = (hidden, rows, self.head.output_embeddings), self._last.get("scores")
        if remembered is None or any(one is not other for one, other in zip(asked, remembered, strict=False)):
            remembered = self._last["scores"] = (*asked, self.head.scores(hidden[None], rows)[0])
        found: torch.Tensor = remembered[3]
        return found

    def _rows_of(self, names: Sequence[str]) -> torch.Tensor | None:
        """Return the rows of some tools in the head, None where they are all of its tools in its order.

        The last answer is remembered: a turn asks for the same tools after each of its words.
        """
        assert self.head is not None
        specs, remembered = self.head.specs, self._last.get("rows")
        if remembered is None or remembered[0] is not names or remembered[1] is not specs:
            index = self.head.index
            unknown_tools([name for name in names if name not in index][:1], self.head.names)
            rows = [index[name] for name in names]
            whole = len(rows) == len(specs) and rows == list(range(len(rows)))
            remembered = (names, specs, None if whole else torch.tensor(rows, dtype=torch.long))
            self._last["rows"] = remembered
        found: torch.Tensor | None = remembered[2]
        return found

    def few_shot(self, tool: str, hidden: torch.Tensor) -> list[FewShotExample]:
        """Return the few-shot examples of a tool's arguments that are most like a call decided at a state `(d,)`."""
        assert self.head is not None
        given = [one for one in self.tools.few_shot if one.tool == tool]
        return given or self.head.few_shot_for(tool, hidden)

    def number_use(self, tool: str, results: Sequence[str], before: Sequence[dict[str, Any]]) -> NumberUse | None:
        """Return what calls before leave of the numbers to a call of a tool; see `NumberHabits.use`."""
        if self.head is None or not results:
            return None
        shown = self.head.few_shot.shown
        remembered = self._last.get("habits")
        if remembered is None or remembered[0] is not shown or remembered[1] != len(shown):
            remembered = self._last["habits"] = (shown, len(shown), NumberHabits.of(shown))
        habits: NumberHabits = remembered[2]
        return habits.use(tool, results, before)


class Toolkens:
    """Gives toolkens to any tools: those of a head, and rows made from descriptions for all others.

    Parameters
    ----------
    lm
        The LM.
    head
        A head that was fitted with it; without one every row is made from a description.
    by_name
        Whether a tool is the head's because it has the same name. Otherwise it must have the same description too,
        or none.

    Raises
    ------
    FingerprintError
        If the head was fitted with another LM.
    """

    def __init__(self, lm: FrozenLM, head: ToolkenHead | None = None, *, by_name: bool = False) -> None:
        if head is not None:
            head.check(lm)
        self.lm = lm
        self.head = head
        self.by_name = by_name
        self.prompt = head.prompt if head is not None else PromptFormat()
        self._reader = cast("FrozenLM", StateMemory(lm))
        self._heads: OrderedDict[str, ToolkenHead] = OrderedDict()
        self._evidence: OrderedDict[int, Evidence] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, tools: BoundTools) -> Toolset:
        """Return a set of tools with their toolkens; those of tools that were bound before are remembered."""
        if self.head is not None and self.head.prompt.fingerprint != self.prompt.fingerprint:
            raise FingerprintError("The head's prompt format was changed while it was in use: build the model anew.")
        head = self._head_of(tools.specs)
        return Toolset(tools, head, self.prompt, self._evidence_of(head) if head is not None and tools.specs else None)

    def _head_of(self, specs: Sequence[ToolSpec]) -> ToolkenHead | None:
        fitted = {spec.name: spec for spec in self.head.specs} if self.head is not None else {}
        new = [spec for spec in specs if not self._is_same(spec, fitted.get(spec.name))]
        if not new:
            return self.head
        digest = hashlib.sha256("".join(spec.digest for spec in new).encode()).hexdigest()
        with self._lock:
            if digest not in self._heads:
                self._heads[digest] = self._with_rows(new)
            self._heads.move_to_end(digest)
            while len(self._heads) > REMEMBERED:
                self._heads.popitem(last=False)
            return self._heads[digest]

    def _evidence_of(self, head: ToolkenHead) -> Evidence | None:
        if "query" not in head.forms:
            return None  # of another prior's forms it is not known how requests spread round them
        with self._lock:
            known = self._evidence.get(id(head))
            if (
                known is None or known.output_embeddings is not head.output_embeddings
            ):  # the head may have been given examples or tools since
                known = self._evidence[id(head)] = Evidence.of(head)
            self._evidence.move_to_end(id(head))
            while len(self._evidence) > REMEMBERED:
                self._evidence.popitem(last=False)
            return known

    def _is_same(self, spec: ToolSpec, fitted: ToolSpec | None) -> bool:
        """Tell whether a tool is one of the head's; its schema may have been written differently."""
        if fitted is None:
            return False
        return self.by_name or not spec.description or spec.description == fitted.description

    def _with_rows(self, bound: Sequence[ToolSpec]) -> ToolkenHead:
        for spec in bound:
            check_schema(spec)
        new = [spec.model_copy(update={"description": _beginning(spec.description)}) for spec in bound]
        if self.head is not None:
            head = self.head.with_tools(new, self._reader)
        else:
            shared = background(self.lm, self.prompt)
            none = DecisionStates.none(self.lm.hidden_size)
            gate, _ = fit_gate(none, shared.decisions, running_text=self.prompt.everywhere)
            head = ToolkenHead.from_descriptions(self._reader, new, self.prompt, shared, gate)
        _ = head.output_embeddings  # computed now, so that the first question does not wait for them
        return head


def _beginning(description: str) -> str:
    """Return the beginning of a description, where it says what the tool is for."""
    text = description.strip()
    return text if len(text) <= MAX_DESCRIPTION else text[:MAX_DESCRIPTION].rsplit(maxsplit=1)[0]
