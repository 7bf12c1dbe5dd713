"""What an exported checkpoint will read and write, as token ids: where calls are decided, and where none may win."""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from toolken.training.examples import Call, Demonstration, Example
from toolken.training.export.call_text import write_arguments
from toolken.training.export.tokens import ToolTokens
from toolken.training.features.decision_states import decision_positions
from toolken.training.head.toolken_head import ToolkenHead
from toolken.training.lm import FrozenLM


class StepKind(IntEnum):
    """What a step of writing is.

    At an `OPENING` and in `RUNNING` text a tool or a word comes next. At a `LED` opening, which stands behind what is
    taken back, and `FOLLOWING` a result, it is a tool or the token that ends the chain of calls. Behind these tokens
    `VIRTUAL` ones come. Everywhere else words go on: in `WORDS`, and in `ARGUMENTS`.
    """

    OPENING = 0
    RUNNING = 1
    LED = 2
    FOLLOWING = 3
    WORDS = 4
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
        `(position, kind, results)`: what comes after the token at this position, behind so many results.
    """

    ids: list[int]
    steps: list[tuple[int, StepKind, int]]


class Writer:
    """Writes texts as the checkpoint will: with a token where a call stands, and its arguments behind it.

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
        self._form = head.prompt
        self._of = {name: tokens.call(at) for at, name in enumerate(tokens.names)}

    def ids(self, text: str) -> list[int]:
        """Return the tokens of a text."""
        return list(self._lm.encode(text).ids)

    def inside(self, text: str) -> list[int]:
        """Return the tokens of a text that stands behind another one."""
        tokenizer = self._lm.tokenizer
        return list(tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"])

    def written(self, text: str) -> list[int]:
        """Return the tokens of a text that stands behind another one, with the token that ends an answer."""
        # The end token, and not the text at which answers stop: that one may be part of a longer token.
        return [*self.inside(text), int(self._lm.tokenizer.eos_token_id)]

    def arguments(self, args: dict[str, Any]) -> list[int]:
        """Return the tokens of a call's arguments."""
        return self.written(write_arguments(args))

    def request(self, question: str) -> Text:
        """Return a request up to the place where it is decided on."""
        form = self._form
        kind = StepKind.RUNNING if form.everywhere else StepKind.LED if form.leading(question) else StepKind.OPENING
        ids = self.ids(form.query(question))
        return Text(ids, [(len(ids) - 1, kind, 0)])

    def following(self, question: str, results: Sequence[str]) -> Text:
        """Return an answer of results alone up to the place where it is decided whether another call follows."""
        ids = self.ids(self.answered(question, results) + self._form.between)
        return Text(ids, [(len(ids) - 1, StepKind.FOLLOWING, len(results))])

    def answered(self, question: str, results: Sequence[str]) -> str:
        """Return a question with the answer so far."""
        form = self._form
        written = "".join(form.result(one, follows_result=at > 0) for at, one in enumerate(results))
        return form.prompt(question) + form.opening + written

    def words(self, question: str, answer: str) -> Text:
        """Return an answer in words, with what is decided at its opening where it begins with that."""
        form, prompt = self._form, self._form.prompt(question)
        ids, opened = self.ids(f"{prompt} {answer}"), self.ids(prompt + form.opening)
        kind = StepKind.RUNNING if form.everywhere else StepKind.WORDS
        steps = [(at, kind, 0) for at in range(len(opened), len(ids))]
        if ids[: len(opened)] == opened and not form.leading(question):
            steps.insert(0, (len(opened) - 1, StepKind.RUNNING if form.everywhere else StepKind.OPENING, 0))
        return Text(ids, steps)

    def call(self, before: str, tool: str, args: dict[str, Any], decided: tuple[StepKind, int] | None = None) -> Text:
        """Return a text with a call behind it, and what is decided in front of the call, if that is a step too."""
        begun, call, written = self.ids(before), self._of[tool], self.arguments(args)
        ids = [*begun, *call]
        steps = [(at, StepKind.VIRTUAL, 0) for at in range(len(begun), len(ids) - 1)]
        steps += [(at, StepKind.ARGUMENTS, 0) for at in range(len(ids) - 1, len(ids) + len(written) - 1)]
        if decided is not None:
            steps.insert(0, (len(begun) - 1, *decided))
        return Text([*ids, *written], steps)

    def garbled(self, one: Demonstration, seed: int) -> Text:
        """Return a call with words in disorder in the place of its arguments: even there no tool may win."""
        draw = random.Random(seed)
        ids = [*self.ids(self.before_call(one.question, ())), *self._of[one.tool]]
        words = [*self.arguments(one.args)[:-1], *self.ids(one.question)]
        draw.shuffle(words)
        words = [*self.arguments(one.args)[: draw.randrange(3)], *words[:14]]
        steps = [(at, StepKind.ARGUMENTS, 0) for at in range(len(ids) - 1, len(ids) + len(words))]
        return Text([*ids, *words], steps)

    def closing(self, question: str, results: Sequence[str]) -> Text | None:
        """Return an answer of results alone, written out behind the token that ends a chain of calls."""
        if self._tokens.answer is None:
            return None
        begun = self.ids(self.answered(question, results) + self._form.between)
        ids, written = [*begun, *self._tokens.ended()], self.written(self.written_out(results))
        steps = [(at, StepKind.VIRTUAL, 0) for at in range(len(begun), len(ids) - 1)]
        steps += [(at, StepKind.WORDS, 0) for at in range(len(ids) - 1, len(ids) + len(written) - 1)]
        return Text([*ids, *written], steps)

    def written_out(self, results: Sequence[str]) -> str:
        """Return the whole answer of results alone, as the agent writes it."""
        form = self._form
        written = "".join(form.result(one, follows_result=at > 0) for at, one in enumerate(results))
        return form.opening + written + form.closing

    def decided(self, one: Demonstration) -> tuple[StepKind, int]:
        """Return what is decided in front of a demonstration's call, and behind how many results."""
        if self._form.everywhere:
            return StepKind.RUNNING, 0
        if one.results:
            return StepKind.FOLLOWING, len(one.results)
        return StepKind.LED if self._form.leading(one.question) else StepKind.OPENING, 0

    def before_call(self, question: str, results: Sequence[str]) -> str:
        """Return the text behind which a call stands."""
        if results and not self._form.everywhere:
            return self.answered(question, results) + self._form.between
        return self._form.query(question)

    def example(self, example: Example) -> Iterator[Text]:
        """Yield the texts of an example: what is decided in it, and its calls as the checkpoint writes them."""
        names = {name: at for at, name in enumerate(self._head.names)}
        for rendered in self._form.renderings(example):
            encoding = self._lm.encode(rendered.text)
            steps = []
            for place in decision_positions(encoding, rendered, names):
                if self._form.everywhere:
                    kind = StepKind.RUNNING
                elif place.results:
                    kind = StepKind.FOLLOWING
                else:
                    kind = StepKind.LED if self._form.leading(example.question) else StepKind.OPENING
                steps.append((place.position, kind, place.results))
            yield Text(list(encoding.ids), steps)
        for before, call in self.calls(example):
            yield self.call(before, call.tool, call.args)
        if example.question and not self._form.everywhere and example.answer:
            words = self.words(example.question, example.answer)
            yield Text(words.ids, [step for step in words.steps if step[1] == StepKind.WORDS])

    def calls(self, example: Example) -> Iterator[tuple[str, Call]]:
        """Yield an example's calls that have arguments, each with the text that it stands behind."""
        for rendered in self._form.renderings(example):
            for (offset, _), call in zip(rendered.calls, example.calls, strict=False):
                if call.args:
                    yield rendered.text[:offset], call


def distinct(demonstrations: Iterable[Demonstration], most: int) -> list[Demonstration]:
    """Return up to so many demonstrations, of all tools in turn."""
    by_tool: dict[str, list[Demonstration]] = {}
    for one in demonstrations:
        by_tool.setdefault(one.tool, []).append(one)
    found: list[Demonstration] = []
    depth = 0
    while len(found) < most and any(len(own) > depth for own in by_tool.values()):
        found += [own[depth] for own in by_tool.values() if len(own) > depth]
        depth += 1
    return found[:most]
