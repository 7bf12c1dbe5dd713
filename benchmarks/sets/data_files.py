"""`DataFolder`: reads published files record by record, and counts the unusable records it skips."""

import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from toolken.benchmarks.sets.dataset import Dataset, Evaluation
from toolken.errors import DataFormatError
from toolken.training.examples import Example, published_example
from toolken.training.tool_spec import ToolSpec

#: Remains of annotation tools in some published texts, instead of a marked call.
MARKUP = re.compile(r"<eoe>|<\w+>\(")

OFFSET = "an offset does not point at the result"
FRAGMENT = "an offset points into a longer word or number"
CALL_MARKUP = "the text contains markup of calls"
UNKNOWN_TOOL = "a call names an unknown tool"
NO_CALL = "the record calls no tool"
IN_TEST = "the question also occurs in the test or dev data"


class UnusableRecordError(DataFormatError):
    """A record has the right form but cannot be used; it is skipped and counted under the message.

    No action is needed: the data set reports how many records were skipped, and why.
    """


class DataFolder:
    """A folder of published files, with counts of the records read and skipped per file.

    Attributes
    ----------
    name
        Name of the benchmark.
    path
        Path of the folder.
    """

    def __init__(self, name: str, path: str | Path) -> None:
        self.name = name
        self.path = Path(path)
        self._read: Counter[str] = Counter()
        self._dropped: dict[str, Counter[str]] = {}
        self._missing: list[str] = []

    @property
    def read(self) -> dict[str, int]:
        """Number of used records per file."""
        return dict(self._read)

    @property
    def dropped(self) -> dict[str, dict[str, int]]:
        """Number of skipped records per file and reason."""
        return {file: dict(reasons) for file, reasons in self._dropped.items()}

    def has(self, file: str) -> bool:
        """Return whether the folder has this file; the data set reports a missing one."""
        found = (self.path / file).is_file()
        if not found and file not in self._missing:
            self._missing.append(file)
        return found

    def place(self, file: str | Path) -> Path:
        """Return the path of a file: a `Path` unchanged, a name within the folder."""
        return file if isinstance(file, Path) else self.path / file

    def text(self, file: str | Path) -> str:
        """Return a file's text; see `place`.

        Raises
        ------
        DataFormatError
            If the file is missing or not text.
        """
        path = self.place(file)
        try:
            return path.read_text(encoding="utf-8-sig")
        except OSError as error:
            raise DataFormatError(
                f"{str(path)!r} cannot be read ({error.strerror}): give the folder with the {self.name} data as --data."
            ) from error
        except UnicodeDecodeError as error:
            raise DataFormatError(f"{str(path)!r} is not text in UTF-8 ({error}): give the published file.") from error

    def json(self, file: str | Path) -> Any:
        """Return the content of a JSON file.

        Raises
        ------
        DataFormatError
            If the file is missing or not JSON.
        """
        text = self.text(file)
        try:
            return json.loads(text)
        except ValueError as error:
            path = str(self.place(file))
            raise DataFormatError(f"{path!r} is not JSON ({error}): give the published file.") from error

    def records(self, file: str | Path) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield (place, record) for each record of a JSON lines file or a JSON list.

        Raises
        ------
        DataFormatError
            If the file is missing, or a line is not a JSON object.
        """
        path = self.place(file)
        text = self.text(file)
        places = self._list(path, self.json(file)) if text.lstrip().startswith("[") else self._lines(path, text)
        for where, record in places:
            if not isinstance(record, dict):
                raise DataFormatError(f"{where} is not a JSON object: fix or remove it.")
            yield where, record

    @staticmethod
    def _list(path: Path, records: list[Any]) -> Iterator[tuple[str, Any]]:
        return ((f"{path}, record {number}", record) for number, record in enumerate(records, start=1))

    @staticmethod
    def _lines(path: Path, text: str) -> Iterator[tuple[str, Any]]:
        for number, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                try:
                    yield f"{path}, line {number}", json.loads(line)
                except ValueError as error:
                    raise DataFormatError(f"{path}, line {number} is not JSON ({error}): fix or remove it.") from error

    def specs(self) -> list[ToolSpec]:
        """Read the tools of tools.json in the order of their ids, named without "<" and ">".

        Raises
        ------
        DataFormatError
            If the file is missing, has another form, or contains no tool.
        """
        raw = self.json("tools.json")
        try:
            ids, information = raw["tool_dict"], raw["tool_information"]
            specs = [
                ToolSpec(name=name.strip("<>"), description=information.get(name, {}).get("tool_description", ""))
                for name in sorted(ids, key=lambda name: int(ids[name]))
            ]
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise DataFormatError(
                f"{str(self.path / 'tools.json')!r} has no tool_dict and tool_information ({error!r}): give the "
                "published file."
            ) from error
        if not specs:
            raise DataFormatError(f"{str(self.path / 'tools.json')!r} has no tool: give a file that lists tools.")
        return specs

    def examples(
        self,
        file: str | Path,
        example: Callable[[dict[str, Any]], Example],
        tools: Collection[str],
        *,
        without: Iterable[Example] = (),
        label: str | None = None,
        uncalled: bool = False,
    ) -> list[Example]:
        """Read the usable examples of a file; the others are counted.

        Parameters
        ----------
        file
            A name in the folder, or any path.
        example
            Converts a record; raises `UnusableRecordError` if it cannot be used.
        tools
            Names of tools that may be called.
        without
            Examples to exclude by their questions: the test and dev data.
        label
            Name under which records are counted; by default the file's.
        uncalled
            Whether records without a call are usable, as in running text, where every token is a decision.

        Raises
        ------
        DataFormatError
            If a record has another form, or no record is usable; the message names file and line.
        """
        label = str(file) if label is None else label
        self._read[label] += 0
        excluded = {normalised(other.question) for other in without if other.question}
        found = []
        for where, record in self.records(file):
            try:
                read = example(record)
                if not read.calls and not uncalled:
                    raise UnusableRecordError(NO_CALL)
                if any(call.tool not in tools for call in read.calls):
                    raise UnusableRecordError(UNKNOWN_TOOL)
                if normalised(read.question) in excluded:
                    raise UnusableRecordError(IN_TEST)
            except UnusableRecordError as reason:
                self.drop(label, str(reason))
            except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
                detail = _detail(error)
                raise DataFormatError(
                    f"{where} is not a record of {self.name} in the published form ({detail}): fix or remove it."
                ) from error
            else:
                found.append(read)
                self._read[label] += 1
        if not found:
            reasons = ", ".join(f"{count} x {reason}" for reason, count in self._dropped.get(label, {}).items())
            raise DataFormatError(
                f"{str(self.place(file))!r} has no usable record ({reasons or 'it is empty'}): give a file "
                "with usable records."
            )
        return found

    def training(
        self,
        example: Callable[[dict[str, Any]], Example],
        tools: Collection[str],
        tests: dict[str, Evaluation],
        *,
        uncalled: bool = False,
    ) -> dict[str, list[Example]]:
        """Read train.jsonl, if it exists, without the questions of the tests; see `examples`."""
        asked = [asked for test in tests.values() for asked in test.examples]
        file = "train.jsonl"
        if not self.has(file):
            return {}
        return {"supervised": self.examples(file, example, tools, without=asked, uncalled=uncalled)}

    def count(self, file: str | Path, records: int) -> None:
        """Add to the count of used records of a file."""
        self._read[str(file)] += records

    def drop(self, file: str | Path, reason: str, records: int = 1) -> None:
        """Add to the count of skipped records of a file."""
        self._read[str(file)] += 0
        self._dropped.setdefault(str(file), Counter())[reason] += records

    def dataset(
        self,
        specs: Sequence[ToolSpec],
        train: dict[str, list[Example]],
        tests: dict[str, Evaluation],
        dev: dict[str, list[Example]] | None = None,
        preamble: str = "",
    ) -> Dataset:
        """Return the data set with the counts of this folder.

        Raises
        ------
        DataFormatError
            If there is no test.
        """
        if not tests:
            raise DataFormatError(
                f"The folder {str(self.path)!r} has none of {', '.join(map(repr, self._missing))}: give the folder "
                f"with the {self.name} data as --data, or a file as --test."
            )
        return Dataset(
            name=self.name,
            specs=list(specs),
            train=train,
            tests=tests,
            dev=dev or {},
            preamble=preamble,
            read=self.read,
            dropped=self.dropped,
            missing=list(self._missing),
        )


def published(record: dict[str, Any]) -> Example:
    """Convert a record of the form `{"text", "start_str_idx", "tool_calling"}`.

    Raises
    ------
    UnusableRecordError
        If an offset does not point at its result, or the text contains markup of calls.
    """
    if MARKUP.search(record["text"]):
        raise UnusableRecordError(CALL_MARKUP)
    try:
        example = published_example(record)
    except ValidationError as error:
        if error.errors()[0]["type"] == "value_error":
            raise UnusableRecordError(OFFSET) from error
        raise
    return checked_results(example)


def checked_results(example: Example) -> Example:
    """Return an example unchanged after checking that its results are whole words and numbers.

    Raises
    ------
    UnusableRecordError
        If a result is a fragment of a longer word or number.
    """
    for call in example.calls:
        if example.answer is not None and call.start is not None and call.result:
            before, after = example.answer[: call.start], example.answer[call.start + len(call.result) :]
            if _runs_on(before[-1:], call.result[0]) or _runs_on(call.result[-1], after[:1]):
                raise UnusableRecordError(FRAGMENT)
            if call.result[-1].isdigit() and re.match(r"[.,]\d", after):
                raise UnusableRecordError(FRAGMENT)
            if call.result[0].isdigit() and re.search(r"\d[.,]$", before):
                raise UnusableRecordError(FRAGMENT)
    return example


def _detail(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return error.errors()[0]["msg"]
    return f"it has no {error}" if isinstance(error, KeyError) else str(error)


def _runs_on(left: str, right: str) -> bool:
    return (left.isdigit() and right.isdigit()) or (left.isalpha() and right.isalpha())


def normalised(question: str) -> str:
    """Return a question with normalised case and white space, for comparison."""
    return " ".join(question.split()).casefold()
