"""KAMEL end to end: one tool per relation, with the facts in the knowledge base."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from langchain_core.tools import BaseTool

from toolken.benchmarks.end_to_end.kamel_scores import STAGES, Fact, score
from toolken.benchmarks.end_to_end.run import Options
from toolken.benchmarks.end_to_end.solved_examples import Solved, described, solved
from toolken.benchmarks.end_to_end.tool_labels import Readable
from toolken.benchmarks.end_to_end.trials import (
    Answerer,
    Question,
    Test,
    Trial,
    TrialSettings,
    dev_sample,
    digest,
    head_hashes,
    read_questions,
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
from toolken.benchmarks.selection.sampling import draw
from toolken.benchmarks.sets.data_files import IN_TEST, UNKNOWN_TOOL, DataFolder, UnusableRecordError
from toolken.benchmarks.sets.dataset import Dataset
from toolken.benchmarks.sets.kamel import TEST
from toolken.benchmarks.sets.kamel import read_kamel as read_dataset
from toolken.errors import DataFormatError
from toolken.tools.knowledge import KnowledgeBase, read_kamel
from toolken.training.examples import Example
from toolken.training.features.feature_cache import FeatureCache
from toolken.training.fit import fit
from toolken.training.head.toolken_head import ToolkenHead
from toolken.training.lm import FrozenLM
from toolken.training.prompts.prompt_format import PromptFormat

NO_TOOLS = ("zero-shot", "few-shot")
IN_PROMPT = ("in-context", "react", "chat-template")
METHODS = ("toolken", *PUBLISHED, "retriever", *NO_TOOLS, *IN_PROMPT)

#: Training examples per tool, and the numbers of tools that all methods are compared on; the project's own method and
#: tools in the prompt run on the other tests too.
EXAMPLES, SIZES = 40, (30, 234)
#: Candidate thresholds of P(call), in order of preference.
THRESHOLDS = (0.5, 0.05)
#: Few-shot examples in a prompt.
SHOWN = (4, 8)
#: Token limits of an answer without tools, of a call, and of a thought.
ANSWER_TOKENS, CALL_TOKENS, THOUGHT_TOKENS = 24, 32, 64
#: Token limit of each prompted method between two calls.
MAX_TOKENS = {
    "zero-shot": ANSWER_TOKENS,
    "few-shot": ANSWER_TOKENS,
    "in-context": CALL_TOKENS,
    "react": THOUGHT_TOKENS,
    "chat-template": THOUGHT_TOKENS,
}
#: Limit of calls per question: the second one corrects a name that the first tool does not know.
MAX_CALLS = 2
TEMPLATES = "facts/question-templates.csv"


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
    """The published files, and lazily computed examples, tools and heads."""

    def __init__(self, lm: FrozenLM, folder: Path, options: Options) -> None:
        self.lm, self.folder, self.options = lm, folder, options
        self.dataset: Dataset = read_dataset(folder)
        files = DataFolder("kamel", folder)
        facts = _facts(files)
        self.tests: dict[int, list[Question]] = {}
        for name in self.dataset.tests:
            size = int(name)
            # A test whose name counts more tools than the data has covers all of them.
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
        """Return the first `size` tools."""
        by_name = {tool.name: tool for tool in self.tools}
        return [by_name[spec.name] for spec in self.dataset.specs[:size]]

    def test(self, size: int, kind: str) -> Test:
        """Return the test of the first `size` tools, with `kind` of training data as its split."""
        return Test("kamel", kind, size, self.tests[size], score, STAGES)

    def dev(self, size: int) -> Test | None:
        """Return questions about other facts, generated from the published templates."""
        names = {spec.name for spec in self.dataset.specs[:size]}
        chosen = [one for one in self._dev_facts if one.reference.tool in names]
        chosen = dev_sample(chosen, self.options.limit)
        return Test("kamel", "dev", size, chosen, score, STAGES) if chosen else None

    def examples(self, size: int, kind: str, k: int | None, seed: int) -> list[Example]:
        """Sample training examples of the first `size` tools, with the tools' argument names.

        The sample covers all tools, so that a smaller test's examples are a subset of a larger one's and share its
        cached states.
        """
        names = {spec.name for spec in self.dataset.specs[:size]}
        train = self.dataset.train.get(kind, [])
        drawn = [train[at] for at in draw(train, k, seed, by_problem=False)]
        return [_with_subject(one) for one in drawn if {call.tool for call in one.calls} <= names]

    def head(self, size: int, kind: str, k: int | None, seed: int) -> ToolkenHead:
        """Return the fitted head; the last one is cached."""

        def make() -> ToolkenHead:
            examples = self.examples(size, kind, k, seed)
            cache, progress = FeatureCache(self.lm), self.options.progress
            return fit(self.lm, self.some_tools(size), examples, cache=cache, progress=progress)

        return self._heads.get((size, kind, k, seed), make)

    def trials(self, method: str, size: int, kind: str, curve: bool) -> list[Trial]:
        """Return the trials of a method on a test: one, or one per number of examples and seed."""
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
        """Return hashes of a head's training input, and of the facts that answer its calls."""
        return head_hashes(self.dataset.specs[:size], self.examples(size, kind, k, seed)) | {
            "facts": self._facts_digest
        }

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
        # With too few examples, two numbers of few-shot examples give the same prompt, which is tried once.
        by_count = {shown: self._dialogue(method, size, shown, readable) for shown in counts}
        dialogues: dict[int, Dialogue] = {}
        for shown, dialogue in by_count.items():
            if dialogue.beginning not in [other.beginning for other in dialogues.values()]:
                dialogues[shown] = dialogue
        longest = max(len(self.lm.encode(one.beginning).ids) for one in dialogues.values())
        # With hundreds of described tools, each text of a batch takes hundreds of megabytes.
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
        # Few-shot examples of different tools if possible, and not of neighbours, which are often similar.
        pool = self.examples(size, "supervised", -(-shown // size), 0) if shown else []
        stride = max(1, min(8, len(pool) // max(shown, 1)))
        few_shot = [_solved(readable.example(one)) for one in pool[::stride][:shown]]
        tools = described(readable.specs, readable.operands)
        schemas: list[dict[str, Any]] = [
            {"type": "function", "function": {**spec.model_dump(), "parameters": _SUBJECT}} for spec in readable.specs
        ]
        return baselines.dialogue_of(method, self.lm, tools, few_shot, schemas, MAX_TOKENS)


def _fit_tokens(size: int, k: int | None) -> int:
    """Return the approximate tokens of the feature pass; the synthetic set has about 35 examples per tool."""
    return 25 * size * min(k if k is not None else 35, 80)


_SUBJECT = {"type": "object", "properties": {"subject": {"type": "string"}}, "required": ["subject"]}


def read_subject(tool: str, operands: str) -> dict[str, Any]:
    """Parse the text between the brackets of a call."""
    return {"subject": operands.strip().strip("\"'")}


def _facts(files: DataFolder) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for where, record in files.records("facts/test.jsonl"):
        if not {"property", "sub_label", "obj_label"} <= record.keys():
            raise DataFormatError(f"{where} is not a fact in KAMEL's form: fix or remove it.")
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
    """Convert a published record to a question; the subject comes from the fact with the same objects.

    Raises
    ------
    UnusableRecordError
        If its tool is not among the test's.
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


def _with_subject(example: Example) -> Example:
    """Return an example with the tools' argument names."""
    calls = tuple(
        call.model_copy(update={"args": {"subject": next(iter(call.args.values()))} if call.args else {}})
        for call in example.calls
    )
    return example.model_copy(update={"calls": calls})


def _solved(example: Example) -> Solved:
    call = example.calls[0]
    return solved(Example(question=example.question, calls=(call.model_copy(update={"start": None}),)), call.result)
