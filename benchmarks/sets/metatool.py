"""MetaTool: requests to chat plugins, with one tool per plugin; split here, since no split is published."""

import csv
import hashlib
import io
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from toolken.benchmarks.sets.data_files import IN_TEST, UNKNOWN_TOOL, DataFolder, normalised
from toolken.benchmarks.sets.dataset import Dataset, Evaluation
from toolken.errors import DataFormatError
from toolken.training.examples import Call, Example
from toolken.training.tool_spec import ToolSpec

REQUESTS = "all_clean_data.csv"
PAIRS = "multi_tool_query_golden.json"
DESCRIPTIONS = ("plugin_des.json", "big_tool_des.json")
#: Shares of each tool's requests for training, and for training and dev together.
TRAIN, TRAIN_AND_DEV = 0.6, 0.8
#: Number of tools whose requests the shipped prior was learned from.
LEARNED = 100


def read_metatool(folder: str | Path, *, test_file: Path | None = None) -> Dataset:
    """Read MetaTool, with the tests "test" (one tool per request) and "multi-tool" (two tools).

    The requests of each tool, sorted by a hash of their text, are split into 60 % training, 20 % dev and 20 % test,
    which is reproducible and stratified by tool. Duplicates count once; requests under several tools are skipped.

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
            tests["multi-tool"] = Evaluation(specs, data.examples(test_file, multi_tool, tools))
    elif data.has(PAIRS):
        tests["multi-tool"] = Evaluation(specs, data.examples(PAIRS, multi_tool, tools))
    train: list[Example] = []
    dev: list[Example] = []
    if data.has(REQUESTS):
        asked = [example for test in tests.values() for example in test.examples]
        train, dev, test = _split(_requests(data, REQUESTS, tools, without=asked))
        if test_file is None:
            tests = {"test": Evaluation(specs, test), **tests}
    kinds = ({"supervised": examples} if examples else {} for examples in (train, dev))
    return data.dataset(specs, next(kinds), tests, next(kinds))


def learned_tools(names: Iterable[str]) -> set[str]:
    """Return the tools that the shipped prior was learned from, by a hash of their names; the others measure."""
    return set(sorted(names, key=lambda name: hashlib.sha256(name.encode()).hexdigest())[:LEARNED])


def multi_tool(record: dict[str, Any]) -> Example:
    """Convert a record `{"query", "tool": [...]}`."""
    return Example(question=record["query"], calls=tuple(Call(tool=tool) for tool in record["tool"]))


def _specs(data: DataFolder) -> list[ToolSpec]:
    """Read the tools in the order of plugin_des.json, which describes every tool of the requests."""
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
        raise DataFormatError(f"{str(data.path / DESCRIPTIONS[0])!r} has no tool: give a file that describes tools.")
    return [ToolSpec(name=name, description=text) for name, text in descriptions.items()]


def _requests(
    data: DataFolder, file: str | Path, tools: Collection[str], *, without: Sequence[Example] = ()
) -> list[Example]:
    """Read the distinct requests of a CSV file, without requests under several tools."""
    excluded = {normalised(example.question) for example in without}
    found: dict[str, dict[str, str]] = defaultdict(dict)  # request -> tool -> original spelling
    times: dict[str, int] = defaultdict(int)
    for where, query, tool in _rows(data, file):
        if not query.strip():
            raise DataFormatError(f"{where} has no request: fix or remove it.")
        if tool not in tools:
            data.drop(file, UNKNOWN_TOOL)
        elif normalised(query) in excluded:
            data.drop(file, IN_TEST)
        else:
            found[normalised(query)].setdefault(tool, query.strip())
            times[normalised(query)] += 1
    examples = []
    for request, by_tool in found.items():
        if len(by_tool) > 1:
            data.drop(file, "the request occurs under several tools", times[request])
            continue
        ((tool, query),) = by_tool.items()
        examples.append(Example(question=query, calls=(Call(tool=tool),)))
        if times[request] > 1:
            data.drop(file, "the request is a duplicate", times[request] - 1)
    if not examples:
        raise DataFormatError(f"{str(data.place(file))!r} has no usable request: give a file with usable requests.")
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
                raise DataFormatError(f"{where} has {len(row)} fields, not a request and a tool: fix or remove it.")
            if row:
                yield where, row[0], row[1].strip()
    except csv.Error as error:
        raise DataFormatError(f"{path}, line {rows.line_num} is not CSV ({error}): fix or remove it.") from error


def _split(requests: Sequence[Example]) -> tuple[list[Example], list[Example], list[Example]]:
    by_tool: dict[str, list[Example]] = defaultdict(list)
    for request in sorted(requests, key=_hash):
        by_tool[request.calls[0].tool].append(request)
    splits: tuple[list[Example], list[Example], list[Example]] = ([], [], [])
    for own in by_tool.values():
        first, second = round(TRAIN * len(own)), round(TRAIN_AND_DEV * len(own))
        for split, cut in zip(splits, (own[:first], own[first:second], own[second:]), strict=True):
            split.extend(cut)
    return splits


def _hash(request: Example) -> str:
    return hashlib.sha256(normalised(request.question).encode()).hexdigest()
