"""`Solved`: a solved question as the prompts of the baselines show it, with calls written out as text."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from toolken.training.examples import Example
from toolken.training.tool_spec import ToolSpec

#: From a tool and its operands, as a call in text has them, to keyword arguments. Raises `ValueError` if it cannot.
ReadOperands = Callable[[str, str], dict[str, Any]]


@dataclass(frozen=True)
class WrittenCall:
    """A call in text: the tool, its operands between the brackets, and the result."""

    tool: str
    operands: str
    result: str

    @property
    def text(self) -> str:
        """The call as text."""
        return f"<{self.tool}>({self.operands})={self.result}"


@dataclass(frozen=True)
class Solved:
    """A question, the words and calls of its solution in turn, and the final answer.

    Attributes
    ----------
    question
        What was asked.
    parts
        Words, each with the call that follows them or None.
    final
        The final answer.
    """

    question: str
    parts: tuple[tuple[str, WrittenCall | None], ...]
    final: str

    @property
    def plain(self) -> str:
        """The solution in words alone: of each call its result."""
        return "".join(words + (call.result if call else "") for words, call in self.parts).strip()

    @property
    def inline(self) -> str:
        """The solution with calls where their results stand."""
        return "".join(words + (call.text if call else "") for words, call in self.parts).strip()

    @property
    def steps(self) -> str:
        """The solution as thoughts, actions and observations (Yao et al. 2023, arXiv 2210.03629)."""
        lines = []
        for words, call in self.parts:
            if call is not None:
                thought = words.strip().rstrip("=$ ") or f"I need {call.tool}."
                lines.append(f"Thought: {' '.join(thought.split())}")
                lines.append(f"Action: {call.tool}({call.operands})\nObservation: {call.result}")
        return "\n".join([*lines, f"Thought: I know the answer.\nAnswer: {self.final}"])


def solved(example: Example, final: str) -> Solved:
    """Return an example as it is shown; `final` is its final answer."""
    parts: list[tuple[str, WrittenCall | None]] = []
    answer, last = example.answer, 0
    for call in example.calls:
        written = WrittenCall(call.tool, ", ".join(str(value) for value in call.args.values()), call.result)
        if answer is None:
            parts.append(("" if not parts else ", then ", written))
        else:
            assert call.start is not None  # Example checks it where there is an answer
            parts.append((answer[last : call.start], written))
            last = call.start + len(call.result)
    if answer is not None:
        parts.append((answer[last:], None))
    return Solved(example.question, tuple(parts), final)


def described(specs: Sequence[ToolSpec], operands: Mapping[str, str]) -> str:
    """Return a line for each tool: its name, its operands and what it is for."""
    return "".join(f"{spec.name}({operands[spec.name]}): {spec.words}\n" for spec in specs)
