"""The texts of an exported checkpoint as token ids, with the kind of each decoding step."""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from toolken.training.examples import Call, Example, FewShotExample
from toolken.training.export.call_text import write_arguments
from toolken.training.export.tokens import ToolTokens
from toolken.training.features.decision_states import decision_positions
from toolken.training.head.toolken_head import ToolkenHead
from toolken.training.lm import FrozenLM
from toolken.training.prompts.conversation_format import question_answer


class StepKind(IntEnum):
    """The kind of a decoding step.

    At an `OPENING` and in `RUNNING` text, a tool or a vocabulary token comes next. `AFTER_LEAD`, at an opening whose
    last text is removed afterwards, and `AFTER_RESULT`, it is a tool or the token that ends the chain of calls.
    `VIRTUAL` tokens follow these. In `TEXT` and in `ARGUMENTS` no tool may win.
    """

    OPENING = 0
    RUNNING = 1
    AFTER_LEAD = 2
    AFTER_RESULT = 3
    TEXT = 4
    ARGUMENTS = 5
    VIRTUAL = 6


@dataclass(frozen=True)
class Text:
    """A text and its steps.

    Attributes
    ----------
    ids
        Its tokens.
    steps
        `(position, kind, results)`: the kind of the step after this position, and the number of results before it.
    """

    ids: list[int]
    steps: list[tuple[int, StepKind, int]]


class Writer:
    """Writes texts in the form of the checkpoint: a call is a special token followed by its arguments.

    Parameters
    ----------
    lm
        The LM, for its tokenizer.
    head
        The head, for its prompt format.
    tokens
        The added tokens.
    """

    def __init__(self, lm: FrozenLM, head: ToolkenHead, tokens: ToolTokens) -> None:
        self._lm, self._head, self._tokens = lm, head, tokens
        self._form = question_answer(head.prompt, "an export")
        self._of = {name: tokens.call(at) for at, name in enumerate(tokens.names)}

    def ids(self, text: str) -> list[int]:
        """Return the tokens of a text."""
        return list(self._lm.encode(text).ids)

    def inside(self, text: str) -> list[int]:
        """Return the tokens of a text that follows another one."""
        tokenizer = self._lm.tokenizer
        return list(tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"])

    def written(self, text: str) -> list[int]:
        """Return the tokens of a text that follows another one, and the token that ends an answer."""
        # The end token, not a stop text: a stop text may be part of a longer token.
        return [*self.inside(text), int(self._lm.tokenizer.eos_token_id)]

    def arguments(self, args: dict[str, Any]) -> list[int]:
        """Return the tokens of the arguments of a call."""
        return self.written(write_arguments(args))

    def request(self, question: str) -> Text:
        """Return a request up to its decision position."""
        form = self._form
        kind = (
            StepKind.RUNNING if form.everywhere else StepKind.AFTER_LEAD if form.leading(question) else StepKind.OPENING
        )
        ids = self.ids(form.query(question))
        return Text(ids, [(len(ids) - 1, kind, 0)])

    def following(self, question: str, results: Sequence[str]) -> Text:
        """Return an answer that consists of results, up to the decision whether another call follows."""
        ids = self.ids(self.answered(question, results) + self._form.between)
        return Text(ids, [(len(ids) - 1, StepKind.AFTER_RESULT, len(results))])

    def answered(self, question: str, results: Sequence[str]) -> str:
        """Return a question with the results so far as its answer."""
        form = self._form
        written = "".join(form.result(one, follows_result=at > 0) for at, one in enumerate(results))
        return form.prompt(question) + form.opening + written

    def words(self, question: str, answer: str) -> Text:
        """Return an answer without calls, with the decision at its opening if it begins with the opening."""
        form, prompt = self._form, self._form.prompt(question)
        ids, opened = self.ids(f"{prompt} {answer}"), self.ids(prompt + form.opening)
        kind = StepKind.RUNNING if form.everywhere else StepKind.TEXT
        steps = [(at, kind, 0) for at in range(len(opened), len(ids))]
        if ids[: len(opened)] == opened and not form.leading(question):
            steps.insert(0, (len(opened) - 1, StepKind.RUNNING if form.everywhere else StepKind.OPENING, 0))
        return Text(ids, steps)

    def call(self, before: str, tool: str, args: dict[str, Any], decided: tuple[StepKind, int] | None = None) -> Text:
        """Return a text followed by a call, with the decision before the call if `decided` is given."""
        begun, call, written = self.ids(before), self._of[tool], self.arguments(args)
        ids = [*begun, *call]
        steps = [(at, StepKind.VIRTUAL, 0) for at in range(len(begun), len(ids) - 1)]
        steps += [(at, StepKind.ARGUMENTS, 0) for at in range(len(ids) - 1, len(ids) + len(written) - 1)]
        if decided is not None:
            steps.insert(0, (len(begun) - 1, *decided))
        return Text([*ids, *written], steps)

    def shuffled_arguments(self, one: FewShotExample, seed: int) -> Text:
        """Return a call whose arguments are shuffled tokens: even there no tool may win."""
        draw = random.Random(seed)
        ids = [*self.ids(self.before_call(one.question, ())), *self._of[one.tool]]
        words = [*self.arguments(one.args)[:-1], *self.ids(one.question)]
        draw.shuffle(words)
        words = [*self.arguments(one.args)[: draw.randrange(3)], *words[:14]]
        steps = [(at, StepKind.ARGUMENTS, 0) for at in range(len(ids) - 1, len(ids) + len(words))]
        return Text([*ids, *words], steps)

    def closing(self, question: str, results: Sequence[str]) -> Text | None:
        """Return the whole answer from results, after the token that ends a chain of calls."""
        if self._tokens.answer is None:
            return None
        begun = self.ids(self.answered(question, results) + self._form.between)
        ids, written = [*begun, *self._tokens.ended()], self.written(self.written_out(results))
        steps = [(at, StepKind.VIRTUAL, 0) for at in range(len(begun), len(ids) - 1)]
        steps += [(at, StepKind.TEXT, 0) for at in range(len(ids) - 1, len(ids) + len(written) - 1)]
        return Text([*ids, *written], steps)

    def written_out(self, results: Sequence[str]) -> str:
        """Return the whole answer from results, as the agent writes it."""
        form = self._form
        written = "".join(form.result(one, follows_result=at > 0) for at, one in enumerate(results))
        return form.opening + written + form.closing

    def decided(self, one: FewShotExample) -> tuple[StepKind, int]:
        """Return the kind of the decision before the call of a few-shot example, and the results before it."""
        if self._form.everywhere:
            return StepKind.RUNNING, 0
        if one.results:
            return StepKind.AFTER_RESULT, len(one.results)
        return StepKind.AFTER_LEAD if self._form.leading(one.question) else StepKind.OPENING, 0

    def before_call(self, question: str, results: Sequence[str]) -> str:
        """Return the text before a call."""
        if results and not self._form.everywhere:
            return self.answered(question, results) + self._form.between
        return self._form.query(question)

    def example(self, example: Example) -> Iterator[Text]:
        """Yield the texts of an example: its decisions, and its calls in the form of the checkpoint."""
        names = {name: at for at, name in enumerate(self._head.names)}
        for rendered in self._form.renderings(example):
            encoding = self._lm.encode(rendered.text)
            steps = []
            for place in decision_positions(encoding, rendered, names):
                if self._form.everywhere:
                    kind = StepKind.RUNNING
                elif place.results:
                    kind = StepKind.AFTER_RESULT
                else:
                    kind = StepKind.AFTER_LEAD if self._form.leading(example.question) else StepKind.OPENING
                steps.append((place.position, kind, place.results))
            yield Text(list(encoding.ids), steps)
        for before, call in self.calls(example):
            yield self.call(before, call.tool, call.args)
        if example.question and not self._form.everywhere and example.answer:
            words = self.words(example.question, example.answer)
            yield Text(words.ids, [step for step in words.steps if step[1] == StepKind.TEXT])

    def calls(self, example: Example) -> Iterator[tuple[str, Call]]:
        """Yield the calls of an example that have arguments, each with the text before it."""
        for rendered in self._form.renderings(example):
            for (offset, _), call in zip(rendered.calls, example.calls, strict=False):
                if call.args:
                    yield rendered.plain[:offset], call


def distinct(few_shot: Iterable[FewShotExample], most: int) -> list[FewShotExample]:
    """Return up to `most` few-shot examples, taken from all tools in turn."""
    by_tool: dict[str, list[FewShotExample]] = {}
    for one in few_shot:
        by_tool.setdefault(one.tool, []).append(one)
    found: list[FewShotExample] = []
    depth = 0
    while len(found) < most and any(len(own) > depth for own in by_tool.values()):
        found += [own[depth] for own in by_tool.values() if len(own) > depth]
        depth += 1
    return found[:most]
