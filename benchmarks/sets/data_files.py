"""`DataFolder`: published files read record by record; what is of no use is left out and counted."""

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

#: What annotation tools left in some published texts, where a call should have been marked instead.
MARKUP = re.compile(r"<eoe>|<\w+>\(")

OFFSET = "an offset does not point at the result"
PART = "an offset points into a longer word or number"
LEFT_OVER = "marks of calls are left in the text"
UNKNOWN_TOOL = "a tool is called that is not among the tools"
NO_CALL = "no tool is called"
IN_TEST = "the question stands in the test or dev data too"


class UnusableRecordError(DataFormatError):
    """A record is in the right form but of no use; it is left out, and the reason, which is the message, counted.

    Nothing is to be done: the data set says how many records were left out, and why.
    """


class DataFolder:
    """A folder of published files, and the count of what was read from each of them.

    Attributes
    ----------
    name
        Of the benchmark.
    path
        Of the folder.
    """

    def __init__(self, name: str, path: str | Path) -> None:
        self.name = name
        self.path = Path(path)
        self._read: Counter[str] = Counter()
        self._dropped: dict[str, Counter[str]] = {}
        self._missing: list[str] = []

    def has(self, file: str) -> bool:
        """Whether the folder has this file; if not, the data set will say so."""
        found = (self.path / file).is_file()
        if not found and file not in self._missing:
            self._missing.append(file)
        return found

    def place(self, file: str | Path) -> Path:
        """Return where a file is: a `Path` stands for itself, a name for a file of the folder."""
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
        """Yield the records of a file, one JSON object a line or all in a JSON list, each with where it stands.

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
                raise DataFormatError(f"{where} is not a JSON object: mend or remove it.")
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
                    raise DataFormatError(f"{path}, line {number} is not JSON ({error}): mend or remove it.") from error

    def specs(self) -> list[ToolSpec]:
        """Read the tools of tools.json in the order of their ids, named without "<" and ">".

        Raises
        ------
        DataFormatError
            If the file is missing, in another form, or without a tool.
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
            raise DataFormatError(f"{str(self.path / 'tools.json')!r} has no tool: give a file with some.")
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
        """Read the examples of a file, without those that cannot be used, which are counted.

        Parameters
        ----------
        file
            A name in the folder, or a path of its own.
        example
            Makes an example of a record; raises `UnusableRecordError` where it is of no use.
        tools
            Names that a call may have.
        without
            Examples whose questions are left out here: those that figures are reported on.
        label
            What the records are counted under, where it is not the file.
        uncalled
            Whether a record that calls no tool is of use: it is in running text, where every word is decided.

        Raises
        ------
        DataFormatError
            If a record is in another form, or there is no record that can be used; file and line are named.
        """
        label = str(file) if label is None else label
        self._read[label] += 0
        excluded = {normal(other.question) for other in without if other.question}
        found = []
        for where, record in self.records(file):
            try:
                read = example(record)
                if not read.calls and not uncalled:
                    raise UnusableRecordError(NO_CALL)
                if any(call.tool not in tools for call in read.calls):
                    raise UnusableRecordError(UNKNOWN_TOOL)
                if normal(read.question) in excluded:
                    raise UnusableRecordError(IN_TEST)
            except UnusableRecordError as reason:
                self.drop(label, str(reason))
            except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
                detail = _detail(error)
                raise DataFormatError(
                    f"{where} is not a record of {self.name} in the published form ({detail}): mend or remove it."
                ) from error
            else:
                found.append(read)
                self._read[label] += 1
        if not found:
            reasons = ", ".join(f"{count} x {reason}" for reason, count in self._dropped.get(label, {}).items())
            raise DataFormatError(
                f"{str(self.place(file))!r} has no record that can be used ({reasons or 'it is empty'}): give a file "
                "with some."
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
        """Read train.jsonl, where there is one, without the questions of the tests; see `examples`."""
        asked = [asked for test in tests.values() for asked in test.examples]
        file = "train.jsonl"
        if not self.has(file):
            return {}
        return {"supervised": self.examples(file, example, tools, without=asked, uncalled=uncalled)}

    def count(self, file: str | Path, records: int) -> None:
        """Count records of a file that are used."""
        self._read[str(file)] += records

    def drop(self, file: str | Path, reason: str, records: int = 1) -> None:
        """Count records of a file that are not used."""
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
            If there is nothing to report figures on.
        """
        if not tests:
            raise DataFormatError(
                f"The folder {str(self.path)!r} has none of {', '.join(map(repr, self._missing))}: give the folder "
                f"with the {self.name} data as --data, or a file as --test."
            )
        dropped = {file: dict(reasons) for file, reasons in self._dropped.items()}
        return Dataset(
            name=self.name,
            specs=list(specs),
            train=train,
            tests=tests,
            dev=dev or {},
            preamble=preamble,
            read=dict(self._read),
            dropped=dropped,
            missing=list(self._missing),
        )


def published(record: dict[str, Any]) -> Example:
    """Make an example of a record of the form `{"text", "start_str_idx", "tool_calling"}`.

    Raises
    ------
    UnusableRecordError
        If an offset does not point at its result, or the text has marks of calls in it.
    """
    if MARKUP.search(record["text"]):
        raise UnusableRecordError(LEFT_OVER)
    try:
        example = published_example(record)
    except ValidationError as error:
        if error.errors()[0]["type"] == "value_error":
            raise UnusableRecordError(OFFSET) from error
        raise
    return placed(example)


def placed(example: Example) -> Example:
    """Return an example as it is, having made sure that no result is cut out of a longer word or number.

    Raises
    ------
    UnusableRecordError
        If one is.
    """
    for call in example.calls:
        if example.answer is not None and call.start is not None and call.result:
            before, behind = example.answer[: call.start], example.answer[call.start + len(call.result) :]
            if _runs_on(before[-1:], call.result[0]) or _runs_on(call.result[-1], behind[:1]):
                raise UnusableRecordError(PART)
            if call.result[-1].isdigit() and re.match(r"[.,]\d", behind):
                raise UnusableRecordError(PART)
            if call.result[0].isdigit() and re.search(r"\d[.,]$", before):
                raise UnusableRecordError(PART)
    return example


def _detail(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return error.errors()[0]["msg"]
    return f"it has no {error}" if isinstance(error, KeyError) else str(error)


def _runs_on(left: str, right: str) -> bool:
    return (left.isdigit() and right.isdigit()) or (left.isalpha() and right.isalpha())


def normal(question: str) -> str:
    """Return a question without differences of case and white space, to find it again."""
    return " ".join(question.split()).casefold()
