"""KAMEL from the question to the final answer: each relation a tool, the facts in the knowledge base."""

import random
import re
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from langchain_core.tools import BaseTool

from toolken.benchmarks.end_to_end.run import Options
from toolken.benchmarks.end_to_end.solved_examples import Solved, described, solved
from toolken.benchmarks.end_to_end.tool_labels import Readable
from toolken.benchmarks.end_to_end.traces import Attempt
from toolken.benchmarks.end_to_end.trials import (
    Answerer,
    Question,
    Test,
    Trial,
    TrialSettings,
    digest,
    read_questions,
    told,
)
from toolken.benchmarks.methods import prompting as baselines
from toolken.benchmarks.methods.prompting import Dialogue, dialogue_answerer
from toolken.benchmarks.methods.toolkens import (
    PUBLISHED,
    AnswerCache,
    OneEntryCache,
    published_head,
    retriever_answerer,
    toolken_answerer,
    training_tokens,
    with_threshold,
)
from toolken.benchmarks.selection.sampling import draw
from toolken.benchmarks.sets.data_files import IN_TEST, UNKNOWN_TOOL, DataFolder, UnusableRecordError
from toolken.benchmarks.sets.dataset import Dataset
from toolken.benchmarks.sets.kamel import TEST
from toolken.benchmarks.sets.kamel import read_kamel as read_dataset
from toolken.errors import DataFormatError
from toolken.tools.knowledge import KnowledgeBase, read_kamel
from toolken.tools.knowledge.names import fold
from toolken.training.examples import Example
from toolken.training.features.feature_cache import FeatureCache
from toolken.training.fit import fit
from toolken.training.head.toolken_head import ToolkenHead
from toolken.training.lm import FrozenLM
from toolken.training.prompts.prompt_format import PromptFormat

NO_TOOLS = ("zero-shot", "few-shot")
IN_PROMPT = ("in-context", "react", "chat-template")
METHODS = ("toolken", *PUBLISHED, "retriever", *NO_TOOLS, *IN_PROMPT)

#: Training examples of each tool, and numbers of tools of the tests, of the whole comparison; the others are there for
#: the project's own method and the tools in the prompt alone.
EXAMPLES, SIZES = 40, (30, 234)
#: Questions that settings are chosen on.
DEV_QUESTIONS = 24
#: Probabilities from which on a tool is called; the first of equals is taken.
THRESHOLDS = (0.5, 0.05)
#: Demonstrations in a prompt.
SHOWN = (4, 8)
#: Tokens of an answer without tools, and of a call.
ANSWER_TOKENS, CALL_TOKENS, THOUGHT_TOKENS = 24, 32, 64
#: Calls of a question: the second one for where the first tool has nothing under the name.
MAX_CALLS = 2
STAGES = ("call", "tool", "arguments", "execution", "answer, any", "answer")
TEMPLATES = "facts/question-templates.csv"


@dataclass(frozen=True)
class Fact:
    """What answers a question.

    Attributes
    ----------
    tool
        Its relation.
    subject
        What the question is about.
    objects
        The right answers, each with all its names.
    """

    tool: str
    subject: str
    objects: tuple[tuple[str, ...], ...]


def trials(lm: FrozenLM, folder: Path, options: Options) -> list[Trial]:
    """Return the trials: tests of 10 to 234 tools, supervised and synthetic training data."""
    data = _Data(lm, folder, options)
    sizes = sorted(data.tests)
    compared = [size for size in sizes if size in SIZES] or sizes
    found: list[Trial] = []
    for size in sizes:
        for method in (one for one in METHODS if options.wants(one)):
            if size not in compared and method not in ("toolken", "in-context"):
                continue
            found += data.trials(method, size, "supervised", size == max(sizes))
    for size in compared:
        for method in ("toolken", *PUBLISHED):
            if options.wants(method) and "synthetic" in data.dataset.train:
                found += data.trials(method, size, "synthetic", False)
    return found


class _Data:
    """The published files, read once, and what is made of them when it is first needed."""

    def __init__(self, lm: FrozenLM, folder: Path, options: Options) -> None:
        self.lm, self.folder, self.options = lm, folder, options
        self.dataset: Dataset = read_dataset(folder)
        files = DataFolder("kamel", folder)
        facts = _facts(files)
        self.tests: dict[int, list[Question]] = {}
        for name in self.dataset.tests:
            size = int(name)
            # A test of more tools than there are is one of all of them.
            named = [(int(found[1]), file.name) for file in folder.iterdir() if (found := TEST.fullmatch(file.name))]
            file = next(one for count, one in sorted(named) if min(count, len(self.dataset.specs)) == size)
            tools = {spec.name for spec in self.dataset.specs[:size]}
            make = partial(_test_question, facts=facts, tools=tools)
            self.tests[size] = read_questions(files, file, make, options.limit)
        self._dev_facts = _dev_questions(files, {q.text for questions in self.tests.values() for q in questions})
        self._heads, self._published, self._answers = OneEntryCache(), OneEntryCache(), OneEntryCache()

    @cached_property
    def tools(self) -> list[BaseTool]:
        """The knowledge base's tools in the order of their ids."""
        relations, triples = read_kamel(self.folder)
        base = KnowledgeBase()
        base.load(triples, relations)
        return base.tools()

    def some_tools(self, size: int) -> list[BaseTool]:
        """Return the first tools."""
        by_name = {tool.name: tool for tool in self.tools}
        return [by_name[spec.name] for spec in self.dataset.specs[:size]]

    def test(self, size: int, kind: str) -> Test:
        """Return a test."""
        return Test("kamel", kind, size, self.tests[size], score, STAGES)

    def dev(self, size: int) -> Test | None:
        """Return questions on other facts, made from the published templates."""
        names = {spec.name for spec in self.dataset.specs[:size]}
        chosen = [one for one in self._dev_facts if one.reference.tool in names]
        chosen = random.Random(0).sample(chosen, min(DEV_QUESTIONS, self.options.limit or DEV_QUESTIONS, len(chosen)))
        return Test("kamel", "dev", size, chosen, score, STAGES) if chosen else None

    def examples(self, size: int, kind: str, k: int | None, seed: int) -> list[Example]:
        """Draw training examples of some tools; arguments are named as the tools name them.

        It is drawn among those of all tools: a smaller test's are some of a larger one's, and the LM reads them once.
        """
        names = {spec.name for spec in self.dataset.specs[:size]}
        train = self.dataset.train.get(kind, [])
        drawn = [train[at] for at in draw(train, k, seed, by_problem=False)]
        return [_named(one) for one in drawn if {call.tool for call in one.calls} <= names]

    def head(self, size: int, kind: str, k: int | None, seed: int) -> ToolkenHead:
        """Fit a head; the last one is kept."""

        def make() -> ToolkenHead:
            examples = self.examples(size, kind, k, seed)
            cache, progress = FeatureCache(self.lm), self.options.progress
            return fit(self.lm, self.some_tools(size), examples, cache=cache, progress=progress)

        return self._heads.get((size, kind, k, seed), make)

    def trials(self, method: str, size: int, kind: str, curve: bool) -> list[Trial]:
        """Return the trials of a method on a test: one, or one a number of examples and a seed."""
        dev = self.dev(size)
        counts: tuple[int | None, ...] = (EXAMPLES,)
        if kind == "synthetic":
            counts = (None,)
        elif method == "toolken" and curve:
            counts = self.options.examples or (EXAMPLES, 5, 1, 0)
        elif self.options.examples is not None:
            counts = tuple(k for k in self.options.examples if k != 0)[:1] or (EXAMPLES,)
        test = self.test(size, kind)
        if kind not in self.dataset.train:
            counts = tuple(0 for _ in counts[:1]) if method == "toolken" else ()
        if method in ("toolken", *PUBLISHED):
            return [
                Trial(
                    test,
                    method,
                    partial(self._toolkens, method, size, kind, k, seed),
                    tuple({"threshold": one} for one in THRESHOLDS),
                    dev,
                    {"max_calls": MAX_CALLS} | self._data(size, kind, k, seed),
                    k,
                    seed,
                    prompt_tokens=600,
                    read_tokens=170,
                    written_tokens=12,
                    fit_tokens=_fit_tokens(size, k),
                    fit_key=(kind, k, seed),
                    prompt=PromptFormat(),
                    train_tokens=training_tokens(method, "kamel", len(self.examples(size, kind, k, seed))),
                )
                for k in counts
                if k != 0 or method not in PUBLISHED
                for seed in range(self.options.seeds if k else 1)
            ]
        if method == "retriever" and (self.options.encoder is None or "supervised" not in self.dataset.train):
            return []
        if method == "chat-template" and not baselines.has_tool_template(self.lm):
            return []
        if method == "retriever":
            build = partial(self._retriever, size)
            data = self._data(size, "supervised", EXAMPLES, 0)
            return [
                Trial(
                    test,
                    method,
                    build,
                    identity=data,
                    prompt_tokens=600,
                    read_tokens=170,
                    written_tokens=80,
                    fit_tokens=_fit_tokens(size, EXAMPLES),
                    fit_key=("supervised", EXAMPLES, 0),
                    prompt=PromptFormat(),
                )
            ]
        return [self._prompted(method, size, test, dev)]

    def _data(self, size: int, kind: str, k: int | None, seed: int) -> dict[str, Any]:
        """Return hashes of what a head is fitted on, and of what its calls are answered from."""
        return told(self.dataset.specs[:size], self.examples(size, kind, k, seed)) | {"facts": self._facts_digest}

    @cached_property
    def _facts_digest(self) -> str:
        return digest(self.folder / "facts", self.folder / "tools.json")

    def _toolkens(
        self, method: str, size: int, kind: str, k: int | None, seed: int, settings: TrialSettings
    ) -> Answerer:
        head = self.head(size, kind, k, seed)
        key = (method, size, kind, k, seed)
        if method in PUBLISHED:
            examples, own = self.examples(size, kind, k, seed), head
            head = self._published.get(key, lambda: published_head(self.lm, own, method, "kamel", examples, seed=seed))
        head = with_threshold(head, float(settings["threshold"]))
        cache = self._answers.get(key, AnswerCache)
        return toolken_answerer(self.lm, head, self.some_tools(size), max_calls=MAX_CALLS, cache=cache)

    def _retriever(self, size: int, settings: TrialSettings) -> Answerer:
        assert self.options.encoder is not None
        head = self.head(size, "supervised", EXAMPLES, 0)
        return retriever_answerer(self.lm, head, self.some_tools(size), self.options.encoder)

    def _prompted(self, method: str, size: int, test: Test, dev: Test | None) -> Trial:
        readable = Readable.of(self.dataset.specs[:size], "subject")
        counts = (0,) if method in ("zero-shot", "chat-template") else SHOWN
        # Where there are not so many examples to show, the prompts of two numbers are one, and it is tried once.
        several = {shown: self._dialogue(method, size, shown, readable) for shown in counts}
        dialogues: dict[int, Dialogue] = {}
        for shown, dialogue in several.items():
            if dialogue.beginning not in [other.beginning for other in dialogues.values()]:
                dialogues[shown] = dialogue
        longest = max(len(self.lm.encode(one.beginning).ids) for one in dialogues.values())
        # With hundreds of tools described, each text of a batch takes hundreds of megabytes.
        batch = 16 if longest < 2000 else 4

        def build(settings: TrialSettings) -> Answerer:
            tools = [] if method in NO_TOOLS else readable.tools(self.some_tools(size))
            read = baselines.read_json if method == "chat-template" else read_subject
            return readable.answerer(
                dialogue_answerer(self.lm, dialogues[int(settings["demonstrations"])], tools, read)
            )

        return Trial(
            test,
            method,
            build,
            tuple({"demonstrations": shown} for shown in dialogues),
            dev,
            {"beginning": [one.beginning for one in dialogues.values()]}
            | ({} if method in NO_TOOLS else {"facts": self._facts_digest}),
            prompt_tokens=longest + 40 + 3 * THOUGHT_TOKENS,
            read_tokens=25 if longest < 2000 else 60,
            written_tokens=(20 if method in NO_TOOLS else 60) * (1 if longest < 2000 else 3),
            fit_tokens=longest,
            batch=batch,
        )

    def _dialogue(self, method: str, size: int, shown: int, readable: Readable) -> Dialogue:
        # Of different tools as far as there are so many, and not of neighbours: these are often alike.
        pool = self.examples(size, "supervised", -(-shown // size), 0) if shown else []
        apart = max(1, min(8, len(pool) // max(shown, 1)))
        demonstrations = [_solved(readable.example(one)) for one in pool[::apart][:shown]]
        tools = described(readable.specs, readable.operands)
        match method:
            case "zero-shot":
                return baselines.zero_shot(self.lm, " The answer is", max_tokens=ANSWER_TOKENS)
            case "few-shot":
                return baselines.chain_of_thought(demonstrations, max_tokens=ANSWER_TOKENS)
            case "in-context":
                return baselines.in_context(tools, demonstrations, max_tokens=CALL_TOKENS)
            case "react":
                return baselines.react(tools, demonstrations, max_tokens=THOUGHT_TOKENS)
            case _:
                schemas: list[dict[str, Any]] = [
                    {"type": "function", "function": {**spec.model_dump(), "parameters": _SUBJECT}}
                    for spec in readable.specs
                ]
                return baselines.chat_template(self.lm, schemas, max_tokens=THOUGHT_TOKENS)


def _fit_tokens(size: int, k: int | None) -> int:
    """Return the tokens that are read to fit a head, roughly; the synthetic set has some 35 examples a tool."""
    return 25 * size * min(k if k is not None else 35, 80)


_SUBJECT = {"type": "object", "properties": {"subject": {"type": "string"}}, "required": ["subject"]}


def read_subject(tool: str, operands: str) -> dict[str, Any]:
    """Read what stands between the brackets of a call."""
    return {"subject": operands.strip().strip("\"'")}


def score(question: Question, attempt: Attempt) -> dict[str, float]:
    """Score an attempt.

    Returns
    -------
    dict
        call, tool, arguments, execution: how far the attempt came, each only where the stage before was passed. tool is
        the published rule, by exact ids, and asks for the first call alone. "answer, any": a right object is named in
        the final answer. "answer": all right objects are named, and nothing else.
    """
    fact: Fact = question.reference
    calls = attempt.calls
    called = bool(calls)
    tool = called and calls[0].tool == fact.tool
    arguments = tool and fold(str(calls[0].arguments.get("subject", ""))) == fold(fact.subject)
    some, every = named(attempt.answer, fact.objects)
    stages: dict[str, float] = {"answer, any": float(some), "answer": float(every)}
    if called:
        executed = arguments and not calls[0].failed
        stages = {
            "call": 1.0,
            "tool": float(tool),
            "arguments": float(arguments),
            "execution": float(executed),
        } | stages
    else:
        stages = dict.fromkeys(("call", "tool", "arguments", "execution"), 0.0) | stages
    return stages


def named(answer: str, objects: Sequence[Sequence[str]]) -> tuple[bool, bool]:
    """Tell whether any of some objects, and whether all of them and nothing else, are named in an answer."""
    left = f" {_plain(answer.removeprefix('The answer is').strip())} "
    found = []
    for names in objects:
        inside = [one for one in sorted(map(_plain, names), key=len, reverse=True) if one and f" {one} " in left]
        found.append(bool(inside))
        if inside:
            left = left.replace(f" {inside[0]} ", "  ", 1)
    return any(found), all(found) and not left.strip()


def _plain(text: str) -> str:
    """Return a text's words, without case and punctuation."""
    return " ".join(re.findall(r"[^\W_]+", fold(text)))


def _facts(files: DataFolder) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for where, record in files.records("facts/test.jsonl"):
        if not {"property", "sub_label", "obj_label"} <= record.keys():
            raise DataFormatError(f"{where} is no fact as KAMEL writes them: mend or remove it.")
        found[record["property"]].append(record)
    return found


def _objects(labels: Sequence[Any]) -> tuple[tuple[str, ...], ...]:
    return tuple(
        (one,) if isinstance(one, str) else tuple(n for n in (one["chosen"], one["rdf"], *one["alternative"]) if n)
        for one in labels
    )


def _test_question(
    number: int, record: dict[str, Any], facts: dict[str, list[dict[str, Any]]], tools: Collection[str]
) -> Question:
    """Make a question of a published record; its subject is that of the fact with these objects.

    Raises
    ------
    UnusableRecordError
        If its tool is not among those of the test.
    """
    tool, text = record["api"].strip("<>"), record["question"]
    if tool not in tools:
        raise UnusableRecordError(UNKNOWN_TOOL)
    subjects = [
        one["sub_label"] for one in facts[tool] if one["sub_label"] in text and one["obj_label"] == record["answer"]
    ]
    objects = _objects(record["answer"])
    fact = Fact(tool, max(subjects, key=len, default=""), objects)
    return Question(number, text, f"{tool}({fact.subject}) = {', '.join(one[0] for one in objects)}", fact)


def _dev_questions(files: DataFolder, asked: set[str]) -> list[Question]:
    if not files.has(TEMPLATES) or not files.has("facts/dev.jsonl"):
        return []
    lines = [line.partition(", ") for line in files.text(TEMPLATES).splitlines() if ", " in line]
    templates = {name.strip(): template.strip() for name, _, template in lines}

    def make(number: int, record: dict[str, Any]) -> Question:
        tool, objects = record["property"], _objects(record["obj_label"])
        text = templates.get(tool, "").replace("[S]", record["sub_label"])
        if not text or text in asked:
            raise UnusableRecordError(IN_TEST if text else "there is no template for the relation")
        fact = Fact(tool, record["sub_label"], objects)
        expected = f"{tool}({fact.subject}) = {', '.join(one[0] for one in objects)}"
        return Question(number, text, expected, fact)

    return read_questions(files, "facts/dev.jsonl", make)


def _named(example: Example) -> Example:
    """Return an example whose arguments have the tools' names."""
    calls = tuple(
        call.model_copy(update={"args": {"subject": next(iter(call.args.values()))} if call.args else {}})
        for call in example.calls
    )
    return example.model_copy(update={"calls": calls})


def _solved(example: Example) -> Solved:
    call = example.calls[0]
    return solved(Example(question=example.question, calls=(call.model_copy(update={"start": None}),)), call.result)
