"""The record every example generator yields: a question and the chain of calls that answers it."""

from typing import Any, NotRequired, TypedDict


class CallRecord(TypedDict):
    """One call of a chain.

    `args` are keyword arguments valid for the tool's schema and `result` is the text the tool returned for them.
    """

    tool: str
    args: dict[str, Any]
    result: str


class ExampleRecord(TypedDict):
    """One example: what the user asked, and the calls in order (none where words alone answer).

    `answer` is given where the wording of the answer matters, as for a question that needs no tool; where it is
    absent, whoever reads the record words the answer around the results.
    """

    question: str
    calls: list[CallRecord]
    answer: NotRequired[str]
