"""`Example`, `Call` and `FewShotExample`: a question, the calls that answer it, and where their results stand."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from toolken.errors import ExampleError


class Call(BaseModel):
    """One call of a tool inside an example.

    Attributes
    ----------
    tool
        The tool's name.
    args
        Keyword arguments; used to show the LM how this tool's arguments are written.
    result
        The text that the tool returned, as it stands in the answer.
    start
        Character offset in the example's answer at which the result's text begins.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tool: str = Field(min_length=1)
    args: dict[str, Any] = Field(default_factory=dict)
    result: str = ""
    start: int | None = None


class Example(BaseModel):
    """A question and its answer, with the calls at character offsets; no token indices, so any tokenizer fits.

    Attributes
    ----------
    question
        What the user wrote. Empty for running text that has no question: then the answer stands alone.
    calls
        The calls in the order in which they are made; none where words alone answer.
    answer
        What the model wrote. Where it is absent, the prompt format words it around the results.
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
                raise ValueError(f"the call of {call.tool!r} starts inside or before the one in front of it")
            if not self.answer.startswith(call.result, call.start):
                raise ValueError(
                    f"the result {call.result!r} of {call.tool!r} does not stand at offset {call.start} of the answer"
                )
            last = call.start + len(call.result)
        return self


class FewShotExample(BaseModel):
    """A question, the results that were there already, and the arguments of the next call.

    Attributes
    ----------
    tool
        The tool that was called.
    question
        What the user asked.
    results
        Results of the calls before this one.
    args
        The call's arguments.
    before
        Arguments of the calls before this one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tool: str
    question: str
    results: tuple[str, ...] = ()
    args: dict[str, Any]
    before: tuple[dict[str, Any], ...] = ()


def read_examples(path: str | Path) -> list[Example]:
    """Read examples from a file with one JSON object a line.

    Two forms are understood: `{"question", "calls": [{"tool", "args", "result", "start"}], "answer"}`, and the
    published `{"text", "start_str_idx", "tool_calling"}`. Blank lines are passed over.

    Raises
    ------
    ExampleError
        If the file cannot be read or has no example, or a line is broken; file and line number are named.
    """
    path = Path(path)
    examples = []
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    examples.append(parse_example(line, f"{path}, line {number}"))
    except (OSError, UnicodeDecodeError) as error:
        raise ExampleError(f"The examples file {str(path)!r} cannot be read: {error}.") from error
    if not examples:
        raise ExampleError(f"The examples file {str(path)!r} has no example: put one JSON object on each line.")
    return examples


def check_examples(examples: Sequence[Example], names: Iterable[str], *, before: int = 0) -> None:
    """Make sure that examples call known tools only, before anything long begins.

    Parameters
    ----------
    before
        Number of examples that stand before these.

    Raises
    ------
    ExampleError
        Naming the first example that does not, and the tool it calls.
    """
    known = set(names)
    for number, example in enumerate(examples, start=before + 1):
        unknown = next((call.tool for call in example.calls if call.tool not in known), None)
        if unknown is not None:
            raise ExampleError(
                f"Example {number} calls {unknown!r}, which is not among the {len(known)} tools: "
                "add the tool or remove the example."
            )


def write_examples(path: str | Path, examples: Iterable[Example]) -> None:
    """Write examples in the form that `read_examples` reads."""
    lines = (example.model_dump_json(exclude_none=True, exclude_defaults=True) for example in examples)
    Path(path).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def from_records(records: Iterable[Any]) -> Iterator[Example]:
    """Turn records of an example generator (`toolken.tools.records`) into examples."""
    return (Example.model_validate(record) for record in records)


def parse_example(line: str, where: str) -> Example:
    """Read an example from a line of JSON, in either of the forms of `read_examples`.

    Raises
    ------
    ExampleError
        If it is broken; the message says where it stands.
    """
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise ExampleError(f"{where} is not JSON ({error}): mend or remove the line.") from error
    if not isinstance(record, dict):
        raise ExampleError(f"{where} is not a JSON object: mend or remove the line.")
    try:
        return published_example(record) if "start_str_idx" in record else Example.model_validate(record)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        reason = first["msg"].removeprefix("Value error, ")
        raise ExampleError(f"{where}: {place + ': ' if place else ''}{reason}.") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ExampleError(f"{where} is not an example: {error!r}; mend or remove the line.") from error


def published_example(record: dict[str, Any]) -> Example:
    """Turn a record of the published form `{"text", "start_str_idx", "tool_calling"}` into an example.

    Text before "Answer:" (or "A:") becomes the question. `call_param` is a list there, without names, and is kept
    under the keys "0", "1" and so on until a reader who knows the tool renames them. White space around a result is
    taken off, as it is in front of an offset.

    Raises
    ------
    ValueError, KeyError, pydantic.ValidationError
        If the record is broken, among others where an offset does not point at the result.
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
    """Return the offset of the first character that is not white space; published offsets often stand before it."""
    while start < len(text) and text[start].isspace():
        start += 1
    return start
