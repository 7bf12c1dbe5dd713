"""`Demonstration`: an example of a tool's arguments, shown to the LM only while it writes arguments."""

from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from toolken.training.examples import Example

#: Demonstrations kept for each tool.
KEPT = 6


class Demonstration(BaseModel):
    """A question, the results that were there already, and the arguments of the next call.

    Attributes
    ----------
    question
        What the user asked.
    results
        Results of the calls before this one.
    args
        The call's arguments.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    question: str
    results: tuple[str, ...] = ()
    args: dict[str, Any]


def demonstrations_of(examples: Iterable[Example], names: Sequence[str]) -> dict[str, list[Demonstration]]:
    """Keep the first few demonstrations of each tool, half of them with earlier results where there are any."""
    first: dict[str, list[Demonstration]] = {name: [] for name in names}
    later: dict[str, list[Demonstration]] = {name: [] for name in names}
    for example in examples:
        if not example.question:
            continue
        results: tuple[str, ...] = ()
        for call in example.calls:
            shown = Demonstration(question=example.question, results=results, args=call.args)
            where = later if results else first
            if call.args and call.tool in where and len(where[call.tool]) < KEPT:
                where[call.tool].append(shown)
            results = (*results, call.result)
    half = KEPT // 2
    kept = {}
    for name in names:
        behind = later[name][: max(half, KEPT - len(first[name]))]
        kept[name] = [*first[name][: KEPT - len(behind)], *behind]
    return {name: shown for name, shown in kept.items() if shown}
