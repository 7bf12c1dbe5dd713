"""Isolated measurements of calls: the call decision, and the arguments for a given tool."""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from langchain_core.messages import HumanMessage

from toolken.agents.bound_tools import BoundTools
from toolken.agents.chat_conversation import conversation_prompt
from toolken.agents.decoding.decoder import Decoder, DecodingOptions
from toolken.agents.decoding.events import CallFinished
from toolken.agents.decoding.lazy_model import LazyModel
from toolken.benchmarks.selection.rows import bootstrap_interval
from toolken.benchmarks.selection.sampling import draw
from toolken.benchmarks.sets.data_files import DataFolder
from toolken.benchmarks.sets.funcqa import read_funcqa
from toolken.benchmarks.sets.kamel import read_kamel
from toolken.benchmarks.sets.metatool import read_metatool
from toolken.errors import DataFormatError
from toolken.tools.calculator import calculator_tools
from toolken.tools.calculator import examples as arithmetic
from toolken.tools.grounding import GROUNDED
from toolken.training.examples import Call, Example, from_records
from toolken.training.features.feature_cache import FeatureCache
from toolken.training.fit import Progress, fit
from toolken.training.lm import FrozenLM
from toolken.training.prompts.prompt_format import PromptFormat

#: Training examples per KAMEL tool, and generated examples for the calculator.
EXAMPLES, GENERATED = 5, 280


@dataclass(frozen=True)
class Figure:
    """A share of questions, with its 95 % bootstrap interval."""

    what: str
    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class SubjectQuestion:
    """A question, the tool that answers it, and the subject to copy from it."""

    question: str
    tool: str
    subject: str


def copied_subjects(
    lm: FrozenLM, folder: Path, *, split: str = "test", limit: int | None = None, progress: Progress | None = None
) -> Iterator[Figure]:
    """Yield how often the decoder copies KAMEL's subject exactly, given the right tool.

    Parameters
    ----------
    split
        test: the published questions with all tools; dev: the questions of the dev file, to choose settings on.

    Raises
    ------
    DataFormatError
        If the data is missing, or the split is unknown.
    """
    if split not in ("dev", "test"):
        raise DataFormatError(f"There is no split {split!r}: name dev or test.")
    data = read_kamel(folder)
    train = [_with_subject(example) for example in data.train["supervised"]]
    shown = [train[at] for at in draw(train, EXAMPLES, 0, by_problem=False)]
    asked = _published(folder) if split == "test" else _dev(data.dev["supervised"])
    for what, grounded in (("copied from the question", True), ("written freely", False)):
        subject = {"type": "string"} | {GROUNDED: grounded}
        schema = {"type": "object", "properties": {"subject": subject}, "required": ["subject"]}
        specs = [spec.model_copy(update={"parameters": schema}) for spec in data.specs]
        head = fit(lm, specs, shown, cache=FeatureCache(lm), progress=progress)
        decoder = LazyModel(lm, head, by_name=True).decoder(BoundTools.of(specs))
        right, valid = [], []
        step = progress(f"Subjects {what}", len(asked[:limit])) if progress else None
        for one in asked[:limit]:
            call = _forced_call(decoder, one.question, (one.tool,))
            right.append(call.arguments.get("subject") == one.subject)
            valid.append(call.error is None)
            if step:
                step(1)
        yield _share(f"subject {what}: exactly right", right)
        yield _share(f"subject {what}: valid", valid)


def valid_arithmetic(lm: FrozenLM, folder: Path, *, progress: Progress | None = None) -> Iterator[Figure]:
    """Yield how often the arguments of FuncQA's one-hop calls are valid, with a head fitted on generated examples.

    Raises
    ------
    DataFormatError
        If the data is missing.
    """
    test = read_funcqa(folder).tests["one-hop"].examples
    tools = calculator_tools("operations")
    examples = list(from_records(arithmetic(GENERATED, max_calls=1)))
    head = fit(lm, tools, examples, prompt=PromptFormat(lead="number"), progress=progress)
    decoder = LazyModel(lm, head, by_name=True).decoder(BoundTools.of(tools))
    calls = [_forced_call(decoder, example.question, tuple(tool.name for tool in tools)) for example in test]
    yield _share("one-hop: arguments valid", [call.error is None for call in calls])
    yield _share(
        "one-hop: right tool", [call.name == example.calls[0].tool for call, example in zip(calls, test, strict=True)]
    )


def call_or_no_call(
    lm: FrozenLM,
    folder: Path,
    no_tool: Path,
    *,
    split: str = "test",
    limit: int | None = None,
    progress: Progress | None = None,
) -> Iterator[Figure]:
    """Yield how well a zero-shot head separates MetaTool's requests from questions that need no tool.

    All of MetaTool's tools are bound, and each text is the first message of a chat.

    Parameters
    ----------
    no_tool
        A JSON lines file with a "question" per line (or KAMEL's published form) that needs none of the tools.

    Raises
    ------
    DataFormatError
        If the data is missing.
    """
    data = read_metatool(folder)
    requests = (data.tests["test"].examples if split == "test" else data.dev["supervised"])[:limit]
    plain = _questions(no_tool)[:limit]
    model = LazyModel(lm, None).decoder(BoundTools.of(data.specs)).toolset
    texts = [
        conversation_prompt([HumanMessage(text)], model.prompt).text
        for text in [*(r.question for r in requests), *plain]
    ]
    ids = [lm.encode(text).ids for text in texts]
    step = progress("Reading requests and questions", len(texts)) if progress else None
    names = [spec.name for spec in data.specs]
    called = torch.zeros(len(texts), dtype=torch.bool)
    assert model.head is not None
    for at, states in lm.hidden_states(ids, [[len(one) - 1] for one in ids], advance=step):
        called[at] = model.decide(states.hidden[0], names, results=0).call_probability >= model.head.threshold
    wanted = torch.arange(len(texts)) < len(requests)
    counts = torch.stack([called & wanted, called & ~wanted, ~called & wanted], dim=1).double()[None]

    def f1(sums: torch.Tensor) -> torch.Tensor:
        both, only_called, only_wanted = sums.unbind(-1)
        return 2 * both / (2 * both + only_called + only_wanted).clamp(min=1)

    low, high = bootstrap_interval(counts, lambda rows: f1(rows.sum(-2)))
    yield Figure("call or no call: F1", float(f1(counts.sum((0, 1)))), low, high, len(texts))
    yield _share("requests with a call", called[wanted].tolist())
    yield _share("questions without a call", (~called[~wanted]).tolist())


def _forced_call(decoder: Decoder, question: str, tools: Sequence[str]) -> CallFinished:
    """Return the forced call for a question, restricted to `tools`."""
    options = DecodingOptions(tools=tuple(tools), must_call=True, parallel=False, missing="write")
    prompt = conversation_prompt([HumanMessage(question)], decoder.toolset.prompt)
    return next(event for event in decoder.decode(prompt, options) if isinstance(event, CallFinished))


def _share(what: str, hits: Sequence[bool]) -> Figure:
    counts = torch.tensor(hits, dtype=torch.float64)[None, :, None]
    low, high = bootstrap_interval(counts, lambda rows: rows.mean((-2, -1)))
    return Figure(what, float(counts.mean()), low, high, len(hits))


def _with_subject(example: Example) -> Example:
    """Return an example whose argument is named subject."""
    call = example.calls[0]
    subject = {"subject": next(iter(call.args.values()))} if call.args else {}
    return Example(question=example.question, calls=(Call(tool=call.tool, args=subject, result=call.result),))


def _published(folder: Path) -> list[SubjectQuestion]:
    """Read the published questions; the subject comes from the fact whose objects are the answer."""
    files = DataFolder("kamel", folder)
    facts: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for _, fact in files.records("facts/test.jsonl"):
        facts[fact["property"]].append(fact)
    tests = sorted(folder.glob("test_first_*.json"), key=lambda path: int(path.stem.rpartition("_")[2]))
    found = []
    for _, record in files.records(tests[-1].name):
        tool, text = record["api"].strip("<>"), record["question"]
        subjects = [
            fact["sub_label"]
            for fact in facts[tool]
            if fact["sub_label"] in text and fact["obj_label"] == record["answer"]
        ]
        found.append(SubjectQuestion(text, tool, max(subjects, key=len, default="")))
    return found


def _dev(examples: Sequence[Example]) -> list[SubjectQuestion]:
    return [
        SubjectQuestion(one.question, one.calls[0].tool, next(iter(one.calls[0].args.values()))) for one in examples
    ]


def _questions(file: Path) -> list[str]:
    try:
        text = file.read_text(encoding="utf-8")
        read = json.loads(text) if text.lstrip().startswith("[") else [json.loads(line) for line in text.splitlines()]
        return [str(record["question"]) for record in read]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataFormatError(
            f'{str(file)!r} has no questions ({type(error).__name__}): give JSON lines with a "question" per line.'
        ) from error
