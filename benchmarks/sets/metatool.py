"""MetaTool: requests that people made to chat plugins, each plugin a tool; split here, since no split is published."""

import csv
import hashlib
import io
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from toolken.benchmarks.sets.data_files import IN_TEST, UNKNOWN_TOOL, DataFolder, normal
from toolken.benchmarks.sets.dataset import Dataset, Evaluation
from toolken.errors import DataFormatError
from toolken.training.examples import Call, Example
from toolken.training.tool_spec import ToolSpec

REQUESTS = "all_clean_data.csv"
PAIRS = "multi_tool_query_golden.json"
DESCRIPTIONS = ("plugin_des.json", "big_tool_des.json")
#: Shares of each tool's requests that are trained on, and that are trained on or settings are chosen on.
TRAIN, TRAIN_AND_DEV = 0.6, 0.8


def read_metatool(folder: str | Path, *, test_file: Path | None = None) -> Dataset:
    """Read MetaTool, with the tests "test" (one tool a request) and "multi-tool" (two tools).

    The requests of each tool, in the order of a hash of their text, are cut into 60 % for training, 20 % to choose
    settings on, and 20 % for the test: a split that is the same wherever it is made, and the same for every tool. A
    request that stands there twice counts once; one that stands there under several tools is left out.

    Raises
    ------
    DataFormatError
        If a file is missing, broken or without a usable record.
    """
    data = DataFolder("metatool", folder)
    specs = _specs(data)
    tools = {spec.name for spec in specs}
    tests: dict[str, Evaluation] = {}
    if test_file is not None:
        if test_file.suffix.lower() == ".csv":
            tests["test"] = Evaluation(specs, _requests(data, test_file, tools))
        else:
            tests["multi-tool"] = Evaluation(specs, data.examples(test_file, several, tools))
    elif data.has(PAIRS):
        tests["multi-tool"] = Evaluation(specs, data.examples(PAIRS, several, tools))
    train: list[Example] = []
    dev: list[Example] = []
    if data.has(REQUESTS):
        asked = [example for test in tests.values() for example in test.examples]
        train, dev, test = _split(_requests(data, REQUESTS, tools, without=asked))
        if test_file is None:
            tests = {"test": Evaluation(specs, test), **tests}
    kinds = ({"supervised": examples} if examples else {} for examples in (train, dev))
    return data.dataset(specs, next(kinds), tests, next(kinds))


def several(record: dict[str, Any]) -> Example:
    """Make an example of a record `{"query", "tool": [...]}`."""
    return Example(question=record["query"], calls=tuple(Call(tool=tool) for tool in record["tool"]))


def _specs(data: DataFolder) -> list[ToolSpec]:
    """Read the tools in the order of plugin_des.json, which describes all that the requests are about."""
    descriptions: dict[str, str] = {}
    for file in DESCRIPTIONS:
        if file == DESCRIPTIONS[0] or data.has(file):
            read = data.json(file)
            if not isinstance(read, dict) or not all(isinstance(text, str) for text in read.values()):
                raise DataFormatError(
                    f"{str(data.path / file)!r} does not map tools to descriptions: give the published file."
                )
            descriptions = {**read, **descriptions}
    if not descriptions:
        raise DataFormatError(f"{str(data.path / DESCRIPTIONS[0])!r} has no tool: give a file with some.")
    return [ToolSpec(name=name, description=text) for name, text in descriptions.items()]


def _requests(
    data: DataFolder, file: str | Path, tools: Collection[str], *, without: Sequence[Example] = ()
) -> list[Example]:
    """Read the requests of a CSV file, each once, without those that stand there under several tools."""
    excluded = {normal(example.question) for example in without}
    found: dict[str, dict[str, str]] = defaultdict(dict)  # request -> tool -> how it is written
    times: dict[str, int] = defaultdict(int)
    for where, query, tool in _rows(data, file):
        if not query.strip():
            raise DataFormatError(f"{where} has no request: mend or remove it.")
        if tool not in tools:
            data.drop(file, UNKNOWN_TOOL)
        elif normal(query) in excluded:
            data.drop(file, IN_TEST)
        else:
            found[normal(query)].setdefault(tool, query.strip())
            times[normal(query)] += 1
    examples = []
    for request, by_tool in found.items():
        if len(by_tool) > 1:
            data.drop(file, "the request stands under several tools", times[request])
            continue
        ((tool, query),) = by_tool.items()
        examples.append(Example(question=query, calls=(Call(tool=tool),)))
        if times[request] > 1:
            data.drop(file, "the request stands there already", times[request] - 1)
    if not examples:
        raise DataFormatError(f"{str(data.place(file))!r} has no request that can be used: give a file with some.")
    data.count(file, len(examples))
    return examples


def _rows(data: DataFolder, file: str | Path) -> Iterator[tuple[str, str, str]]:
    rows = csv.reader(io.StringIO(data.text(file), newline=""), strict=True)
    path = data.place(file)
    try:
        header = next(rows, [])
        if header != ["Query", "Tool"]:
            raise DataFormatError(f"{path}, line 1 is {header!r:.100}, not Query,Tool: give the published file.")
        for row in rows:
            where = f"{path}, line {rows.line_num}"
            if row and len(row) != len(header):
                raise DataFormatError(f"{where} has {len(row)} fields, not a request and a tool: mend or remove it.")
            if row:
                yield where, row[0], row[1].strip()
    except csv.Error as error:
        raise DataFormatError(f"{path}, line {rows.line_num} is not CSV ({error}): mend or remove it.") from error


def _split(requests: Sequence[Example]) -> tuple[list[Example], list[Example], list[Example]]:
    by_tool: dict[str, list[Example]] = defaultdict(list)
    for request in sorted(requests, key=_hash):
        by_tool[request.calls[0].tool].append(request)
    parts: tuple[list[Example], list[Example], list[Example]] = ([], [], [])
    for own in by_tool.values():
        first, second = round(TRAIN * len(own)), round(TRAIN_AND_DEV * len(own))
        for part, cut in zip(parts, (own[:first], own[first:second], own[second:]), strict=True):
            part.extend(cut)
    return parts


def _hash(request: Example) -> str:
    return hashlib.sha256(normal(request.question).encode()).hexdigest()
