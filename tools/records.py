"""Records that example generators yield: a question and the calls that answer it."""

from typing import Any, NotRequired, TypedDict


class CallRecord(TypedDict):
    """One call of an example.

    `args` are keyword arguments valid for the tool's schema; `result` is the text that the tool returned.
    """

    tool: str
    args: dict[str, Any]
    result: str


class ExampleRecord(TypedDict):
    """One example: the user's question and the calls in order; no calls if the answer needs no tool.

    `answer` is given where its wording matters, as for a question that needs no tool. Otherwise the reader of the
    record writes the answer from the results.
    """

    question: str
    calls: list[CallRecord]
    answer: NotRequired[str]
