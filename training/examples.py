"""`Example`, `Call` and `FewShotExample`: a question, the calls that answer it, and the offsets of their results."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from toolken.errors import ExampleError
from toolken.training.example_check import call_fault

if TYPE_CHECKING:
    from toolken.training.tool_spec import ToolSpec


class Call(BaseModel):
    """One call of a tool inside an example.

    Attributes
    ----------
    tool
        The tool's name.
    args
        Keyword arguments. They become few-shot examples of the tool's arguments; an example may omit them.
    result
        The text that the tool returned, as the answer contains it.
    start
        Character offset of the result in the example's answer.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tool: str = Field(min_length=1)
    args: dict[str, Any] = Field(default_factory=dict)
    result: str = ""
    start: int | None = None


class Example(BaseModel):
    """A question and its answer, with calls at character offsets: without token indices, any tokenizer fits.

    Attributes
    ----------
    question
        The user's request. Empty for running text, which is an answer without a question.
    calls
        The calls in their order; empty if the answer needs no tool.
    answer
        The model's answer. If it is None, the prompt format writes one around the results.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    question: str = ""
    calls: tuple[Call, ...] = ()
    answer: str | None = None

    @model_validator(mode="after")
    def _offsets_fit(self) -> "Example":
        if self.answer is None:
            if not self.question or not self.calls:
                raise ValueError("an example needs an answer, or a question with calls")
            return self
        last = 0
        for call in self.calls:
            if call.start is None:
                raise ValueError(f"the call of {call.tool!r} needs a start, since the example has an answer")
            if not 0 <= call.start <= len(self.answer):
                raise ValueError(
                    f"the call of {call.tool!r} starts at {call.start}, outside the answer of {len(self.answer)} "
                    "characters"
                )
            if call.start < last:
                raise ValueError(f"the call of {call.tool!r} starts before the end of the previous call's result")
            if not self.answer.startswith(call.result, call.start):
                raise ValueError(
                    f"the answer does not have the result {call.result!r} of {call.tool!r} at offset {call.start}"
                )
            last = call.start + len(call.result)
        return self


class FewShotExample(BaseModel):
    """A few-shot example of a call's arguments, with the question and the results of earlier calls.

    Attributes
    ----------
    tool
        The tool's name.
    question
        The user's request.
    results
        Results of the earlier calls.
    args
        The call's arguments.
    before
        Arguments of the earlier calls.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tool: str
    question: str
    results: tuple[str, ...] = ()
    args: dict[str, Any]
    before: tuple[dict[str, Any], ...] = ()


def read_examples(path: str | Path, tools: "Iterable[ToolSpec]" = ()) -> list[Example]:
    """Read examples from a file with one JSON object per line.

    Two forms are read: `{"question", "calls": [{"tool", "args", "result", "start"}], "answer"}`, and the published
    `{"text", "start_str_idx", "tool_calling"}`. Blank lines are skipped.

    Parameters
    ----------
    path
        A UTF-8 file, with or without a byte-order mark.
    tools
        Specs of the tools that the examples may call. If there are any, calls of other tools and arguments that a
        tool's schema refuses are errors.

    Raises
    ------
    ExampleError
        If the file cannot be read or has no example, or a line is wrong; the message has file and line number.
    """
    path = Path(path)
    known = by_name(tools)
    examples = []
    try:
        with path.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                where = f"{path}, line {number}"
                example = parse_example(line, where)
                if known:
                    check_calls(example, known, where)
                examples.append(example)
    except UnicodeDecodeError as error:
        raise ExampleError(
            f"The examples file {str(path)!r} cannot be read: it is not UTF-8 ({error.reason} at byte {error.start}): "
            "save it as UTF-8 text."
        ) from error
    except OSError as error:
        raise ExampleError(
            f"The examples file {str(path)!r} cannot be read ({error.strerror}): name a file with examples."
        ) from error
    if not examples:
        raise ExampleError(f"The examples file {str(path)!r} has no example: put one JSON object on each line.")
    return examples


def check_examples(examples: Sequence[Example], tools: "Iterable[str | ToolSpec]") -> None:
    """Check that examples call known tools with arguments that the tools have.

    Parameters
    ----------
    examples
        The examples.
    tools
        The known tools: specs, or names, with which arguments are not checked.

    Raises
    ------
    ExampleError
        For the first wrong call; the message has the number of its example.
    """
    known = by_name(tools)
    for number, example in enumerate(examples, start=1):
        check_calls(example, known, f"Example {number}")


def by_name(tools: "Iterable[str | ToolSpec]") -> "dict[str, ToolSpec | None]":
    """Return the specs of tools by name; None for a tool that is given by its name alone."""
    return dict((tool, None) if isinstance(tool, str) else (tool.name, tool) for tool in tools)


def check_calls(example: Example, tools: "Mapping[str, ToolSpec | None]", where: str) -> None:
    """Check that an example calls known tools with arguments that the tools have.

    Parameters
    ----------
    example
        The example.
    tools
        The known tools, as `by_name` returns them.
    where
        File and line, or number of the example, with which the error message begins.

    Raises
    ------
    ExampleError
        For the first wrong call.
    """
    for call in example.calls:
        fault = call_fault(call, tools)
        if fault is not None:
            raise ExampleError(f"{where} {fault if fault.endswith('?') else fault + '.'}")


def write_examples(path: str | Path, examples: Iterable[Example]) -> None:
    """Write examples in the form that `read_examples` reads."""
    lines = (example.model_dump_json(exclude_none=True, exclude_defaults=True) for example in examples)
    Path(path).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def from_records(records: Iterable[Any]) -> Iterator[Example]:
    """Convert records of an example generator (`toolken.tools.records`) to examples."""
    return (Example.model_validate(record) for record in records)


def parse_example(line: str, where: str) -> Example:
    """Parse a line of JSON in either form of `read_examples`.

    Parameters
    ----------
    line
        The line.
    where
        File and line number, with which error messages begin.

    Raises
    ------
    ExampleError
        If the line is not an example.
    """
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise ExampleError(f"{where} is not JSON ({error}): correct or remove the line.") from error
    if not isinstance(record, dict):
        raise ExampleError(f"{where} is not a JSON object: correct or remove the line.")
    try:
        return published_example(record) if "start_str_idx" in record else Example.model_validate(record)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        reason = first["msg"].removeprefix("Value error, ")
        raise ExampleError(f"{where}: {place + ': ' if place else ''}{reason}.") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ExampleError(f"{where} is not an example: {error!r}; correct or remove the line.") from error


def published_example(record: dict[str, Any]) -> Example:
    """Convert a record of the published form `{"text", "start_str_idx", "tool_calling"}`.

    Text before "Answer:" (or "A:") becomes the question. The published `call_param` is a list without names; its
    values are kept under the keys "0", "1" and so on, which readers of a data set rename. White space around a
    result, and between an offset and its result, is removed.

    Raises
    ------
    ValueError, KeyError, TypeError, pydantic.ValidationError
        If the record is malformed, for instance if an offset does not point at its result.
    """
    text = record["text"]
    parts = re.match(r"(?:Question|Q):\s*(?P<question>.*?)\n(?:Answer|A):[ ]?(?P<answer>.*)", text, re.DOTALL)
    question, answer, shift = ("", text, 0)
    if parts:
        question, answer, shift = parts["question"], parts["answer"], parts.start("answer")
    calls = [
        Call(
            tool=call["call_tool"].strip("<>"),
            args={str(i): value for i, value in enumerate(call["call_param"])},
            result=str(call["return"][0]).strip() if call["return"] else "",
            start=_past_spaces(text, start) - shift,
        )
        for start, call in zip(record["start_str_idx"], record["tool_calling"], strict=True)
    ]
    return Example(question=question, answer=answer, calls=tuple(calls))


def _past_spaces(text: str, start: int) -> int:
    """Return the offset of the first character from `start` on that is not white space."""
    while start < len(text) and text[start].isspace():
        start += 1
    return start
