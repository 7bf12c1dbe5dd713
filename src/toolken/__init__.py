"""Tools as tokens for frozen language models."""

from importlib import import_module
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as _version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from toolken.agents.agent import Answer, ToolkenAgent
    from toolken.agents.chat_model import ToolkenChatModel
    from toolken.agents.decoding.decoder import DecodingOptions
    from toolken.agents.household.planner import HouseholdPlanner
    from toolken.errors import ToolkenError
    from toolken.tools.grounding import Grounded
    from toolken.training.examples import Call, Example, read_examples
    from toolken.training.fit import fit
    from toolken.training.head.toolken_head import ToolkenHead
    from toolken.training.lm import FrozenLM
    from toolken.training.prompts.prompt_format import PromptFormat
    from toolken.training.tool_spec import ToolSpec

__all__ = [
    "Answer",
    "Call",
    "DecodingOptions",
    "Example",
    "FrozenLM",
    "Grounded",
    "HouseholdPlanner",
    "PromptFormat",
    "ToolSpec",
    "ToolkenAgent",
    "ToolkenChatModel",
    "ToolkenError",
    "ToolkenHead",
    "fit",
    "read_examples",
]

try:
    __version__ = _version("toolken")
except PackageNotFoundError:  # a checkout on the import path that nobody installed
    __version__ = "0+unknown"

#: The module of each public name. It is imported on first access: importing torch and transformers takes seconds.
_MODULES = {
    "Answer": "agents.agent",
    "Call": "training.examples",
    "DecodingOptions": "agents.decoding.decoder",
    "Example": "training.examples",
    "FrozenLM": "training.lm",
    "Grounded": "tools.grounding",
    "HouseholdPlanner": "agents.household.planner",
    "PromptFormat": "training.prompts.prompt_format",
    "ToolSpec": "training.tool_spec",
    "ToolkenAgent": "agents.agent",
    "ToolkenChatModel": "agents.chat_model",
    "ToolkenError": "errors",
    "ToolkenHead": "training.head.toolken_head",
    "fit": "training.fit",
    "read_examples": "training.examples",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
