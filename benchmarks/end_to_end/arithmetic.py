"""`Sums`: arithmetic data sets end to end with the calculator, shared by GSM8K-XL and FuncQA."""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import torch
from langchain_core.tools import BaseTool

from toolken.agents.number_habits import NumberHabits
from toolken.benchmarks.end_to_end.run import Options
from toolken.benchmarks.end_to_end.solved_examples import described, solved
from toolken.benchmarks.end_to_end.sum_examples import calls_alone, in_one_line
from toolken.benchmarks.end_to_end.sum_scores import STAGES, score
from toolken.benchmarks.end_to_end.trials import (
    Answerer,
    Question,
    Test,
    Trial,
    TrialSettings,
    dev_sample,
    head_hashes,
)
from toolken.benchmarks.methods import prompting as baselines
from toolken.benchmarks.methods.one_entry_cache import OneEntryCache
from toolken.benchmarks.methods.prompting import Dialogue, dialogue_answerer
from toolken.benchmarks.methods.toolkens import (
    PUBLISHED,
    AnswerCache,
    published_head,
    retriever_answerer,
    toolken_answerer,
    training_tokens,
    with_threshold,
)
from toolken.tools.calculator import calculator_tools
from toolken.tools.calculator.errors import CalculationError
from toolken.tools.calculator.tools import keyword_arguments
from toolken.training.estimation.gate import best_threshold
from toolken.training.examples import Example
from toolken.training.features.decision_states import NO_CALL, DecisionStates, decisions
from toolken.training.features.feature_cache import FeatureCache
from toolken.training.fit import fit
from toolken.training.head.toolken_head import ToolkenHead
from toolken.training.lm import FrozenLM
from toolken.training.prompts.prompt_format import PromptFormat
from toolken.training.tool_spec import ToolSpec

NO_TOOLS = ("zero-shot", "chain-of-thought")
METHODS = ("toolken", *PUBLISHED, "retriever", *NO_TOOLS, "in-context", "react", "chat-template")

THRESHOLDS = (0.5, 0.3, 0.7)
#: Dev solutions to choose the threshold on in running text, and the candidates.
DEV_TEXTS, TEXT_THRESHOLDS = 100, tuple(round(0.2 + 0.05 * step, 2) for step in range(13))
#: Few-shot examples in a prompt.
SHOWN = (4, 8)
#: Token limits of an answer without reasoning, of one with reasoning, and between two calls.
ANSWER_TOKENS, REASONING_TOKENS, THOUGHT_TOKENS = 16, 160, 96
#: Token limit of each prompted method between two calls.
MAX_TOKENS = {
    "zero-shot": ANSWER_TOKENS,
    "chain-of-thought": REASONING_TOKENS,
    "in-context": THOUGHT_TOKENS,
    "react": THOUGHT_TOKENS,
    "chat-template": REASONING_TOKENS,
}
MAX_CALLS = 8
#: Without running text, the operation is decided after the first number of the question.
CALLS_ALONE = PromptFormat(lead="number")
#: Few-shot examples before running text.
TEXT_SHOWN = 4


@dataclass
class Sums:
    """A data set of arithmetic questions.

    Attributes
    ----------
    benchmark
        Name of the data set.
    lm, options
        The LM and the options of the run.
    names
        Names of its tools, which are operations of the calculator.
    solutions
        Training examples in running text, with calls at their results and operands named "0", "1" and so on.
    tests
        Test questions by split.
    dev
        Questions to choose settings on, by test split.
    dev_texts
        Further solutions, on one line, to choose thresholds on, by test split.
    finals
        Final answer of each solution.
    chains
        Further examples, without running text.
    reasoned
        Whether answers are running text with calls at their results; otherwise they are calls alone.
    """

    benchmark: str
    lm: FrozenLM
    options: Options
    names: Sequence[str]
    solutions: list[Example]
    finals: list[str]
    tests: dict[str, list[Question]]
    dev: dict[str, list[Question]]
    dev_texts: dict[str, list[Example]] = field(default_factory=dict)
    chains: list[Example] = field(default_factory=list)
    reasoned: bool = False
    _published: OneEntryCache = field(default_factory=OneEntryCache)
    _answers: OneEntryCache = field(default_factory=OneEntryCache)

    @cached_property
    def tools(self) -> list[BaseTool]:
        """The calculator's tools that occur in the data set."""
        return [tool for tool in calculator_tools("operations") if tool.name in self.names]

    @cached_property
    def specs(self) -> list[ToolSpec]:
        """Specifications of the tools."""
        return [ToolSpec.of(tool) for tool in self.tools]

    @cached_property
    def prompt(self) -> PromptFormat:
        """The format of questions and answers."""
        if not self.reasoned:
            return CALLS_ALONE
        shown = self._dialogue("chain-of-thought", TEXT_SHOWN)
        return PromptFormat(preamble=shown.beginning, opening="", everywhere=True, stop=shown.stop)

    @cached_property
    def examples(self) -> list[Example]:
        """The solutions in running text, or as questions with calls alone, and the generated chains."""
        if self.reasoned:
            lines = [in_one_line(one, final) for one, final in zip(self.solutions, self.finals, strict=True)]
            return [one for one in lines if one is not None]
        alone = [calls_alone(one) for one in self.solutions]
        return [*(one for one in alone if one is not None), *self.chains]

    @cached_property
    def head(self) -> ToolkenHead:
        """The fitted head, from which all methods that decode with toolkens start."""
        cache = FeatureCache(self.lm)
        return fit(self.lm, self.tools, self.examples, prompt=self.prompt, cache=cache, progress=self.options.progress)

    @property
    def _tokens_each(self) -> int:
        """Approximate tokens of the feature pass per example; running text has arguments and more decisions."""
        return 230 if self.reasoned else 100

    def trials(self) -> list[Trial]:
        """Return the trials of all splits and methods."""
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
        chosen = dev_sample(self.dev.get(split, []), limit)
        dev = Test(self.benchmark, f"dev of {split}", len(self.names), chosen, score, STAGES) if chosen else None
        if method in ("toolken", *PUBLISHED):
            texts = self.dev_texts.get(split, [])[:DEV_TEXTS] if self.reasoned else []
            return [
                Trial(
                    test,
                    method,
                    partial(self._toolkens, method, seed),
                    tuple({"threshold": one} for one in (TEXT_THRESHOLDS if texts else THRESHOLDS)),
                    None if texts else dev,
                    {
                        "max_calls": MAX_CALLS,
                        **head_hashes(self.specs, self.examples),
                        "prompt": self.prompt.fingerprint,
                        # Traces of a threshold chosen on other texts must not be resumed.
                        **({"dev texts": head_hashes(self.specs, texts)} if texts else {}),
                    },
                    None,
                    seed,
                    prompt_tokens=800,
                    read_tokens=500,
                    # Running text generates tokens between the calls, with a decision at each: an attempt takes
                    # about as long as this many tokens.
                    written_tokens=640 if self.prompt.everywhere else 40,
                    fit_tokens=self._tokens_each * (len(self.examples) + len(texts)),
                    fit_key="head",
                    prompt=self.prompt,
                    train_tokens=training_tokens(method, self.benchmark, len(self.examples)),
                    choose=partial(self._firing_threshold, method, seed, texts) if texts else None,
                )
                for seed in range(1 if method == "toolken" else self.options.seeds)
            ]
        if method == "retriever":
            if self.options.encoder is None:
                return []
            data = head_hashes(self.specs, self.examples)
            return [
                Trial(
                    test,
                    method,
                    self._retriever,
                    identity=data,
                    prompt_tokens=800,
                    read_tokens=250,
                    written_tokens=80,
                    fit_tokens=self._tokens_each * len(self.examples),
                    fit_key="head",
                    prompt=self.prompt,
                )
            ]
        if method == "chat-template" and not baselines.has_tool_template(self.lm):
            return []
        return [self._prompted(method, test, dev)]

    def _trained(self, method: str, seed: int) -> ToolkenHead:
        if method not in PUBLISHED:
            return self.head
        train = partial(published_head, self.lm, self.head, method, self.benchmark, self.examples, seed=seed)
        head: ToolkenHead = self._published.get((method, seed), train)
        return head

    def _firing_threshold(self, method: str, seed: int, texts: Sequence[Example]) -> TrialSettings:
        """Return the threshold with the best F1 of call decisions on the dev solutions.

        Final answers are less informative: a small model gets few of them right at any threshold.
        """
        head, cache = self._trained(method, seed), FeatureCache(self.lm)
        batches = decisions(self.lm, head.prompt, texts, head.names, cache=cache, skipped=lambda *_: None)
        points = DecisionStates.join([DecisionStates.none(self.lm.hidden_size), *batches])
        probabilities = torch.sigmoid(head.gate.log_odds(points.hidden.double(), results=points.results))
        calls, weights = points.labels != NO_CALL, torch.ones(len(points.labels), dtype=torch.float64)
        tried = torch.tensor(TEXT_THRESHOLDS, dtype=torch.float64)
        best = best_threshold(probabilities, calls, weights, tried)
        return {"threshold": min(TEXT_THRESHOLDS, key=lambda one: abs(one - best))}

    def _toolkens(self, method: str, seed: int, settings: TrialSettings) -> Answerer:
        head = with_threshold(self._trained(method, seed), float(settings["threshold"]))
        cache = self._answers.get((method, seed), AnswerCache)
        return toolken_answerer(
            self.lm,
            head,
            self.tools,
            max_calls=MAX_CALLS,
            max_tokens=REASONING_TOKENS,
            cache=cache,
            copy_rule=NumberHabits.of_head(head),
        )

    def _retriever(self, settings: TrialSettings) -> Answerer:
        assert self.options.encoder is not None
        return retriever_answerer(self.lm, self.head, self.tools, self.options.encoder)

    def _prompted(self, method: str, test: Test, dev: Test | None) -> Trial:
        dialogues = {shown: self._dialogue(method, shown) for shown in SHOWN}
        if method in ("zero-shot", "chat-template"):
            dialogues = {0: self._dialogue(method, 0)}
        longest = max(len(self.lm.encode(one.beginning).ids) for one in dialogues.values())

        def build(settings: TrialSettings) -> Answerer:
            tools = [] if method in NO_TOOLS else self.tools
            read = baselines.read_json if method == "chat-template" else read_operands
            return dialogue_answerer(self.lm, dialogues[int(settings["demonstrations"])], tools, read)

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
        # Short solutions, cycling through the first tools, so that every operation occurs.
        order = sorted(range(len(self.solutions)), key=lambda at: len(self.solutions[at].answer or ""))
        order = [at for at in order if self.solutions[at].calls][: len(order) // 2]
        random.Random(0).shuffle(order)
        chosen: dict[tuple[str, int], int] = {}
        for at in order:
            name = self.solutions[at].calls[0].tool
            rank = sum(one[0] == name for one in chosen)
            chosen[name, rank] = at
        best = [chosen[key] for key in sorted(chosen, key=lambda one: one[1])][:shown]
        few_shot = [solved(self.solutions[at], self.finals[at]) for at in best]
        tools = described(self.specs, {spec.name: ", ".join(_operands(spec)) for spec in self.specs})
        schemas = [{"type": "function", "function": spec.model_dump()} for spec in self.specs]
        return baselines.dialogue_of(method, self.lm, tools, few_shot, schemas, MAX_TOKENS)


def read_operands(tool: str, text: str) -> dict[str, Any]:
    """Parse the text between the brackets of a call.

    Raises
    ------
    ValueError
        If they are not operands of the tool.
    """
    values = [part.strip() for part in text.replace("*", ",").split(",") if part.strip()]
    try:
        return keyword_arguments(tool, values)
    except CalculationError as error:
        raise ValueError(str(error)) from error


def _operands(spec: ToolSpec) -> list[str]:
    names = list(spec.arguments)
    return (
        ["number", "number"]
        if names == ["numbers"]
        else [name for name in names if "default" not in json.dumps(spec.arguments[name])]
    )
