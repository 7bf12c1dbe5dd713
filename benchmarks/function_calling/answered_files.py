"""Pairs of files `X.jsonl` and `X_answers.jsonl`: the form of BFCL and ACEBench."""

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from pydantic import ValidationError

from toolken.benchmarks.function_calling.published_tools import published_tool, valid_names
from toolken.benchmarks.function_calling.record import CallRecord
from toolken.benchmarks.sets.data_files import DataFolder, UnusableRecordError
from toolken.errors import DataFormatError
from toolken.training.tool_spec import ToolSpec

ANSWERS = "_answers"
NO_ANSWER = "the answers file has no answer"
NO_RECORD = "the answer belongs to no record"

#: Names of files whose records no tool fits, so that they need no answers.
NO_TOOL_FITS = re.compile("irrelevan", re.IGNORECASE)

_MESSAGES: dict[str, type[BaseMessage]] = {"system": SystemMessage, "user": HumanMessage, "assistant": AIMessage}


class Functions(NamedTuple):
    """The tools of a record.

    Attributes
    ----------
    specs
        The tools.
    names
        Published name -> valid name.
    """

    specs: tuple[ToolSpec, ...]
    names: dict[str, str]

    def spec(self, name: str) -> ToolSpec | None:
        """Return the tool with a published or valid name, if there is one."""
        return next((spec for spec in self.specs if spec.name == self.names.get(name, name)), None)


#: Converts (id, category, record, tools, answer) to a `CallRecord`; the answer is None for files without answers.
Convert = Callable[[str, str, dict[str, Any], Functions, Any], CallRecord]


def text_message(role: str, content: str) -> BaseMessage:
    """Return a message without calls.

    Raises
    ------
    ValueError
        If the role is not "system", "user" or "assistant".
    """
    if role not in _MESSAGES:
        raise ValueError(f"a message has the role {role!r} instead of {', '.join(_MESSAGES)}")
    return _MESSAGES[role](content=content)


def functions(record: dict[str, Any]) -> Functions:
    """Return the tools of a record; their schemas stand under "parameters" or "arguments".

    Toolkens need distinct descriptions: a repeated one gets the tool's name.

    Raises
    ------
    KeyError, TypeError, ValueError
        If a function has another form, or two have the same name.
    """
    listed = record["function"]
    listed = [listed] if isinstance(listed, dict) else listed
    names = valid_names(one["name"] for one in listed)
    if len(names) < len(listed):
        raise ValueError("two of its functions have the same name")
    specs: list[ToolSpec] = []
    for one in listed:
        name, description = names[one["name"]], one.get("description")
        spec = published_tool(name, description, one.get("parameters", one.get("arguments")))
        if any(spec.words.strip().lower() == other.words.strip().lower() for other in specs):
            spec = ToolSpec(name=name, description=f"{spec.words} ({name})", parameters=spec.parameters)
        specs.append(spec)
    return Functions(tuple(specs), names)


def answered_records(data: DataFolder, convert: Convert, category: Callable[[str], str] = str) -> Iterator[CallRecord]:
    """Yield the records of all pairs of files in a folder; unusable ones are counted.

    Parameters
    ----------
    data
        The folder.
    convert
        Converts a record and its answer.
    category
        Returns the category of a file from its name without ".jsonl".

    Raises
    ------
    DataFormatError
        If there are no files, a file that needs answers has none, or a record has another form.
    """
    stems = sorted(path.stem for path in data.path.glob("*.jsonl"))
    questions = [stem for stem in stems if not stem.endswith(ANSWERS)]
    orphans = [stem for stem in stems if stem.endswith(ANSWERS) and stem.removesuffix(ANSWERS) not in questions]
    if orphans:
        missing = orphans[0].removesuffix(ANSWERS)
        raise DataFormatError(
            f"{str(data.path)!r} has {orphans[0]}.jsonl without {missing}.jsonl: add the file with the questions."
        )
    if not questions:
        raise DataFormatError(f"{str(data.path)!r} has no *.jsonl: give the folder with the {data.name} data.")
    for stem in questions:
        # Checked before any record is read.
        if stem + ANSWERS not in stems and not NO_TOOL_FITS.search(stem):
            raise DataFormatError(
                f"{str(data.path / stem)!r}.jsonl has no {stem}{ANSWERS}.jsonl: add the right calls, or put "
                '"irrelevance" into the name if no call is right.'
            )
    taken: set[str] = set()
    for stem in questions:
        yield from _file(data, stem, stem + ANSWERS in stems, category(stem), convert, taken)


def _file(
    data: DataFolder, stem: str, answered: bool, category: str, convert: Convert, taken: set[str]
) -> Iterator[CallRecord]:
    file = f"{stem}.jsonl"
    answers = _answers(data, f"{stem}{ANSWERS}.jsonl") if answered else None
    here: set[str] = set()
    for where, record in data.records(file):
        try:
            identifier = str(record["id"])
            if identifier in here:
                raise ValueError(f"its id {identifier!r} occurs twice")
            here.add(identifier)
            answer = None
            if answers is not None:
                if identifier not in answers:
                    raise UnusableRecordError(NO_ANSWER)
                answer = answers[identifier]
            # Ids are unique within a file; two files may share one.
            unique = identifier if identifier not in taken else f"{stem}/{identifier}"
            found = convert(unique, category, record, functions(record), answer)
        except UnusableRecordError as reason:
            data.drop(file, str(reason))
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise not_published(where, data.name, error) from error
        else:
            taken.add(unique)
            data.count(file, 1)
            yield found
    if answers is not None and (unasked := len(answers.keys() - here)):
        data.drop(f"{stem}{ANSWERS}.jsonl", NO_RECORD, unasked)


def _answers(data: DataFolder, file: str) -> dict[str, Any]:
    answers: dict[str, Any] = {}
    for where, answer in data.records(file):
        try:
            identifier = str(answer["id"])
            if identifier in answers:
                raise ValueError(f"its id {identifier!r} occurs twice")
            answers[identifier] = answer["ground_truth"]
        except (KeyError, ValueError) as error:
            raise not_published(where, data.name, error) from error
    return answers


def not_published(where: str, name: str, error: Exception) -> DataFormatError:
    """Return the error of a record with another form than the published one."""
    detail = f"it has no {error}" if isinstance(error, KeyError) else str(error)
    if isinstance(error, ValidationError):
        detail = error.errors()[0]["msg"]
    return DataFormatError(f"{where} is not a record of {name} in the published form ({detail}): fix or remove it.")
