"""`PromptFormat`: the text of a question, an example or a description, and its decision positions."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from pydantic import BaseModel, ConfigDict

from toolken.training.examples import Example, FewShotExample
from toolken.training.tool_spec import ToolSpec

#: Largest number of characters of a tool's result in the text; small LMs lose track in longer results.
MAX_RESULT = 2000

_NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n")


@dataclass(frozen=True)
class Rendered:
    """An example as text with its decision positions.

    Attributes
    ----------
    text
        The whole text.
    begin
        Character offset at which the LM starts to write; the text before it is the prompt.
    calls
        `(offset, tool)`: the tool is called after the text up to this offset.
    words
        Offsets of decisions against a call: text follows there. Decisions implied by `everywhere` are not listed.
    given
        Character spans `[start, end)` without decisions: the results with the white space before them.
    after_results
        The offsets in `calls` and `words` that follow a result.
    everywhere
        Whether each token from `begin` on, outside `given`, is a decision: a call at `calls`, else text.
    """

    text: str
    begin: int
    calls: tuple[tuple[int, str], ...]
    words: tuple[int, ...] = ()
    given: tuple[tuple[int, int], ...] = ()
    after_results: tuple[int, ...] = ()
    everywhere: bool = False


class PromptFormat(BaseModel):
    """The text around questions, answers and results; saved with each head, which is valid for this format only.

    Attributes
    ----------
    preamble
        Text before everything else, such as few-shot examples.
    words_preamble
        Text before everything else while the LM writes an answer without a call, unless `everywhere` is set. A few
        answered questions show a small LM how short an answer is; before decisions they cost accuracy.
    system
        Template of a system message.
    question
        Template of a question, up to the position where the answer begins.
    joint
        White space between a question and an answer that an example gives as text.
    opening
        The beginning of each answer, part of the prompt. Its last token is the decision position of a question, so its
        wording determines how well the hidden state separates the tools.
    lead
        Text after the opening while the LM decides on a question; it is removed afterwards. Either empty, or "number":
        the first number of the question, if there is one. After the first operand of a sum, the hidden state of a
        small LM predicts the operator; before it, it does not.
    between
        Text between a result and one that directly follows it. The decision whether another call follows is taken
        after this text, which is removed if none does: the hidden state after a bare number says less.
    closing
        The end of an answer that consists only of results.
    separator
        Text between two turns of a conversation.
    stop
        Texts that end an answer.
    everywhere
        Whether each token of the answer is a decision position, as calls in running text require, instead of only the
        opening and the end of each result. Fewer decision positions mean fewer false calls.
    argument_question, argument_results, arguments
        Templates of the question and of the results so far, and the text before the arguments, while the LM writes the
        arguments of a call.
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
        """Hex digest of all fields."""
        # These fields are newer than some saved heads, so their defaults must not change the digest.
        left_out = {name for name, default in (("joint", " "), ("lead", "")) if getattr(self, name) == default}
        return hashlib.sha256(self.model_dump_json(exclude=left_out).encode()).hexdigest()[:32]

    def prompt(self, question: str) -> str:
        """Return the text up to the position where the answer begins, without the opening."""
        return self.preamble + self.question.replace("{question}", question.strip())

    def query(self, request: str) -> str:
        """Return the text whose last token is the decision position of a request, or of a description used as one."""
        return self.prompt(request) + self.opening + self.leading(request)

    def leading(self, request: str) -> str:
        """Return the text of `lead` for a request: the text between the opening and the decision position."""
        number = _NUMBER.search(request) if self.lead and not self.everywhere else None
        return f" {number.group()}" if number else ""

    def result(self, text: str, *, follows_result: bool) -> str:
        """Return the text of a result in the answer."""
        return f"{self.between if follows_result else ''} {text}"

    def argument_prompt(
        self, spec: ToolSpec, shown: Sequence[FewShotExample], question: str, results: Sequence[str]
    ) -> str:
        """Return the prompt after which the LM writes the arguments of a call as one JSON object.

        It contains the description of the tool only if there is no few-shot example of its arguments. The prompt is
        separate from the conversation.
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
        """Return the last, unfinished sentence of running text, from which a call takes its arguments."""
        return _SENTENCE_END.split(text.rstrip())[-1].lstrip()

    def renderings(self, example: Example) -> list[Rendered]:
        """Return an example as texts with decisions; a decision after a lead has a separate text.

        See `render` for each text.
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
        """Return an example as text without a lead, with its decision positions.

        An answer that consists only of the opening and the results gets the text that the decoder produces: `between`
        follows the last result, and its end is the position of the decision that no further call follows. Other
        answers are unchanged. An example without a question contains no text of this format.
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
                # Every answer starts with the opening, so an answer that starts otherwise only provides the question.
                return Rendered(opened, len(opened), (), (len(opened),))
        calls: list[tuple[int, str]] = []
        given: list[tuple[int, int]] = []
        for call in example.calls:
            assert call.start is not None  # `Example` requires it if there is an answer
            start = len(prompt) + call.start
            decided = len(text[:start].rstrip())
            calls.append((decided, call.tool))
            given.append((decided, start + len(call.result)))
        words = () if example.calls or not example.question else (begin,)
        # Running text without a question has no other decision positions than its tokens.
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
            later = tuple(offset for offset, _ in calls[1:])
            if not call.result:
                # The text after an unknown result is unknown, too.
                return Rendered(text, begin, tuple(calls), after_results=later)
            text += f" {call.result}{self.between}"
        return Rendered(text, begin, tuple(calls), (len(text),), after_results=(*later, len(text)))
