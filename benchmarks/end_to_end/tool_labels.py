"""`Readable`: descriptive tool names for prompts, in place of ids."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from langchain_core.tools import BaseTool

from toolken.benchmarks.end_to_end.traces import Attempt
from toolken.benchmarks.end_to_end.trials import Answerer, Question
from toolken.training.examples import Example
from toolken.training.tool_spec import ToolSpec


@dataclass(frozen=True)
class Readable:
    """Tools renamed after the signatures in their descriptions.

    Attributes
    ----------
    specs
        The renamed tools; a signature at the start of a description is omitted.
    operands
        Operands of each tool, by its new name.
    names
        Maps original names to new ones.
    """

    specs: tuple[ToolSpec, ...]
    operands: Mapping[str, str]
    names: Mapping[str, str]

    @classmethod
    def of(cls, specs: Sequence[ToolSpec], operand: str) -> "Readable":
        """Rename tools; a tool without a signature in its description keeps its name and takes `operand`."""
        found: dict[str, ToolSpec] = {}
        operands: dict[str, str] = {}
        names: dict[str, str] = {}
        own = {spec.name for spec in specs}
        for spec in specs:
            name, arguments, rest = spec.signature or (spec.name, [], spec.description)
            wanted, number = name, 1
            while name in found or (name in own and name != spec.name):
                number += 1
                name = f"{wanted}_{number}"
            found[name] = spec.model_copy(update={"name": name, "description": rest})
            operands[name] = ", ".join(arguments) or operand
            names[spec.name] = name
        return cls(tuple(found.values()), operands, names)

    def example(self, example: Example) -> Example:
        """Return an example whose calls have the new names."""
        calls = tuple(call.model_copy(update={"tool": self.names[call.tool]}) for call in example.calls)
        return example.model_copy(update={"calls": calls})

    def tools(self, tools: Sequence[BaseTool]) -> list[BaseTool]:
        """Return tools under their new names."""
        return [tool.model_copy(update={"name": self.names[tool.name]}) for tool in tools]

    def answerer(self, answerer: Answerer) -> Answerer:
        """Return `answerer` with original tool names in its attempts; unknown names stay unchanged."""
        old = {new: name for name, new in self.names.items()}

        def answer(questions: Sequence[Question]) -> list[Attempt]:
            found = []
            for attempt in answerer(questions):
                pieces = (
                    piece if piece.tool is None else piece.model_copy(update={"tool": old.get(piece.tool, piece.tool)})
                    for piece in attempt.pieces
                )
                found.append(attempt.model_copy(update={"pieces": tuple(pieces)}))
            return found

        return answer
