"""KAMEL: questions about facts, with one tool per relation."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from toolken.benchmarks.sets.data_files import IN_TEST, NO_CALL, DataFolder, UnusableRecordError, normalised, published
from toolken.benchmarks.sets.dataset import Dataset, Evaluation
from toolken.training.examples import Call, Example
from toolken.training.tool_spec import ToolSpec

TEST = re.compile(r"test_first_(\d+)\.json")
KINDS = ("supervised", "synthetic")


def read_kamel(folder: str | Path, *, test_file: Path | None = None) -> Dataset:
    """Read KAMEL, with one test per number of tools, named by that number.

    The synthetic set occurs twice: as "synthetic", cut to its questions (`cut_to_question`), and as "synthetic-text".

    Raises
    ------
    DataFormatError
        If a file is missing, broken or without a usable record.
    """
    data = DataFolder("kamel", folder)
    specs = data.specs()
    tests: dict[str, Evaluation] = {}
    for count, file in _test_files(data.path, test_file, len(specs)):
        first = specs[:count]
        tests[str(len(first))] = Evaluation(first, data.examples(file, question, {spec.name for spec in first}))
    asked = [example for test in tests.values() for example in test.examples]
    if not tests:
        data.has(f"test_first_{len(specs)}.json")
    dev = _read_kinds(data, "dev", specs, asked)
    train = _read_kinds(data, "train", specs, [*asked, *(example for part in dev.values() for example in part)])
    return data.dataset(specs, train, tests, dev)


def question(record: dict[str, Any]) -> Example:
    """Convert a record of the published test, `{"question", "answer", "api"}`, or of the training form."""
    if "text" in record:
        return cut_to_question(record)
    answers = record.get("answer") or [{}]
    call = Call(tool=record["api"].strip("<>"), result=str(answers[0].get("chosen") or ""))
    return Example(question=record["question"], calls=(call,))


def cut_to_question(record: dict[str, Any]) -> Example:
    """Convert a record of the training form, and cut its text to the question.

    Synthetic texts are questions with answers, or statements. Statements are skipped: training on them as well as on
    the questions lowered accuracy on dev questions.

    Raises
    ------
    UnusableRecordError
        If the record is broken, calls no tool, or its text contains no question.
    """
    example = published(record)
    if not example.calls:
        raise UnusableRecordError(NO_CALL)
    if example.question:
        return example
    asked = _question_of(example)
    if not asked:
        raise UnusableRecordError("the text contains no question")
    return Example(question=asked, calls=(example.calls[0].model_copy(update={"start": None}),))


def _question_of(example: Example) -> str:
    """Return a text up to the last question mark before its result, else the first after it; empty without one."""
    text = example.answer or ""
    start = (example.calls[0].start or 0) if example.calls else 0
    mark = text.rfind("?", 0, start)
    if mark < 0:
        mark = text.find("?", start)
    return text[: mark + 1].strip()


def _test_files(folder: Path, test_file: Path | None, tools: int) -> list[tuple[int, str | Path]]:
    """Return (number of tools, file) of each test, fewest tools first."""
    if test_file is not None:
        named = TEST.fullmatch(test_file.name)
        return [(int(named[1]) if named else tools, test_file)]
    named_files = ((TEST.fullmatch(path.name), path.name) for path in folder.iterdir())
    return sorted((int(named[1]), name) for named, name in named_files if named)


def _read_kinds(
    data: DataFolder, split: str, specs: Sequence[ToolSpec], without: Iterable[Example]
) -> dict[str, list[Example]]:
    tools = {spec.name for spec in specs}
    without = list(without)
    excluded = {normalised(example.question) for example in without if example.question}

    def in_full(record: dict[str, Any]) -> Example:
        example = published(record)
        if normalised(_question_of(example)) in excluded:
            raise UnusableRecordError(IN_TEST)
        return example

    read = {}
    for kind in KINDS:
        file = f"{kind}_{split}.jsonl"
        if data.has(file):
            label = f"{file}, cut to questions" if kind == "synthetic" else file
            read[kind] = data.examples(file, cut_to_question, tools, without=without, label=label)
            if kind == "synthetic":
                read[f"{kind}-text"] = data.examples(file, in_full, tools, uncalled=True)
    return read
