"""`ReservedExamples`: records of a set that serve as training examples of toolken-k."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from toolken.benchmarks.end_to_end.trials import text_digest
from toolken.benchmarks.function_calling.record import CallRecord
from toolken.errors import ToolkenError
from toolken.training.examples import Call, Example


@dataclass(frozen=True)
class ReservedExamples:
    """The records that are kept as training examples, so that no method is asked them.

    They exist only where most tools have more records than examples are wanted.

    Attributes
    ----------
    by_tool
        The examples per tool, by the digest of its spec.
    used
        Ids of the records.
    """

    by_tool: Mapping[str, list[Example]]
    used: frozenset[str]

    @classmethod
    def of(cls, records: Sequence[CallRecord], wanted: int) -> "ReservedExamples":
        """Reserve `wanted` records of each tool that has more of them."""
        single = [one for one in records if len(one.expected) == 1 and len(one.messages) == 1]
        by_tool: dict[str, list[CallRecord]] = {}
        for record in sorted(single, key=lambda one: text_digest(one.id)):
            spec = next(spec for spec in record.tools if spec.name == record.expected[0].tool)
            by_tool.setdefault(spec.digest, []).append(record)
        enough = {key: found for key, found in by_tool.items() if len(found) > wanted}
        if not wanted or 2 * sum(map(len, enough.values())) < len(single):
            return cls({}, frozenset())
        kept = {key: found[:wanted] for key, found in enough.items()}
        used = frozenset(record.id for found in kept.values() for record in found)
        return cls({key: [as_example(one) for one in found] for key, found in kept.items()}, used)

    @property
    def digest(self) -> str:
        """A hash of the examples."""
        return text_digest(repr([[one.model_dump() for one in found] for _, found in sorted(self.by_tool.items())]))

    def for_tools(self, record: CallRecord) -> list[Example]:
        """Return the examples of the record's tools; a distractor may have another name than in its own record."""
        return [
            example.model_copy(
                update={"calls": tuple(call.model_copy(update={"tool": spec.name}) for call in example.calls)}
            )
            for spec in record.tools
            for example in self.by_tool.get(spec.digest, ())
        ]


def as_example(record: CallRecord) -> Example:
    """Return a record of one message as a training example, with the first accepted value of each argument.

    Raises
    ------
    ToolkenError
        If the record has no call.
    """
    if not record.expected:
        raise ToolkenError(f"The record {record.id!r} calls no tool: choose another one as an example.")
    calls = []
    for call in record.expected:
        args = {name: values[0] for name, values in call.accepted.items() if values and values[0] != ""}
        calls.append(Call(tool=call.tool, args=args))
    return Example(question=record.request, calls=tuple(calls))
