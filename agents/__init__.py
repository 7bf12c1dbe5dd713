"""A LangChain chat model and an agent whose tool calls are toolkens, and a planner for households."""

from typing import TYPE_CHECKING, Any

from toolken.agents.agent import Answer, Step, ToolkenAgent, ToolResult
from toolken.agents.chat_model import ToolkenChatModel
from toolken.agents.decoding import DecodingOptions

if TYPE_CHECKING:
    from toolken.agents.household.planner import HouseholdPlanner, PlannedStep

__all__ = [
    "Answer",
    "DecodingOptions",
    "HouseholdPlanner",
    "PlannedStep",
    "Step",
    "ToolResult",
    "ToolkenAgent",
    "ToolkenChatModel",
]


def __getattr__(name: str) -> Any:
    # Imported when it is asked for: an agent without a household needs neither the simulator nor its tools.
    if name in ("HouseholdPlanner", "PlannedStep"):
        from toolken.agents.household import planner

        return getattr(planner, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
