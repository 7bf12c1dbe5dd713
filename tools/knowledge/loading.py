"""Bulk loading: triples are inserted in batches, in the caller's transaction."""

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Insert, Table, exists, func, insert, select, true
from sqlalchemy.dialects import postgresql, sqlite

from toolken.tools.knowledge import tables
from toolken.tools.knowledge.errors import KnowledgeError
from toolken.tools.knowledge.facts import Relation, Triple
from toolken.tools.knowledge.names import MAX_NAME_LENGTH, fold
from toolken.tools.knowledge.near_matches import extend_index
from toolken.tools.quotation import quoted

BATCH = 20_000
"""Facts per statement; larger batches gain little and cost memory."""

Row = tuple[Any, ...]
"""The values of a row in the order of its table's columns."""

_TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def load_triples(
    connection: Connection, triples: Iterable[Triple | tuple[str, str, str]], advance: Callable[[int], None]
) -> int:
    """Insert facts, aliases and names; return the number of triples. Their relations must be stored already.

    Raises
    ------
    KnowledgeError
        A triple is malformed or its relation is not stored; the message names the triple.
    """
    ids = {row.name: row.id for row in connection.execute(select(tables.relation.c.name, tables.relation.c.id))}
    last_name = connection.scalar(select(func.max(tables.name.c.id))) or 0
    # The time orders loads without one query to a sequence per row.
    first_position = time.time_ns()
    count = 0
    stream = iter(triples)
    while batch := list(islice(stream, BATCH)):
        facts: list[Row] = []
        aliases: list[Row] = []
        for number, triple in enumerate(batch, count):
            fact, others = _rows(triple, number, ids, first_position + number)
            facts.append(fact)
            aliases += others
        # Rows in index order share pages.
        facts.sort(key=itemgetter(0, 1))
        _insert_new(connection, tables.fact, facts)
        _insert_new(connection, tables.alias, aliases)
        count += len(batch)
        advance(len(batch))
    _insert_names(connection, first_position)
    extend_index(connection, last_name)
    return count


def store_relations(connection: Connection, relations: Iterable[Relation]) -> None:
    """Insert relations, or update the description of those that are stored already.

    Raises
    ------
    KnowledgeError
        A name is not a valid tool name, or a description is empty.
    """
    table = tables.relation
    for relation in relations:
        if not isinstance(relation, Relation):
            raise KnowledgeError(f"{quoted(relation)} is not a Relation: give Relation(name, description).")
        for text in (relation.name, relation.description, relation.subject):
            if not _is_text(text):
                raise KnowledgeError(f"{quoted(relation)} has {quoted(text)} where a text belongs: give plain text.")
        if not _TOOL_NAME.fullmatch(relation.name):
            raise KnowledgeError(
                f'The relation {quoted(relation.name)} cannot name a tool: use 1 to 64 letters, digits, "_" or "-".'
            )
        if not relation.description.strip():
            raise KnowledgeError(f"The relation {quoted(relation.name)} has no description: say what it is asked for.")
        words = {"description": relation.description, "subject": relation.subject}
        if not connection.execute(table.update().where(table.c.name == relation.name).values(words)).rowcount:
            connection.execute(table.insert().values(name=relation.name, **words))


def _is_text(value: object) -> bool:
    """Return whether a value is text without NUL and surrogates, which every database accepts."""
    return isinstance(value, str) and "\0" not in value and value == value.encode(errors="replace").decode()


def _rows(
    triple: Triple | tuple[str, str, str], number: int, ids: Mapping[str, int], position: int
) -> tuple[Row, Sequence[Row]]:
    """Return the row of the fact table and the rows of the alias table for a triple."""
    try:
        if not isinstance(triple, (tuple, list)):
            raise TypeError
        subject, relation, object_, subject_aliases, object_aliases = triple if len(triple) == 5 else Triple(*triple)
        key = _key(subject)
        others = _json_list(object_aliases) if object_aliases else None
        fact = (ids[relation], key, _digest(subject, object_), subject, object_, others, position)
        if not subject_aliases:
            return fact, ()
        _json_list(subject_aliases)
        return fact, [(other, key) for other in sorted({_key(alias) for alias in subject_aliases} - {key})]
    except KeyError:
        problem = f"has the relation {quoted(relation)}, which has no description: give a Relation for it"
    except (TypeError, AttributeError):
        problem = "is not a tuple of texts: subject, relation, object, and lists of aliases"
    except UnicodeError:
        problem = "has a character that is not valid text"
    except ValueError as error:
        problem = str(error)
    raise KnowledgeError(f"Triple {number + 1}, {quoted(triple)}, {problem}.")


@lru_cache(maxsize=4096)  # facts about one subject usually follow each other
def _key(name: str) -> str:
    key = fold(name)
    if not key:
        raise ValueError("has an empty name")
    if len(name) > MAX_NAME_LENGTH or len(key) > MAX_NAME_LENGTH:
        raise ValueError(f"has a name of more than {MAX_NAME_LENGTH} characters")
    return key


def _digest(subject: str, object_: str) -> int:
    """Hash subject and object; NUL and surrogates raise, since not every database accepts them as text."""
    if not object_.strip():
        raise ValueError("has an empty object")
    data = f"{subject}\0{object_}"
    if data.count("\0") > 1:
        raise ValueError("has a NUL character")
    return int.from_bytes(hashlib.blake2b(data.encode(), digest_size=8).digest(), "big", signed=True)


def _json_list(aliases: Sequence[str]) -> str:
    if isinstance(aliases, str):
        raise ValueError(f"has the text {quoted(aliases)} where a list of aliases belongs")
    if "\0" in "".join(aliases):
        raise ValueError("has a NUL character")
    text = json.dumps(aliases, ensure_ascii=False)
    text.encode()
    return text


def _insert_new(connection: Connection, table: Table, rows: list[Row]) -> None:
    """Insert the rows that are not stored yet.

    The statement is compiled once and the rows go to the driver directly: SQLAlchemy's conversion of each parameter
    would take a third of the loading time.
    """
    if not rows:
        return
    dialect = connection.dialect.name
    if dialect in ("sqlite", "postgresql"):
        dialect_insert = sqlite.insert if dialect == "sqlite" else postgresql.insert
        statement: Insert = dialect_insert(table).on_conflict_do_nothing()
    else:
        statement = insert(table).prefix_with("IGNORE", dialect="mysql").prefix_with("IGNORE", dialect="mariadb")
    columns = table.columns.keys()
    compiled = statement.compile(connection, column_keys=columns)
    parameters: list[Any] = rows
    if compiled.positiontup is None:
        parameters = [dict(zip(columns, row, strict=True)) for row in rows]
    elif compiled.positiontup != columns:
        parameters = [[row[columns.index(name)] for name in compiled.positiontup] for row in rows]
    connection.exec_driver_sql(str(compiled), parameters)


def _insert_names(connection: Connection, first_position: int) -> None:
    """Insert the keys of the facts just loaded, and of all aliases, that the table of names lacks."""
    fact, alias, name = tables.fact, tables.alias, tables.name
    for column, loaded in ((fact.c.key, fact.c.position >= first_position), (alias.c.key, true())):
        known = exists().where(name.c.key == column)
        connection.execute(name.insert().from_select(["key"], select(column).where(loaded, ~known).distinct()))
