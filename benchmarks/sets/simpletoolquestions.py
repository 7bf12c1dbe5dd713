"""SimpleToolQuestions: questions about a knowledge base, with one tool per relation, 999 in all."""

from pathlib import Path
from typing import Any

from toolken.benchmarks.sets.data_files import NO_CALL, DataFolder, UnusableRecordError, published
from toolken.benchmarks.sets.dataset import Dataset, Evaluation
from toolken.training.examples import Example


def read_simpletoolquestions(folder: str | Path, *, test_file: Path | None = None) -> Dataset:
    """Read SimpleToolQuestions; the test is its dev file, as published, or `test_file`.

    Raises
    ------
    DataFormatError
        If a file is missing, broken or without a usable record.
    """
    data = DataFolder("stq", folder)
    specs = data.specs()
    tools = {spec.name for spec in specs}
    tests: dict[str, Evaluation] = {}
    if test_file is not None:
        tests["test"] = Evaluation(specs, data.examples(test_file, question, tools))
    elif data.has("dev.jsonl"):
        tests["dev"] = Evaluation(specs, data.examples("dev.jsonl", question, tools))
    return data.dataset(specs, data.training(question, tools, tests), tests)


def question(record: dict[str, Any]) -> Example:
    """Convert a record: the text up to the result is the question.

    Raises
    ------
    UnusableRecordError
        If the record is broken, or calls no tool.
    """
    example = published(record)
    if not example.calls:
        raise UnusableRecordError(NO_CALL)
    (call,) = example.calls
    return Example(question=record["text"][: call.start].strip(), calls=(call.model_copy(update={"start": None}),))
