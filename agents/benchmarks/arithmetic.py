"""Arithmetic questions from the question to the final answer, with the calculator: what GSM8K-XL and FuncQA share."""

import json
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, Literal

from langchain_core.tools import BaseTool

from toolken.agents.benchmarks import baselines
from toolken.agents.benchmarks.baselines import Dialogue, written
from toolken.agents.benchmarks.demonstrated import described, solved
from toolken.agents.benchmarks.end_to_end import Options
from toolken.agents.benchmarks.numbers_named import NumberNotes, flat, last_number, number
from toolken.agents.benchmarks.toolkens import (
    PUBLISHED,
    Answered,
    Latest,
    decoded,
    published_head,
    retrieved,
    with_threshold,
)
from toolken.agents.benchmarks.traces import Attempt, Piece
from toolken.agents.benchmarks.trials import Answerer, Question, Settings, Test, Trial
from toolken.agents.numerals import numbers_in
from toolken.tools.calculator import calculator_tools
from toolken.tools.calculator.errors import CalculationError
from toolken.tools.calculator.tools import keyword_arguments
from toolken.training.examples import Call, Example
from toolken.training.feature_cache import FeatureCache
from toolken.training.fit import fit
from toolken.training.head import ToolkenHead
from toolken.training.lm import FrozenLM
from toolken.training.prompt import PromptFormat
from toolken.training.tool_spec import ToolSpec

NO_TOOLS = ("zero-shot", "chain-of-thought")
METHODS = ("toolken", *PUBLISHED, "retriever", *NO_TOOLS, "in-context", "react", "chat-template")

#: Questions that settings are chosen on, where there are so many.
DEV_QUESTIONS = 24
THRESHOLDS = (0.5, 0.3, 0.7)
#: Demonstrations in a prompt.
SHOWN = (4, 8)
#: Tokens of an answer without reasoning, of one with it, and between two calls.
ANSWER_TOKENS, REASONING_TOKENS, THOUGHT_TOKENS = 16, 160, 96
MAX_CALLS = 8
STAGES = ("call", "tools", "arguments", "execution", "answer, strict", "answer")
#: Where calls alone answer, an operation is decided on behind the first number of the question.
CALLS_ALONE = PromptFormat(lead="number")
#: Demonstrations in front of running text.
IN_FRONT = 4
#: Operations whose operands may stand in any order.
COMMUTATIVE = ("add", "multiply", "lcm", "gcd")

Rule = Literal["two decimals", "0.1 %"]


@dataclass(frozen=True)
class Sum:
    """What answers a question.

    Attributes
    ----------
    answer
        The right answer as it is published.
    rule
        When a number counts as it: equal after rounding to two decimals, or within 0.1 %.
    calls
        Tools with their operands, of one right way; None where it is not known.
    """

    answer: str
    rule: Rule
    calls: tuple[tuple[str, tuple[float, ...]], ...] | None = None


@dataclass
class Sums:
    """A data set of arithmetic questions.

    Attributes
    ----------
    benchmark
        Its name.
    lm, options
        What it is run with.
    names
        Its tools, operations of the calculator.
    solutions
        Training examples in words, with calls at their results; operands under "0", "1" and so on.
    tests
        Test questions by split.
    dev
        Questions to choose settings on, by the split that they are for.
    finals
        Final answer of each solution.
    chains
        Further examples, of calls alone.
    reasoned
        Whether a question is answered in running text, in which tools are called at their results; otherwise calls
        alone answer it.
    """

    benchmark: str
    lm: FrozenLM
    options: Options
    names: Sequence[str]
    solutions: list[Example]
    finals: list[str]
    tests: dict[str, list[Question]]
    dev: dict[str, list[Question]]
    chains: list[Example] = field(default_factory=list)
    reasoned: bool = False
    _published: Latest = field(default_factory=Latest)
    _answered: Latest = field(default_factory=Latest)

    @cached_property
    def tools(self) -> list[BaseTool]:
        """The calculator's tools that the data set has."""
        return [tool for tool in calculator_tools("operations") if tool.name in self.names]

    @cached_property
    def specs(self) -> list[ToolSpec]:
        """What is known of the tools."""
        return [ToolSpec.of(tool) for tool in self.tools]

    @cached_property
    def notes(self) -> Callable[[str], str]:
        """Notes of the numbers that questions name, as the training questions need them; none in running text."""
        return str.strip if self.reasoned else NumberNotes.learned([*self.solutions, *self.chains])

    @cached_property
    def prompt(self) -> PromptFormat:
        """The wording of questions and answers."""
        if not self.reasoned:
            return CALLS_ALONE
        shown = self._dialogue("chain-of-thought", IN_FRONT)
        return PromptFormat(preamble=shown.beginning, opening="", everywhere=True, stop=shown.stop)

    @cached_property
    def examples(self) -> list[Example]:
        """The solutions in running text, or as questions with calls alone, and the generated chains."""
        if self.reasoned:
            told = [in_one_line(one, final) for one, final in zip(self.solutions, self.finals, strict=True)]
            return [one for one in told if one is not None]
        alone = [calls_alone(one, self.notes) for one in self.solutions]
        noted = [one.model_copy(update={"question": self.notes(one.question)}) for one in self.chains]
        return [*(one for one in alone if one is not None), *noted]

    @cached_property
    def head(self) -> ToolkenHead:
        """The head that all methods in the decoder begin with."""
        cache = FeatureCache(self.lm)
        return fit(self.lm, self.tools, self.examples, prompt=self.prompt, cache=cache, progress=self.options.progress)

    def trials(self) -> list[Trial]:
        """Return a trial for each split and method."""
        return [
            trial
            for split in self.tests
            for method in METHODS
            if self.options.wants(method)
            for trial in self._trials(method, split)
        ]

    def _trials(self, method: str, split: str) -> list[Trial]:
        limit = self.options.limit
        test = Test(self.benchmark, split, len(self.names), self.tests[split][:limit], score, STAGES)
        chosen = self.dev.get(split, [])
        if chosen:
            chosen = random.Random(0).sample(chosen, min(limit or DEV_QUESTIONS, DEV_QUESTIONS, len(chosen)))
        dev = Test(self.benchmark, f"dev of {split}", len(self.names), chosen, score, STAGES) if chosen else None
        if method in ("toolken", *PUBLISHED):
            return [
                Trial(
                    test,
                    method,
                    partial(self._toolkens, method, seed),
                    tuple({"threshold": one} for one in THRESHOLDS),
                    dev,
                    {
                        "max_calls": MAX_CALLS,
                        "examples": len(self.examples),
                        "prompt": self.prompt.fingerprint,
                        "notes": sorted(map(str, getattr(self.notes, "counts", {}).items())),
                    },
                    None,
                    seed,
                    prompt_tokens=800,
                    read_tokens=500,
                    written_tokens=40,
                    fit_tokens=90 * len(self.examples),
                )
                for seed in range(1 if method == "toolken" else self.options.seeds)
            ]
        if method == "retriever":
            if self.options.encoder is None:
                return []
            return [Trial(test, method, self._retriever, prompt_tokens=800, read_tokens=250, written_tokens=80)]
        if method == "chat-template" and not baselines.has_tool_template(self.lm):
            return []
        return [self._prompted(method, test, dev)]

    def _toolkens(self, method: str, seed: int, settings: Settings) -> Answerer:
        head = self.head
        if method in PUBLISHED:
            train = partial(published_head, self.lm, head, method, self.benchmark, self.examples, seed=seed)
            head = self._published.get((method, seed), train)
        head = with_threshold(head, float(settings["threshold"]))
        answered = self._answered.get((method, seed), Answered)
        return decoded(
            self.lm,
            head,
            self.tools,
            max_calls=MAX_CALLS,
            max_tokens=REASONING_TOKENS,
            asked=self.notes,
            answered=answered,
        )

    def _retriever(self, settings: Settings) -> Answerer:
        assert self.options.encoder is not None
        return retrieved(self.lm, self.head, self.tools, self.options.encoder, asked=self.notes)

    def _prompted(self, method: str, test: Test, dev: Test | None) -> Trial:
        dialogues = {shown: self._dialogue(method, shown) for shown in SHOWN}
        if method in ("zero-shot", "chat-template"):
            dialogues = {0: self._dialogue(method, 0)}
        longest = max(len(self.lm.encode(one.beginning).ids) for one in dialogues.values())

        def build(settings: Settings) -> Answerer:
            tools = [] if method in NO_TOOLS else self.tools
            read = baselines.read_json if method == "chat-template" else read_operands
            return written(self.lm, dialogues[int(settings["demonstrations"])], tools, read)

        return Trial(
            test,
            method,
            build,
            tuple({"demonstrations": shown} for shown in dialogues),
            dev,
            {"beginning": [one.beginning for one in dialogues.values()]},
            prompt_tokens=longest + 200 + 3 * THOUGHT_TOKENS,
            read_tokens=80 if method in NO_TOOLS else 200,
            written_tokens=ANSWER_TOKENS if method == "zero-shot" else REASONING_TOKENS,
            fit_tokens=longest,
        )

    def _dialogue(self, method: str, shown: int) -> Dialogue:
        # One of each first tool in turn, short ones, so that no operation is unheard of.
        order = sorted(range(len(self.solutions)), key=lambda at: len(self.solutions[at].answer or ""))
        order = [at for at in order if self.solutions[at].calls][: len(order) // 2]
        random.Random(0).shuffle(order)
        chosen: dict[tuple[str, int], int] = {}
        for at in order:
            name = self.solutions[at].calls[0].tool
            rank = sum(one[0] == name for one in chosen)
            chosen[name, rank] = at
        best = [chosen[key] for key in sorted(chosen, key=lambda one: one[1])][:shown]
        demonstrations = [solved(self.solutions[at], self.finals[at]) for at in best]
        tools = described(self.specs, {spec.name: ", ".join(_operands(spec)) for spec in self.specs})
        match method:
            case "zero-shot":
                return baselines.zero_shot(self.lm, " The answer is", max_tokens=ANSWER_TOKENS)
            case "chain-of-thought":
                return baselines.chain_of_thought(demonstrations, max_tokens=REASONING_TOKENS)
            case "in-context":
                return baselines.in_context(tools, demonstrations, max_tokens=THOUGHT_TOKENS)
            case "react":
                return baselines.react(tools, demonstrations, max_tokens=THOUGHT_TOKENS)
            case _:
                schemas = [{"type": "function", "function": spec.model_dump()} for spec in self.specs]
                return baselines.chat_template(self.lm, schemas, max_tokens=REASONING_TOKENS)


def calls_alone(example: Example, notes: Callable[[str], str]) -> Example | None:
    """Return a solution as its question with a note of named numbers, and its calls alone.

    None where an operand stands neither in the question with its note nor in an earlier result: such a call cannot be
    copied together, and would teach to make numbers up.
    """
    question = notes(example.question)
    known = {number(one.strip('"')) for one in numbers_in(question)}
    calls: list[Call] = []
    for call in example.calls:
        operands = [number(value) for value in call.args.values()]
        if None in operands or not set(operands) <= known:
            return None
        try:
            args = keyword_arguments(call.tool, [_literal(one) for one in operands if one is not None])
        except CalculationError:
            return None
        calls.append(Call(tool=call.tool, args=args, result=call.result))
        known.add(number(call.result))
    return Example(question=question, calls=tuple(calls)) if calls and example.question else None


def in_one_line(example: Example, final: str) -> Example | None:
    """Return a solution in one line that ends in its final answer, with its calls where their results stand.

    None where the operands of a call are not those of its tool.
    """
    body = (example.answer or "").partition("####")[0]
    calls = []
    for call in example.calls:
        operands = [number(value) for value in call.args.values()]
        if call.start is None or call.start + len(call.result) > len(body) or None in operands:
            return None
        try:
            args = keyword_arguments(call.tool, [_literal(one) for one in operands if one is not None])
        except CalculationError:
            return None
        calls.append(call.model_copy(update={"args": args}))
    # White space is replaced character by character: the places of the results stay.
    answer = re.sub(r"\s", " ", body).rstrip() + f" The answer is {final}."
    return Example(question=example.question, answer=answer, calls=tuple(calls)) if calls else None


def read_operands(tool: str, text: str) -> dict[str, Any]:
    """Read what stands between the brackets of a call.

    Raises
    ------
    ValueError
        If these are not the operands of the tool.
    """
    values = [part.strip() for part in text.replace("*", ",").split(",") if part.strip()]
    try:
        return keyword_arguments(tool, values)
    except CalculationError as error:
        raise ValueError(str(error)) from error


def sum_question(at: int, question: str, answer: str, rule: Rule, example: Example | None = None) -> Question:
    """Return a question of a test; `example` is one right way to its answer."""
    calls = None
    if example is not None:
        read = [(call.tool, tuple(number(v) for v in call.args.values())) for call in example.calls]
        if all(None not in operands for _, operands in read):
            calls = tuple((tool, tuple(v for v in operands if v is not None)) for tool, operands in read)
    shown = " ".join(f"{tool}({', '.join(f'{v:g}' for v in operands)})" for tool, operands in calls or ())
    return Question(at, question, f"{answer}  {shown}".strip(), Sum(answer, rule, calls))


def score(question: Question, attempt: Attempt) -> dict[str, float]:
    """Score an attempt.

    Returns
    -------
    dict
        call: whether any tool was called. tools, arguments: whether tools, and operands as well, are those of the
        known way; there may be others. execution: whether every call had a result. "answer" is the published rule:
        equal after rounding to two decimals, or for multi-hop questions within 0.1 %. "answer, strict": all published
        digits are right.
    """
    known: Sum = question.reference
    calls = attempt.calls
    found = last_number(attempt.answer)
    scores: dict[str, float] = {"call": float(bool(calls))}
    if known.calls is not None:
        tools = [call.tool for call in calls] == [tool for tool, _ in known.calls]
        right = tools and all(_same(call, operands) for call, (_, operands) in zip(calls, known.calls, strict=True))
        scores |= {"tools": float(tools), "arguments": float(right)}
    scores["execution"] = float(bool(calls) and not any(call.failed for call in calls))
    return scores | {
        "answer, strict": float(found is not None and is_exact(found, known.answer)),
        "answer": float(found is not None and is_right(found, known.answer, known.rule)),
    }


def is_right(found: float, answer: str, rule: Rule) -> bool:
    """Tell whether a number is the answer by the published rule."""
    wanted = number(answer)
    if wanted is None:
        return False
    if rule == "two decimals":
        return round(found, 2) == round(wanted, 2)
    return abs(found - wanted) <= 0.001 * abs(wanted)


def is_exact(found: float, answer: str) -> bool:
    """Tell whether a number, rounded to the digits of the published answer, is the answer."""
    wanted = number(answer)
    places = len(answer.partition(".")[2].rstrip("0"))
    return wanted is not None and abs(found - wanted) <= 0.5 * 10**-places + 1e-9 * abs(wanted)


def _same(call: Piece, operands: Sequence[float]) -> bool:
    mine = [number(value) for value in flat(call.arguments.values())]
    if call.tool in COMMUTATIVE:
        return sorted(v for v in mine if v is not None) == sorted(operands) and None not in mine
    return mine == list(operands)


def _literal(value: float) -> int | float:
    return int(value) if value == int(value) and abs(value) < 1e15 else value


def _operands(spec: ToolSpec) -> list[str]:
    names = list(spec.arguments)
    return (
        ["number", "number"]
        if names == ["numbers"]
        else [name for name in names if "default" not in json.dumps(spec.arguments[name])]
    )
