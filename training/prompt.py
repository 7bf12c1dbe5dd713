"""`PromptFormat`: how a question, an example or a description becomes text, and where the decisions fall in it."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from pydantic import BaseModel, ConfigDict

from toolken.training.demonstrations import Demonstration
from toolken.training.examples import Example
from toolken.training.tool_spec import ToolSpec


@dataclass(frozen=True)
class Rendered:
    """An example as text.

    Attributes
    ----------
    text
        The whole text.
    begin
        Character offset from which the model writes; what stands before is given to it.
    decisions
        `(offset, tool)`: after the text up to this offset the tool is called.
    given
        Character spans `[start, end)` that no one decides on: the results, and what joins them.
    """

    text: str
    begin: int
    decisions: tuple[tuple[int, str], ...]
    given: tuple[tuple[int, int], ...]


class PromptFormat(BaseModel):
    """The text around questions, answers and results; saved with every head, which is fitted for this wording only.

    Attributes
    ----------
    preamble
        Text before everything else, for example demonstrations.
    system
        How a system message is written.
    question
        How a question is written, up to the place where the answer begins.
    opening
        The first words of each answer, written for the model. A question's decision falls right after them, so their
        wording decides how well the tools can be told apart there.
    between
        Written in front of a result that directly follows another result.
    closing
        The end of an answer that consists of results alone.
    separator
        Written between two turns of a conversation.
    stop
        Texts at which an answer ends.
    argument_question, argument_results, arguments
        How a question, the results there are already, and the place where the arguments begin are written while the
        model writes a call's arguments.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    preamble: str = ""
    system: str = "{system}\n\n"
    question: str = "Question: {question}\nAnswer:"
    opening: str = " The answer is"
    between: str = ", then"
    closing: str = "."
    separator: str = "\n\n"
    stop: tuple[str, ...] = ("\n",)
    argument_question: str = "Question: {question}\n"
    argument_results: str = "Known: {results}\n"
    arguments: str = "Arguments:\n"

    @cached_property
    def fingerprint(self) -> str:
        """Hex digest of all the wording."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:32]

    def prompt(self, question: str) -> str:
        """Return the text up to the place where the answer begins, without the opening."""
        return self.preamble + self.question.replace("{question}", question.strip())

    def query(self, request: str) -> str:
        """Return the text whose last position is the decision on a request (or on a description posing as one)."""
        return self.prompt(request) + self.opening

    def result(self, text: str, *, follows_result: bool) -> str:
        """Return a result as it is written into the answer."""
        return f"{self.between if follows_result else ''} {text}"

    def argument_prompt(
        self, spec: ToolSpec, shown: Sequence[Demonstration], question: str, results: Sequence[str]
    ) -> str:
        """Return the text after which the arguments of a call are written, as one JSON object.

        The tool is described only where there is no demonstration of its arguments. None of this text is part of the
        conversation; it stands in a context of its own.
        """
        blocks = [spec.words + self.separator] if not shown else []
        blocks += [
            self._argument_block(one.question, one.results) + json.dumps(one.args, ensure_ascii=False) + self.separator
            for one in shown
        ]
        return "".join(blocks) + self._argument_block(question, results)

    def _argument_block(self, question: str, results: Sequence[str]) -> str:
        known = self.argument_results.replace("{results}", ", ".join(results)) if results else ""
        return self.argument_question.replace("{question}", question.strip()) + known + self.arguments

    def render(self, example: Example) -> Rendered:
        """Write an example out and mark what is decided in it.

        An example without a question is running text and stands alone, without the words of this format.
        """
        if example.answer is None:
            return self._compose(example)
        prompt = self.prompt(example.question) + " " if example.question else ""
        text = prompt + example.answer
        opened = prompt.rstrip() + self.opening
        begin = len(opened) if example.question and text.startswith(opened) else len(prompt.rstrip())
        decisions: list[tuple[int, str]] = []
        given: list[tuple[int, int]] = []
        joint = self.between.strip()
        for call in example.calls:
            assert call.start is not None  # Example checks it where there is an answer
            start = len(prompt) + call.start
            offset = len(text[:start].rstrip())
            if given and joint and text[given[-1][1] : start].strip() == joint:
                offset = given[-1][1]
            decisions.append((offset, call.tool))
            given.append((offset, start + len(call.result)))
        return Rendered(text, begin, tuple(decisions), tuple(given))

    def _compose(self, example: Example) -> Rendered:
        text = self.query(example.question)
        begin = len(text)
        decisions: list[tuple[int, str]] = []
        given: list[tuple[int, int]] = []
        for position, call in enumerate(example.calls):
            decisions.append((len(text), call.tool))
            if not call.result:
                # What follows an unknown result is unknown too.
                return Rendered(text, begin, tuple(decisions), tuple(given))
            start = len(text)
            text += self.result(call.result, follows_result=position > 0)
            given.append((start, len(text)))
        return Rendered(text + self.closing, begin, tuple(decisions), tuple(given))
