"""Facts and relations as data, and their readers for CSV, JSONL and the files of KAMEL."""

import csv
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from toolken.tools.knowledge.errors import KnowledgeError
from toolken.tools.quotation import quoted

ALIAS_SEPARATOR = "|"
"""The separator of several aliases in a CSV cell."""


@dataclass(frozen=True)
class Relation:
    """A relation between subjects and objects; each relation is one tool.

    Attributes
    ----------
    name : str
        The tool's name: letters, digits, "_" and "-", at most 64.
    description : str
        What the tool finds, in words that occur in questions.
    subject : str
        The subject as a noun phrase, such as "the country"; describes the tool's argument.
    """

    name: str
    description: str
    subject: str = "the person, place or thing asked about"


class Triple(NamedTuple):
    """One fact: a subject, a relation, one object, and alternative names of subject and object."""

    subject: str
    relation: str
    object: str
    subject_aliases: tuple[str, ...] = ()
    object_aliases: tuple[str, ...] = ()


def read_csv(lines: Iterable[str], source: str = "CSV") -> Iterator[Triple]:
    """Read triples from CSV lines with a header.

    Parameters
    ----------
    lines : iterable of str
        An open text file (opened with ``newline=""``) with the columns subject, relation, object and optionally
        subject_aliases and object_aliases, where "|" separates several.
    source : str
        Name of the file for messages.

    Raises
    ------
    KnowledgeError
        A column is missing or unknown, or a row has too many or too few cells; the message names source and line.
    """
    for cells in _csv_rows(lines, source, needed=Triple._fields[:3], allowed=Triple._fields):
        yield Triple(
            cells["subject"],
            cells["relation"],
            cells["object"],
            _split(cells.get("subject_aliases", "")),
            _split(cells.get("object_aliases", "")),
        )


def read_relations(lines: Iterable[str], source: str = "CSV") -> Iterator[Relation]:
    """Read relations from CSV lines with the columns name, description and optionally subject; errors as `read_csv`."""
    for cells in _csv_rows(lines, source, needed=("name", "description"), allowed=("name", "description", "subject")):
        yield Relation(**cells)


def read_jsonl(lines: Iterable[str], source: str = "JSONL") -> Iterator[Triple]:
    """Read triples from JSON lines.

    Parameters
    ----------
    lines : iterable of str
        One object per line: {"subject", "relation", "object"} and optionally "subject_aliases" and "object_aliases"
        (lists of strings). "object" may be a list of strings, which makes several triples (without object_aliases).
    source : str
        Name of the file for messages.

    Raises
    ------
    KnowledgeError
        A line is not such an object; the message names source and line.
    """
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        record = _json_object(line, f"{source}, line {number}")
        try:
            objects = record.pop("object")
            for one in objects if isinstance(objects, list) else [objects]:
                yield Triple(object=one, **record)
        except (KeyError, TypeError) as error:
            raise KnowledgeError(
                f"{source}, line {number}: the keys must be subject, relation, object, and may be subject_aliases "
                "and object_aliases."
            ) from error


def read_kamel(folder: str | Path) -> tuple[list[Relation], Iterator[Triple]]:
    """Read the relations and facts of KAMEL (Kalo and Fichtel, "KAMEL: Knowledge Analysis with Multitoken Entities").

    Parameters
    ----------
    folder : str or Path
        A folder with ``tools.json``, the descriptions as {"tool_information": {"<P17>": {"tool_description"}}}, and
        ``facts/*.jsonl``, one {"property", "sub_label", "obj_label"} per line. ``obj_label`` lists the objects, each a
        string or {"chosen", "rdf", "alternative": [...]}: "chosen" is the object, the other names are its aliases.

    Returns
    -------
    (list of Relation, iterator of Triple)
        What `KnowledgeBase.load` takes: ``relations, triples = read_kamel(folder)``. Relations are named by their
        Wikidata property (P17). The iterator reads the files lazily.

    Raises
    ------
    KnowledgeError
        The folder has no such files, or a line cannot be read.
    """
    folder = Path(folder)
    files = sorted((folder / "facts").glob("*.jsonl"))
    try:
        tools = json.loads((folder / "tools.json").read_text(encoding="utf-8-sig"))["tool_information"]
        relations = [Relation(tag.strip("<>"), tool["tool_description"]) for tag, tool in tools.items()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise KnowledgeError(f"{quoted(folder)} has no tools.json with the descriptions of KAMEL's tools.") from error
    if not files:
        raise KnowledgeError(f"{quoted(folder / 'facts')} has no .jsonl file with KAMEL's facts.")
    return relations, _kamel_triples(files)


def _kamel_triples(files: list[Path]) -> Iterator[Triple]:
    for file in files:
        with file.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, 1):
                place = f"{file}, line {number}"
                record = _json_object(line, place)
                try:
                    subject, relation = record["sub_label"], record["property"]
                    for entity in record["obj_label"]:
                        names = [entity]
                        if isinstance(entity, dict):
                            names = [entity["chosen"], entity["rdf"], *entity["alternative"]]
                        first, *others = dict.fromkeys(name for name in names if name)
                        yield Triple(subject, relation, first, (), tuple(others))
                except (KeyError, TypeError, ValueError) as error:
                    raise KnowledgeError(f"{place}: not a fact as KAMEL writes them.") from error


def _csv_rows(
    lines: Iterable[str], source: str, needed: tuple[str, ...], allowed: tuple[str, ...]
) -> Iterator[dict[str, str]]:
    rows = csv.reader(lines, strict=True)
    try:
        header = [cell.strip() for cell in next(rows, [])]
        if not set(needed) <= set(header) <= set(allowed) or len(set(header)) < len(header):
            raise KnowledgeError(
                f"{source}, line 1: the header is {quoted(','.join(header))}; it needs the columns "
                f"{', '.join(needed)}, and of others takes {', '.join(one for one in allowed if one not in needed)}."
            )
        for row in rows:
            if len(row) == len(header):
                yield dict(zip(header, row, strict=True))
            elif row:
                raise KnowledgeError(
                    f"{source}, line {rows.line_num}: {len(row)} cells where the header has {len(header)}."
                )
    except csv.Error as error:
        raise KnowledgeError(f"{source}, line {rows.line_num}: {error}.") from error


def _split(cell: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in cell.split(ALIAS_SEPARATOR) if part.strip())


def _json_object(line: str, place: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise KnowledgeError(f"{place}: not valid JSON ({error}).") from error
    if not isinstance(record, dict):
        raise KnowledgeError(f"{place}: {quoted(line)} is not a JSON object.")
    return record
