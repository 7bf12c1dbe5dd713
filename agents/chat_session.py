"""`ChatSession`: a conversation with an agent, its tools, and what was decided in it."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from langchain_core.messages import BaseMessage, HumanMessage
from langchain_core.tools import BaseTool, StructuredTool

from toolken.agents.agent import AgentEvent, Answer, ToolkenAgent
from toolken.agents.decoding.lazy_model import PriorChoice
from toolken.agents.decoding.min_probability import MinProbability
from toolken.agents.errors import InputError, OptionError
from toolken.errors import ToolSpecError
from toolken.tools.side_effects import has_side_effects
from toolken.training.head.toolken_head import ToolkenHead
from toolken.training.lm import FrozenLM
from toolken.training.prompts.conversation_format import ConversationFormat, FormatName
from toolken.training.tool_spec import name_words

#: Which calls are confirmed: those of tools that are marked as having side effects, all, or none.
Confirmation: TypeAlias = Literal["auto", "all", "none"]
CONFIRMATIONS: tuple[str, ...] = get_args(Confirmation)


class ChatSession:
    """A conversation in which tools may be added, calls are confirmed, and decisions can be looked at.

    Parameters
    ----------
    tools
        The tools.
    lm, head, prior, format, min_probability
        As for `ToolkenAgent`.
    confirmation
        Which calls are confirmed: "auto" those of tools whose metadata says that they have side effects.
    confirm
        Asks the user about a call, given its name and arguments.
    supply
        Asks the user for the result of a tool without code, given its name and arguments.

    Raises
    ------
    OptionError
        If there is no such confirmation.
    ToolSpecError
        If there is no tool, or two share a name.
    """

    def __init__(
        self,
        tools: Sequence[BaseTool],
        *,
        lm: FrozenLM | str | Path | None = None,
        head: ToolkenHead | str | Path | None = None,
        prior: PriorChoice | None = None,
        format: ConversationFormat | FormatName | None = None,
        min_probability: MinProbability | None = None,
        confirmation: Confirmation = "auto",
        confirm: Callable[[str, dict[str, Any]], bool] | None = None,
        supply: Callable[[str, dict[str, Any]], str] | None = None,
    ) -> None:
        if confirmation not in CONFIRMATIONS:
            raise OptionError(f"There is no confirmation {confirmation!r}: name one of {', '.join(CONFIRMATIONS)}.")
        if not tools:
            raise ToolSpecError("There is no tool: name at least one source of tools.")
        self.history: list[BaseMessage] = []
        self.asked: list[BaseMessage] = []
        self._confirmation = confirmation
        self._ask_user, self._supply = confirm, supply
        self._options: dict[str, Any] = {"prior": prior, "format": format, "min_probability": min_probability}
        self._lm = lm if isinstance(lm, FrozenLM) else FrozenLM.from_pretrained(lm or _lm_of(head))
        self._head = head
        self._tools = list(tools)
        self._agent = self._built(self._tools)

    @property
    def tools(self) -> list[BaseTool]:
        """The tools, in the order in which they were given."""
        return list(self._tools)

    @property
    def lm_name(self) -> str:
        """Name of the LM."""
        return self._lm.name

    def ask(self, text: str) -> Iterator[AgentEvent | Answer]:
        """Yield what happens in answer to a message; the last event is the `Answer`, which enters the history.

        Raises
        ------
        InputError
            If the message is empty.
        """
        if not text.strip():
            raise InputError("The message is empty: write something.")
        self.asked = [*self.history, HumanMessage(text)]
        for event in self._agent.events(self.asked):
            if isinstance(event, Answer):
                self.history = [*self.asked, *event.messages]
            yield event

    def race(self) -> list[tuple[str, float]]:
        """Return P(tool) of each tool for the first call after the last message, the most likely first."""
        return self._agent.race(self.asked) if self.asked else []

    def add(self, name: str, description: str) -> BaseTool:
        """Add a tool that is known by its description alone; the user supplies its results.

        Raises
        ------
        ToolSpecError
            If a tool has this name already, or the name or the description cannot be used.
        """
        name, description = "_".join(name.split()), description.strip()
        if not name or not description:
            raise ToolSpecError('A tool needs a name and a description, such as "water plants: Waters the plants."')
        if any(one.name == name for one in self._tools):
            raise ToolSpecError(f"There is a tool {name!r} already: choose another name.")

        def run() -> str:
            return self._supply(name, {}) if self._supply is not None else f"{name_words(name)}: done"

        added = StructuredTool.from_function(run, name=name, description=description)
        self._agent = self._built([*self._tools, added])
        self._tools.append(added)
        return added

    def clear(self) -> None:
        """Forget the conversation; the tools stay."""
        self.history, self.asked = [], []

    def is_confirmed(self, tool: BaseTool) -> bool:
        """Return whether the user is asked before a call of a tool."""
        return self._confirmation == "all" or (self._confirmation == "auto" and has_side_effects(tool) is True)

    def _built(self, tools: Sequence[BaseTool]) -> ToolkenAgent:
        return ToolkenAgent(self._lm, self._head, tools, confirm=self._allows, **self._options)

    def _allows(self, name: str, arguments: dict[str, Any]) -> bool:
        tool = next(one for one in self._tools if one.name == name)
        if self._ask_user is None or not self.is_confirmed(tool):
            return True
        return self._ask_user(name, arguments)


def _lm_of(head: ToolkenHead | str | Path | None) -> str | None:
    if head is None:
        return None
    return (head if isinstance(head, ToolkenHead) else ToolkenHead.from_pretrained(head)).lm_name
