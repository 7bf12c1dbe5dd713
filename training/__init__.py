"""From a frozen LM and tool descriptions to a head: statistics, priors, fitting, benchmarks."""

from toolken.training.examples import Call, Example, read_examples
from toolken.training.fit import fit
from toolken.training.head import ToolkenHead
from toolken.training.lm import FrozenLM
from toolken.training.prompt import PromptFormat
from toolken.training.tool_spec import ToolSpec

__all__ = ["Call", "Example", "FrozenLM", "PromptFormat", "ToolSpec", "ToolkenHead", "fit", "read_examples"]
