"""FuncQA: arithmetic questions that need one or several calls of thirteen tools."""

import re
from pathlib import Path
from typing import Any

from toolken.benchmarks.sets.data_files import DataFolder, UnusableRecordError, published
from toolken.benchmarks.sets.dataset import Dataset, Evaluation
from toolken.training.examples import Call, Example

CALL = re.compile(r"-?<(?P<tool>\w+)>\((?P<args>.*)\)=(?P<result>.*)")
TESTS = {"one-hop": "test_one_hop.json", "multi-hop": "test_multi_hop.json", "dev": "dev.jsonl"}


def read_funcqa(folder: str | Path, *, test_file: Path | None = None) -> Dataset:
    """Read FuncQA: the tests "one-hop" and "multi-hop", of calls alone, and "dev", with calls in running text.

    Raises
    ------
    DataFormatError
        If a file is missing, broken or without a usable record.
    """
    data = DataFolder("funcqa", folder)
    specs = data.specs()
    tools = {spec.name for spec in specs}
    if test_file is None:
        tests = {
            name: Evaluation(specs, data.examples(file, solution, tools))
            for name, file in TESTS.items()
            if data.has(file)
        }
    else:
        _, first = next(data.records(test_file), ("", {}))
        name = "one-hop" if "func" in first else "multi-hop" if "calculation" in first else "test"
        tests = {name: Evaluation(specs, data.examples(test_file, solution, tools))}
    return data.dataset(specs, data.training(solution, tools, tests), tests)


def solution(record: dict[str, Any]) -> Example:
    """Convert a record of the training form, `{"question", "func"}` or `{"question", "calculation"}`.

    Raises
    ------
    UnusableRecordError
        If an offset is wrong, or a call cannot be parsed.
    """
    if "text" in record:
        return published(record)
    calls = [record["func"]] if "func" in record else record["calculation"]
    return Example(question=record["question"].strip(), calls=tuple(map(_call, calls)))


def _call(text: str) -> Call:
    """Parse a call such as `<power>(0.89, 8)=0.3936`; a sign before it belongs to the text, not to the call."""
    found = CALL.fullmatch(text.strip())
    if not found:
        raise UnusableRecordError("a call is not written as <tool>(arguments)=result")
    args = {str(i): value.strip() for i, value in enumerate(found["args"].split(","))}
    return Call(tool=found["tool"], args=args, result=found["result"].strip())
