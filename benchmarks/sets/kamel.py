"""The KAMEL data: questions about relations, each relation a tool."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from toolken.benchmarks.sets.data_files import IN_TEST, NO_CALL, DataFolder, UnusableRecordError, normal, published
from toolken.benchmarks.sets.dataset import Dataset, Evaluation
from toolken.training.examples import Call, Example
from toolken.training.tool_spec import ToolSpec

TEST = re.compile(r"test_first_(\d+)\.json")
KINDS = ("supervised", "synthetic")


def read_kamel(folder: str | Path, *, test_file: Path | None = None) -> Dataset:
    """Read KAMEL: a test for each number of tools, named by it.

    The synthetic set comes twice: as "synthetic" cut to its questions (`cut_to_question`), as "synthetic-text" in full.

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
    """Make an example of a record of the published test, `{"question", "answer", "api"}`, or of the training form."""
    if "text" in record:
        return cut_to_question(record)
    answers = record.get("answer") or [{}]
    call = Call(tool=record["api"].strip("<>"), result=str(answers[0].get("chosen") or ""))
    return Example(question=record["question"], calls=(call,))


def cut_to_question(record: dict[str, Any]) -> Example:
    """Make an example of a record of the training form; of a text that asks and answers, what it asks is kept.

    Synthetic texts are questions with their answers, or statements. Statements are left out: they tell little of how
    a relation is asked for, and trained on beside the questions they made fewer dev questions come out right.

    Raises
    ------
    UnusableRecordError
        If the record is broken, calls no tool, or its text asks no question.
    """
    example = published(record)
    if not example.calls:
        raise UnusableRecordError(NO_CALL)
    if example.question:
        return example
    asked = _asked(example)
    if not asked:
        raise UnusableRecordError("the text asks no question")
    return Example(question=asked, calls=(example.calls[0].model_copy(update={"start": None}),))


def _asked(example: Example) -> str:
    """Return a text up to the last question mark in front of its result, or behind it; nothing if it has none."""
    text = example.answer or ""
    start = (example.calls[0].start or 0) if example.calls else 0
    mark = text.rfind("?", 0, start)
    if mark < 0:
        mark = text.find("?", start)
    return text[: mark + 1].strip()


def _test_files(folder: Path, test_file: Path | None, tools: int) -> list[tuple[int, str | Path]]:
    """Return the number of tools and the file of each test, fewest tools first."""
    if test_file is not None:
        named = TEST.fullmatch(test_file.name)
        return [(int(named[1]) if named else tools, test_file)]
    named_files = ((TEST.fullmatch(path.name), path.name) for path in folder.iterdir())
    return sorted((int(named[1]), name) for named, name in named_files if named)


def _read_kinds(
    data: DataFolder, part: str, specs: Sequence[ToolSpec], without: Iterable[Example]
) -> dict[str, list[Example]]:
    tools = {spec.name for spec in specs}
    without = list(without)
    excluded = {normal(example.question) for example in without if example.question}

    def in_full(record: dict[str, Any]) -> Example:
        example = published(record)
        if normal(_asked(example)) in excluded:
            raise UnusableRecordError(IN_TEST)
        return example

    read = {}
    for kind in KINDS:
        file = f"{kind}_{part}.jsonl"
        if data.has(file):
            label = f"{file}, cut to questions" if kind == "synthetic" else file
            read[kind] = data.examples(file, cut_to_question, tools, without=without, label=label)
            if kind == "synthetic":
                read[f"{kind}-text"] = data.examples(file, in_full, tools, uncalled=True)
    return read
