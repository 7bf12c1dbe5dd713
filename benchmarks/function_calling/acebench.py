"""`read_acebench`: a folder of ACEBench's normal and special records."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from toolken.benchmarks.function_calling.answered_files import Functions, answered_records
from toolken.benchmarks.function_calling.call_set import CallSet
from toolken.benchmarks.function_calling.published_tools import accepted_arguments
from toolken.benchmarks.function_calling.record import CallRecord, ExpectedCall
from toolken.benchmarks.sets.data_files import NO_CALL, UNKNOWN_TOOL, DataFolder, UnusableRecordError
from toolken.training.tool_spec import ToolSpec

_SPEAKER = re.compile(r"^(user|system)\s*:[ \t]*", re.MULTILINE)
#: Several calls of one tool are keys of one object, so the published answers number them: `book_1`, `book_2`.
_NUMBERED = re.compile(r"_\d+$")
#: JSON's constants in calls that are otherwise written as in Python.
_CONSTANTS = {"true": True, "false": False, "null": None}


def read_acebench(folder: str | Path, name: str = "acebench") -> CallSet:
    """Read a folder in ACEBench's form: each `X.jsonl` is a category, its answers are in `X_answers.jsonl`.

    The form of the answer decides what is right: calls; no call and the missing arguments named (`missing`); no call
    and the invalid value named (`wrong`); or no call (a sentence). The current time of a record becomes a system
    message, and a call that "system:" writes becomes a tool call. Its result is not published, so that the tool message
    repeats the reply that follows.

    Every argument of a published call is compared and none may be added. Values are compared by BFCL's rules, and a
    string is also right if it contains the published one as whole words ("New York City" for "New York"), except where
    the schema lists the values. The published checker accepts any substring.

    Raises
    ------
    DataFormatError
        If a file lacks its answers, or a record has another form; the message has file and line.
    """
    data = DataFolder(name, folder)
    return CallSet.of(data, answered_records(data, _record, lambda stem: re.sub("^(normal|special)_", "", stem)))


def _record(identifier: str, category: str, record: dict[str, Any], tools: Functions, answer: Any) -> CallRecord:
    expected: list[ExpectedCall] = []
    missing: dict[str, tuple[str, ...]] = {}
    wrong: dict[str, tuple[str, ...]] = {}
    for key, value in _entries(answer):
        spec = _called(key, tools)
        if isinstance(value, dict):
            if spec is None:
                raise UnusableRecordError(UNKNOWN_TOOL)
            expected.append(ExpectedCall(spec.name, accepted_arguments(value, spec), containing=True))
        elif not isinstance(value, list):
            raise TypeError(f"its answer for {key!r} is neither arguments nor a list")
        elif spec is not None:
            missing[spec.name] = tuple(map(str, value))
        else:
            wrong[key] = tuple(map(str, value))
    if not (expected or missing or wrong or isinstance(answer, str) or answer is None):
        raise UnusableRecordError(NO_CALL)
    return CallRecord(
        id=identifier,
        category=category,
        messages=_messages(record["question"], str(record.get("time") or "").strip(), tools),
        tools=tools.specs,
        expected=tuple(expected),
        missing=missing,
        wrong=wrong,
    )


def _entries(answer: Any) -> Iterator[tuple[str, Any]]:
    """Yield the items of an answer: one object, or a list of objects."""
    if isinstance(answer, str) or answer is None:
        return
    for one in answer if isinstance(answer, list) else [answer]:
        yield from one.items()


def _called(name: str, tools: Functions) -> ToolSpec | None:
    return tools.spec(name) or tools.spec(_NUMBERED.sub("", name))


def _messages(question: str, time: str, tools: Functions) -> tuple[BaseMessage, ...]:
    _, *parts = _SPEAKER.split(question)
    turns = [(speaker, text.strip()) for speaker, text in zip(parts[::2], parts[1::2], strict=True)]
    if not turns or turns[0][0] != "user" or turns[-1][0] != "user":
        raise ValueError("its question does not begin and end with a turn of the user")
    messages: list[BaseMessage] = [SystemMessage(time)] if time else []
    for place, (speaker, text) in enumerate(turns):
        if speaker == "user":
            messages.append(HumanMessage(text))
            continue
        calls = _written_calls(text, tools)
        if not calls:
            messages.append(AIMessage(text))
            continue
        number = sum(isinstance(message, ToolMessage) for message in messages)
        ids = [f"call_{number + index}" for index in range(1, len(calls) + 1)]
        messages.append(
            AIMessage("", tool_calls=[{"id": i, "name": n, "args": a} for i, (n, a) in zip(ids, calls, strict=True)])
        )
        reply = turns[place + 1]
        messages.extend(ToolMessage(reply[1] if reply[0] == "system" else "", tool_call_id=one) for one in ids)
    return tuple(messages)


def _written_calls(text: str, tools: Functions) -> list[tuple[str, dict[str, Any]]]:
    """Return the calls of a turn such as `[book(city="Rome", nights=2)]`; none if it has another form."""
    if not text.startswith("["):
        return []
    try:
        listed = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError):
        return []
    calls = []
    for call in listed.elts if isinstance(listed, ast.List) else ():
        if not isinstance(call, ast.Call) or call.args:
            return []
        spec = tools.spec(ast.unparse(call.func))
        if spec is None:
            return []
        try:
            arguments = {str(one.arg): ast.literal_eval(_Constants().visit(one.value)) for one in call.keywords}
        except ValueError:
            return []
        calls.append((spec.name, arguments))
    return calls


class _Constants(ast.NodeTransformer):
    """Replaces the names of JSON's constants by their values."""

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Constant(_CONSTANTS[node.id]) if node.id in _CONSTANTS else node
