"""`PromptFormat`: how a question, an example or a description becomes text, and where the decisions fall in it."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from pydantic import BaseModel, ConfigDict

from toolken.training.examples import Example, FewShotExample
from toolken.training.tool_spec import ToolSpec

#: Characters of a tool's result that are written into the text; a model this small loses the thread in more.
MAX_RESULT = 2000

_NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n")


@dataclass(frozen=True)
class Rendered:
    """An example as text.

    Attributes
    ----------
    text
        The whole text.
    begin
        Character offset from which the model writes; what stands before is given to it.
    calls
        `(offset, tool)`: after the text up to this offset the tool is called.
    words
        Offsets after which words follow and no tool is called, where these are known singly.
    given
        Character spans `[start, end)` inside which nothing is decided: the results, and what joins them.
    behind_results
        Those of the offsets of calls and words that stand behind a result.
    everywhere
        Whether a word is decided after every token from `begin` on that is not given, besides `words`.
    """

    text: str
    begin: int
    calls: tuple[tuple[int, str], ...]
    words: tuple[int, ...] = ()
    given: tuple[tuple[int, int], ...] = ()
    behind_results: tuple[int, ...] = ()
    everywhere: bool = False


class PromptFormat(BaseModel):
    """The text around questions, answers and results; saved with every head, which is fitted for this wording only.

    Attributes
    ----------
    preamble
        Text before everything else, such as few-shot examples.
    words_preamble
        Text before everything else while words are written, where decisions are not taken everywhere. A few answered
        questions show a small model how short an answer is; in front of decisions they cost accuracy.
    system
        How a system message is written.
    question
        How a question is written, up to the place where the answer begins.
    joint
        White space between a question and an answer that stands as it is given.
    opening
        The first words of each answer, written for the model. A question's decision falls right after them, so their
        wording decides how well the tools can be told apart there.
    lead
        What stands behind the opening while a question's decision is taken, and is taken back afterwards: nothing, or
        the first `number` of the question if it has one. Behind its first operand a small model foresees the operator,
        which it does not in front of it: for arithmetic.
    between
        Written in front of a result that directly follows another result. Whether another one follows is decided
        after these words, which are taken back if none does: behind a bare number a small model knows less.
    closing
        The end of an answer that consists of results alone.
    separator
        Written between two turns of a conversation.
    stop
        Texts at which an answer ends.
    everywhere
        Whether a tool may be called after every token of the answer, as calls in running text need it, rather than
        after the opening and after each result only. The fewer places, the fewer calls by mistake.
    argument_question, argument_results, arguments
        How a question, the results there are already, and the place where the arguments begin are written while the
        model writes a call's arguments.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    preamble: str = ""
    words_preamble: str = (
        "Question: What colour is a ripe banana?\nAnswer: The answer is yellow.\n\n"
        "Question: What do bees make?\nAnswer: The answer is honey.\n\n"
    )
    system: str = "{system}\n\n"
    question: str = "Question: {question}\nAnswer:"
    joint: str = " "
    opening: str = " The answer is"
    lead: Literal["", "number"] = ""
    between: str = ", then"
    closing: str = "."
    separator: str = "\n\n"
    stop: tuple[str, ...] = ("\n",)
    everywhere: bool = False
    argument_question: str = "Question: {question}\n"
    argument_results: str = "Known: {results}\n"
    arguments: str = "Arguments:\n"

    @property
    def fingerprint(self) -> str:
        """Hex digest of all the wording."""
        # Heads are older than these two: what they are by default must not tell them from newer ones.
        left_out = {name for name, default in (("joint", " "), ("lead", "")) if getattr(self, name) == default}
        return hashlib.sha256(self.model_dump_json(exclude=left_out).encode()).hexdigest()[:32]

    def prompt(self, question: str) -> str:
        """Return the text up to the place where the answer begins, without the opening."""
        return self.preamble + self.question.replace("{question}", question.strip())

    def query(self, request: str) -> str:
        """Return the text whose last position is the decision on a request (or on a description posing as one)."""
        return self.prompt(request) + self.opening + self.leading(request)

    def leading(self, request: str) -> str:
        """Return what stands behind the opening while a request is decided on."""
        number = _NUMBER.search(request) if self.lead and not self.everywhere else None
        return f" {number.group()}" if number else ""

    def result(self, text: str, *, follows_result: bool) -> str:
        """Return a result as it is written into the answer."""
        return f"{self.between if follows_result else ''} {text}"

    def argument_prompt(
        self, spec: ToolSpec, shown: Sequence[FewShotExample], question: str, results: Sequence[str]
    ) -> str:
        """Return the text after which the arguments of a call are written, as one JSON object.

        The tool is described only where there is no few-shot example of its arguments. None of this text is part of the
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

    @staticmethod
    def recent(text: str) -> str:
        """Return the sentence in which running text has arrived: what a call in its midst takes its arguments from."""
        return _SENTENCE_END.split(text.rstrip())[-1].lstrip()

    def renderings(self, example: Example) -> list[Rendered]:
        """Write an example out as the texts in which something is decided: what is decided behind a lead stands apart.

        See `render` for each of them.
        """
        whole = self.render(example)
        leading = self.leading(example.question)
        opened = self.prompt(example.question) + self.opening
        at = len(opened)
        if not leading or not whole.text.startswith(opened):
            return [whole]
        calls, words = ([one for one in whole.calls if one[0] == at], [one for one in whole.words if one == at])
        if not calls and not words:
            return [whole]
        end = at + len(leading)
        led = Rendered(opened + leading, end, tuple((end, tool) for _, tool in calls), tuple(end for _ in words))
        rest = replace(
            whole,
            calls=tuple(one for one in whole.calls if one[0] != at),
            words=tuple(one for one in whole.words if one != at),
        )
        return [led, rest] if rest.calls or rest.words or rest.everywhere else [led]

    def render(self, example: Example) -> Rendered:
        """Write an example out, without a lead, and mark what is decided in it.

        An answer that consists of the opening and the results alone is written as the model will meet it: after the
        last result stands what would introduce another one, and that is where it is decided that none follows. Other
        answers stand as they are, and an example without a question without the words of this format.
        """
        if example.answer is None or (not self.everywhere and self._is_results_alone(example)):
            return self._compose(example)
        prompt = self.prompt(example.question) + self.joint if example.question else ""
        text = prompt + example.answer
        begin = len(prompt.rstrip())
        opened = prompt.rstrip() + self.opening
        if example.question and self.opening:
            if text.startswith(opened):
                begin = len(opened)
            elif not example.calls:
                # The model always begins with the opening, so of another beginning only the question is of use.
                return Rendered(opened, len(opened), (), (len(opened),))
        calls: list[tuple[int, str]] = []
        given: list[tuple[int, int]] = []
        for call in example.calls:
            assert call.start is not None  # Example checks it where there is an answer
            start = len(prompt) + call.start
            decided = len(text[:start].rstrip())
            calls.append((decided, call.tool))
            given.append((decided, start + len(call.result)))
        words = () if example.calls or not example.question else (begin,)
        # Running text without a question is of no use unless each of its words is a decision.
        everywhere = self.everywhere or not example.question
        return Rendered(text, begin, tuple(calls), words, tuple(given), everywhere=everywhere)

    def _is_results_alone(self, example: Example) -> bool:
        if not (example.question and example.calls and example.answer):
            return False
        results = "".join(self.result(call.result, follows_result=i > 0) for i, call in enumerate(example.calls))
        return example.answer.strip().removesuffix(self.closing) == (self.opening + results).strip()

    def _compose(self, example: Example) -> Rendered:
        text = self.prompt(example.question) + self.opening
        begin = len(text)
        calls: list[tuple[int, str]] = []
        for call in example.calls:
            calls.append((len(text), call.tool))
            behind = tuple(offset for offset, _ in calls[1:])
            if not call.result:
                # What follows an unknown result is unknown too.
                return Rendered(text, begin, tuple(calls), behind_results=behind)
            text += f" {call.result}{self.between}"
        return Rendered(text, begin, tuple(calls), (len(text),), behind_results=(*behind, len(text)))
