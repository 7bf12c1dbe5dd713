"""`Solved`: a few-shot example in the prompt of a baseline, with calls as text."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from toolken.training.examples import Example
from toolken.training.tool_spec import ToolSpec

#: Parses the operands of a call in text, given the tool, into keyword arguments; raises `ValueError` if it cannot.
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
    """A question, the text and calls of its solution, and the final answer.

    Attributes
    ----------
    question
        The question.
    parts
        (text, following call or None) pairs.
    final
        The final answer.
    """

    question: str
    parts: tuple[tuple[str, WrittenCall | None], ...]
    final: str

    @property
    def plain(self) -> str:
        """The solution as plain text, with results in place of calls."""
        return "".join(words + (call.result if call else "") for words, call in self.parts).strip()

    @property
    def inline(self) -> str:
        """The solution with calls and their results."""
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
    """Return an example in the form of a prompt; `final` is its final answer."""
    parts: list[tuple[str, WrittenCall | None]] = []
    answer, last = example.answer, 0
    for call in example.calls:
        written = WrittenCall(call.tool, ", ".join(str(value) for value in call.args.values()), call.result)
        if answer is None:
            parts.append(("" if not parts else ", then ", written))
        else:
            assert call.start is not None  # `Example` guarantees it if there is an answer
            parts.append((answer[last : call.start], written))
            last = call.start + len(call.result)
    if answer is not None:
        parts.append((answer[last:], None))
    return Solved(example.question, tuple(parts), final)


def described(specs: Sequence[ToolSpec], operands: Mapping[str, str]) -> str:
    """Return a line per tool with its name, operands and description."""
    return "".join(f"{spec.name}({operands[spec.name]}): {spec.words}\n" for spec in specs)
