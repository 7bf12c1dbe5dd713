"""`CallSet`: the records of a set by category, the tools for distractors, and what was read and dropped."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from toolken.agents.grammar.schema_grammar import check_schema
from toolken.benchmarks.function_calling.record import CallRecord
from toolken.benchmarks.sets.data_files import DataFolder
from toolken.errors import DataFormatError, ToolSpecError
from toolken.training.tool_spec import ToolSpec


@dataclass(frozen=True)
class CallSet:
    """A set of function-calling records.

    Attributes
    ----------
    name
        Name of the set.
    records
        The records of each category.
    pool
        All tools of the set, from which distractors come: distinct specs, whose names may be equal.
    read
        Number of used records per file.
    dropped
        Number of dropped records per file and reason.
    uncompiled
        Tools whose argument schema cannot be compiled to a grammar, with the reason. Their records stay: a method that
        needs the grammar misses them.
    splits
        "train", "dev" or "test" per domain, where the files say so.
    """

    name: str
    records: Mapping[str, tuple[CallRecord, ...]]
    pool: tuple[ToolSpec, ...]
    read: Mapping[str, int] = field(default_factory=dict)
    dropped: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    uncompiled: Mapping[str, str] = field(default_factory=dict)
    splits: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        data: DataFolder,
        records: Iterable[CallRecord],
        *,
        more_tools: Iterable[ToolSpec] = (),
        splits: Mapping[str, str] | None = None,
    ) -> "CallSet":
        """Return the set of some records, with the counts of the folder they were read from.

        Parameters
        ----------
        data
            The folder.
        records
            The records.
        more_tools
            Tools that no record has, as further distractors.
        splits
            The split of each domain.

        Raises
        ------
        DataFormatError
            If there is no record.
        """
        by_category: dict[str, list[CallRecord]] = {}
        tools: dict[str, ToolSpec] = {}
        for record in records:
            by_category.setdefault(record.category, []).append(record)
            tools.update((spec.digest, spec) for spec in record.tools)
        if not by_category:
            reasons = ", ".join(sorted({reason for found in data.dropped.values() for reason in found}))
            raise DataFormatError(
                f"{str(data.path)!r} has no usable record ({reasons or 'its files are empty'}): "
                "give a folder with records."
            )
        tools.update((spec.digest, spec) for spec in more_tools)
        return cls(
            name=data.name,
            records={category: tuple(found) for category, found in by_category.items()},
            pool=tuple(tools.values()),
            read=data.read,
            dropped=data.dropped,
            uncompiled=dict(_uncompiled(tools.values())),
            splits=splits or {},
        )

    def __iter__(self) -> Iterator[CallRecord]:
        return (record for found in self.records.values() for record in found)

    def __len__(self) -> int:
        return sum(map(len, self.records.values()))


def _uncompiled(tools: Iterable[ToolSpec]) -> Iterator[tuple[str, str]]:
    for spec in tools:
        try:
            check_schema(spec)
        except ToolSpecError as error:
            yield spec.name, str(error)
