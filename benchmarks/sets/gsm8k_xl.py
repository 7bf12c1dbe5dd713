"""GSM8K-XL: word problems whose solutions call four arithmetic tools in running text."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from toolken.benchmarks.sets.data_files import OFFSET, DataFolder, UnusableRecordError, checked_results, published
from toolken.benchmarks.sets.dataset import Dataset, Evaluation
from toolken.training.examples import Call, Example

#: Separates question and solution in the published texts.
STEP_BY_STEP = "Let's think step by step."
NOTE = re.compile(r"<<(?P<expression>[^<>=]*)=(?P<result>[^<>]*)>>")
#: A placeholder in a template, and an operand of a note.
PLACEHOLDER = re.compile(r"\{(\w+)\}")
OPERAND = re.compile(r"\{\w+\}|\d*\.?\d+")
OPERATORS = {"+": "add", "-": "subtract", "*": "multiply", "/": "divide"}


def read_gsm8k_xl(folder: str | Path, *, test_file: Path | None = None) -> Dataset:
    """Read GSM8K-XL, with the tests "dev" and "test", the latter from the published test with steps.

    Raises
    ------
    DataFormatError
        If a file is missing, broken or without a usable record.
    """
    data = DataFolder("gsm8k-xl", folder)
    specs = data.specs()
    tools = {spec.name for spec in specs}
    files: dict[str, str | Path] = {"dev": "dev.jsonl", "test": "test_with_steps.jsonl"}
    if test_file is not None:
        files = {"test": test_file}
    tests = {
        name: Evaluation(specs, data.examples(file, solution, tools, uncalled=True))
        for name, file in files.items()
        if isinstance(file, Path) or data.has(file)
    }
    return data.dataset(specs, data.training(solution, tools, tests, uncalled=True), tests)


def solution(record: dict[str, Any]) -> Example:
    """Convert a record in any of the set's forms.

    The forms are the training file's `{"question", "answer", "calls"}`, the dev file's `{"text", "start_str_idx",
    "tool_calling"}`, the templates of the test, `{"question", "answer", "enhanced_v", "enhanced_process"}`, and
    GSM8K's own `{"question", "answer"}` with notes `<<48/2=24>>` in the answer.

    Raises
    ------
    UnusableRecordError
        If an offset is wrong, or a step is more than one operation.
    """
    if "text" in record:
        return _split_off_question(published(record))
    question, answer = record["question"], record["answer"]
    if "calls" in record:
        return _with_calls(question, answer, record["calls"])
    values: dict[str, str] = {}
    if "enhanced_v" in record:
        values = {f"v_{i}": _number(value) for i, value in enumerate(record["enhanced_v"], start=1)}
        results = (step.rsplit("=", 1)[1] for step in record["enhanced_process"])
        values |= {f"r_{i}": _number(float(value)) for i, value in enumerate(results, start=1)}
    return _with_notes(question, answer, values)


def _split_off_question(example: Example) -> Example:
    """Return the example with the text before `STEP_BY_STEP` as its question."""
    assert example.answer is not None  # `published` keeps the whole text as the answer
    question, found, answer = example.answer.partition(STEP_BY_STEP)
    if not found or example.question:
        return example
    shift = len(example.answer) - len(answer.lstrip())
    calls = tuple(call.model_copy(update={"start": (call.start or 0) - shift}) for call in example.calls)
    if any(call.start < 0 for call in calls if call.start is not None):
        raise UnusableRecordError("an offset points into the question")
    return Example(question=question.strip(), answer=answer.lstrip(), calls=calls)


def _with_calls(question: str, answer: str, calls: list[dict[str, Any]]) -> Example:
    made = [
        Call(
            tool=call["tool"].strip("<>"),
            args={str(i): value for i, value in enumerate(call["args"])},
            result=str(call["result"]),
            start=call["start"],
        )
        for call in calls
    ]
    if any(not answer.startswith(call.result, call.start) or (call.start or 0) < 0 for call in made):
        raise UnusableRecordError(OFFSET)
    return checked_results(Example(question=question, answer=answer, calls=tuple(made)))


def _with_notes(question: str, answer: str, values: Mapping[str, str]) -> Example:
    """Fill in a template and replace each note in its answer by a call."""

    def filled(text: str) -> str:
        if any(name not in values for name in PLACEHOLDER.findall(text)):
            raise UnusableRecordError("the template has a placeholder without a value")
        return PLACEHOLDER.sub(lambda found: values[found[1]], text)

    text, calls, last = "", [], 0
    for note in NOTE.finditer(answer):
        text += filled(answer[last : note.start()])
        last = note.end()
        operands = re.split(r"([-+*/])", note["expression"].replace(" ", ""))
        operators = set(operands[1::2])
        if len(operators) != 1 or not all(OPERAND.fullmatch(operand) for operand in operands[::2]):
            raise UnusableRecordError("a step is not the call of a single tool")
        result = note["result"].strip()
        if not result or not answer.startswith(result, last):
            raise UnusableRecordError(OFFSET)
        args = {str(i): filled(operand) for i, operand in enumerate(operands[::2])}
        calls.append(Call(tool=OPERATORS[operators.pop()], args=args, result=filled(result), start=len(text)))
    return checked_results(Example(question=filled(question), answer=text + filled(answer[last:]), calls=tuple(calls)))


def _number(value: float | str) -> str:
    """Format a number as the published texts do, with at most two decimals and no trailing zeros; keep a string."""
    return value if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")
