"""VirtualHome: household plans of 58 toolkens (verbs, objects and [END])."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from toolken.agents.household.plans import plan_example
from toolken.benchmarks.sets.data_files import OFFSET, UNKNOWN_TOOL, DataFolder, UnusableRecordError
from toolken.benchmarks.sets.dataset import Dataset, Evaluation
from toolken.errors import DataFormatError
from toolken.training.examples import Example
from toolken.training.tool_spec import ToolSpec, name_words

TEST, ACTIONS = "test50.jsonl", "language_planner_actions.json"
TOOLKEN = re.compile(r"\[\w+\]|<\w+>")
#: The last task of a published text; the finished tasks before it are demonstrations.
LAST_TASK = re.compile(r"(?P<preamble>(?:.*Task \d+:\n)?)(?P<question>.*?Plan:)\n(?P<plan>.*)", re.DOTALL)


def read_virtualhome(folder: str | Path, *, test_file: Path | None = None) -> Dataset:
    """Read VirtualHome, with the tests "dev" and, if the household simulator is installed, "test".

    The demonstrations before every published task become the data set's `preamble` if they are the same for all
    tasks; the test has none, and its prompts are generated from the initial scenes of its tasks. `test_file` has the
    form of the dev file. Tool names keep their brackets, which distinguish verbs from objects.

    Raises
    ------
    DataFormatError
        If a file is missing, broken or without a usable record.
    """
    data = DataFolder("virtualhome", folder)
    specs = _specs(data)
    tools = {spec.name for spec in specs}
    files: list[str | Path] = [file for file in ("train.jsonl", "dev.jsonl") if data.has(file)]
    preamble = _shared_preamble(data, files if test_file is None else [*files, test_file])

    def plan(record: dict[str, Any]) -> Example:
        found = LAST_TASK.fullmatch(record["text"])
        if not found:
            raise ValueError("the text has no line 'Plan:'")
        return _plan(record, found.start("plan"), record["text"][len(preamble) : found.end("question")])

    tests: dict[str, Evaluation] = {}
    if test_file is not None:
        tests["test"] = Evaluation(specs, data.examples(test_file, plan, tools))
    else:
        if "dev.jsonl" in files:
            tests["dev"] = Evaluation(specs, data.examples("dev.jsonl", plan, tools))
        if data.has(TEST) and (tasks := _tasks(data, tools)):
            tests["test"] = Evaluation(specs, tasks)
    return data.dataset(specs, data.training(plan, tools, tests), tests, preamble=preamble)


def action_names(folder: str | Path) -> list[str]:
    """Return the names of the tens of thousands of household actions that a language planner chose among.

    Raises
    ------
    DataFormatError
        If the file is missing or not a list of names.
    """
    data = DataFolder("virtualhome", folder)
    names = data.json(ACTIONS)
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise DataFormatError(f"{str(data.place(ACTIONS))!r} is not a list of names: give the published file.")
    return names


def _shared_preamble(data: DataFolder, files: Iterable[str | Path]) -> str:
    """Return the finished tasks before the last one if they are the same in all texts of the files, else nothing."""
    found = (LAST_TASK.fullmatch(str(record.get("text"))) for file in files for _, record in data.records(file))
    preambles = {text["preamble"] for text in found if text}
    return preambles.pop() if len(preambles) == 1 else ""


def _specs(data: DataFolder) -> list[ToolSpec]:
    """Read the toolkens in the order of their ids, with the descriptions of the household tools."""
    from toolken.tools.household import toolken_descriptions

    raw = data.json("tools.json")
    described = toolken_descriptions()
    try:
        ids = raw["tool_dict"]
        names = sorted(ids, key=lambda name: int(ids[name]))
        specs = [ToolSpec(name=name, description=described.get(name) or name_words(name)) for name in names]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise DataFormatError(
            f"{str(data.path / 'tools.json')!r} has no tool_dict of toolkens ({error!r}): give the published file."
        ) from error
    if not specs or not all(TOOLKEN.fullmatch(name) for name in names):
        raise DataFormatError(
            f"{str(data.path / 'tools.json')!r} does not list toolkens such as [WALK] and <couch>: give the published "
            "file."
        )
    return specs


def _plan(record: dict[str, Any], begin: int, question: str) -> Example:
    """Convert the plan that begins at an offset of a record's text; see `plan_example`."""
    text, plan = record["text"], []
    for offset, called in zip(record["start_str_idx"], record["tool_calling"], strict=True):
        toolken = called["call_tool"]
        # Published offsets precede the white space between two toolkens.
        start = offset + len(text[offset:]) - len(text[offset:].lstrip())
        if offset < begin or not text.startswith(toolken, start):
            raise UnusableRecordError(OFFSET)
        plan.append(toolken)
    if TOOLKEN.findall(text[begin:]) != plan:
        raise UnusableRecordError("a toolken of the plan is not marked as a call")
    return plan_example(question, plan)


def _tasks(data: DataFolder, tools: set[str]) -> list[Example]:
    """Read the published test tasks and their plans, in the form of the training texts."""
    from toolken.tools.household import SimulatorMissingError, read_tasks

    try:
        tasks = read_tasks(data.path)
    except SimulatorMissingError:
        data.drop(TEST, "the household simulator is not installed", sum(1 for _ in data.records(TEST)))
        return []
    examples = []
    for task in tasks:
        if not tools.issuperset(task.toolkens):
            data.drop(TEST, UNKNOWN_TOOL)
            continue
        examples.append(plan_example(task.prompt().rstrip(), task.toolkens))
    data.count(TEST, len(examples))
    return examples
