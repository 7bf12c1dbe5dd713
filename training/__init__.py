"""From a frozen LM and tool descriptions to a head: statistics, priors, fitting, benchmarks."""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from toolken.training.examples import Call, Example, read_examples
    from toolken.training.fit import fit
    from toolken.training.head import ToolkenHead
    from toolken.training.lm import FrozenLM
    from toolken.training.prompt import PromptFormat
    from toolken.training.tool_spec import ToolSpec

__all__ = ["Call", "Example", "FrozenLM", "PromptFormat", "ToolSpec", "ToolkenHead", "fit", "read_examples"]

#: The module of each name. It is imported when the name is first asked for: whoever only runs an LM does not wait for
#: the libraries that read tools.
_MODULES = {
    "Call": "examples",
    "Example": "examples",
    "FrozenLM": "lm",
    "PromptFormat": "prompt",
    "ToolSpec": "tool_spec",
    "ToolkenHead": "head",
    "fit": "fit",
    "read_examples": "examples",
}


class _Package(ModuleType):
    """This package, whose names are imported when they are asked for.

    A class, and not a `__getattr__` of the module, because `fit` is a function in a module of the same name: importing
    that module sets the attribute `fit` of the package to the module, which has to be declined.
    """

    def __getattr__(self, name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"{self.__name__}.{_MODULES[name]}"), name)
        setattr(self, name, value)
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _MODULES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *_MODULES})


sys.modules[__name__].__class__ = _Package
