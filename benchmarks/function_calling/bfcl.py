"""`read_bfcl`: a folder in the form of the Berkeley function-calling leaderboard (single-turn, AST-scored part)."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from langchain_core.messages import BaseMessage, HumanMessage

from toolken.benchmarks.function_calling.answered_files import Functions, answered_records, text_message
from toolken.benchmarks.function_calling.call_set import CallSet
from toolken.benchmarks.function_calling.record import CallRecord, ExpectedCall
from toolken.benchmarks.sets.data_files import UNKNOWN_TOOL, DataFolder, UnusableRecordError

SEVERAL_TURNS = "the record has several requests, each with its own calls"


def read_bfcl(folder: str | Path, name: str = "bfcl") -> CallSet:
    """Read a folder in BFCL's form: each `X.jsonl` is a category, its right calls are in `X_answers.jsonl`.

    A file whose name contains "irrelevance" needs no answers: no call is right. Names such as `spotify.play` become
    `spotify_play`, and types such as "dict" become JSON types.

    Raises
    ------
    DataFormatError
        If a file lacks its answers, or a record has another form; the message has file and line.
    """
    data = DataFolder(name, folder)
    return CallSet.of(data, answered_records(data, _record))


def _record(identifier: str, category: str, record: dict[str, Any], tools: Functions, answer: Any) -> CallRecord:
    return CallRecord(
        id=identifier,
        category=category,
        messages=_messages(record["question"]),
        tools=tools.specs,
        expected=tuple(_expected(name, arguments, tools) for name, arguments in _calls(answer)),
    )


def _messages(question: Any) -> tuple[BaseMessage, ...]:
    if isinstance(question, str):
        return (HumanMessage(question),)
    if question and isinstance(question[0], list):
        if len(question) > 1:
            raise UnusableRecordError(SEVERAL_TURNS)
        question = question[0]
    messages = tuple(text_message(message["role"], message["content"]) for message in question)
    if not messages or not isinstance(messages[-1], HumanMessage):
        raise ValueError("its last message is not the user's")
    return messages


def _calls(answer: Any) -> Iterable[tuple[str, dict[str, Any]]]:
    """Yield (name, accepted values of each argument); the answer is a list of `{name: arguments}` or one of them."""
    for one in [answer] if isinstance(answer, dict) else answer or ():
        yield from one.items()


def _expected(name: str, arguments: dict[str, Any], tools: Functions) -> ExpectedCall:
    spec = tools.spec(name)
    if spec is None:
        raise UnusableRecordError(UNKNOWN_TOOL)
    lists = {key: values if isinstance(values, list) else [values] for key, values in arguments.items()}
    # A call without a required argument is wrong even if its accepted values contain "".
    required = spec.parameters.get("required") or ()
    return ExpectedCall(
        tool=spec.name,
        accepted={key: tuple(value for value in values if value != "") for key, values in lists.items()},
        optional=frozenset(key for key, values in lists.items() if "" in values and key not in required),
    )
