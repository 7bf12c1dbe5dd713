"""An existing database as tools: its schema is reflected, and each of its lookups becomes a tool."""

import contextlib
import datetime
import json
import threading
import warnings
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from functools import partial
from types import TracebackType
from typing import Any, Self

from langchain_core.tools import BaseTool
from sqlalchemy import URL, Column, MetaData, String, Table, event, inspect, select, type_coerce
from sqlalchemy.exc import NoSuchTableError, SAWarning, SQLAlchemyError
from sqlalchemy.types import NullType

from toolken.tools.knowledge.connections import parse_url, reading, reading_engine
from toolken.tools.knowledge.errors import KnowledgeError, NothingFoundError, did_you_mean
from toolken.tools.knowledge.facts import Relation, Triple
from toolken.tools.knowledge.knowledge_base import KnowledgeBase
from toolken.tools.knowledge.lookup_tools import joined, lookup_tool
from toolken.tools.knowledge.names import MAX_NAME_LENGTH, fold
from toolken.tools.knowledge.schema_paths import UNTYPED, Lookup, find_lookups, words
from toolken.tools.knowledge.sqlite_values import key_candidates, stored_value
from toolken.tools.quotation import quoted

_SPELLING = Relation("spelling", "How a key is spelt.")
_LONGEST_VALUE = 1000
_LONGEST_PLAIN_NUMBER = 30
"""Decimals with more digits before or after the point are written with an exponent."""
_TYPES = {
    int: "a whole number",
    datetime.date: "a date like 2026-12-31",
    datetime.datetime: "a date and time like 2026-12-31 23:59",
    datetime.time: "a time like 23:59",
}


class ReflectedSchema:
    """Read-only lookups in an existing database.

    There is one lookup for each pair of a key column and a value column of a table (`key_columns` and `value_columns`
    in `toolken.tools.knowledge.schema_paths` choose them) and one for each foreign-key path from a key: to the row
    that the foreign key refers to, to the rows that refer to it, and through an association table. Descriptions are
    generated from the names of tables and columns and from the comment of the value column.

    The key is first looked up exactly as written, which uses the database's index. If no row matches, the keys of the
    column are read once into an index in memory, which finds keys that differ in case or accents and suggests near
    matches. `refresh` discards that index.

    SQLite stores values of any type in any column. A value that does not have the declared type of its column is
    returned as stored: a BOOLEAN column with the text "no" answers "no".

    Parameters
    ----------
    url : str or URL
        Any SQLAlchemy URL with a synchronous driver.
    tables : sequence of str, optional
        Tables and views at which lookups start; all by default.
    schema : str, optional
        The database schema, if not the default one.
    keys : mapping of str to sequence of str
        Key columns by table name; `key_columns` chooses those of the other tables. Numbers and dates are allowed here.
    descriptions : mapping of str to str
        Descriptions by tool name, which replace the generated ones.
    hops : int
        Maximum number of foreign keys on a path; 0 for columns of the same table only.
    max_tools : int
        Maximum number of lookups; a schema with more raises an error.
    max_names : int
        Maximum number of keys in the in-memory index of a column; larger columns match exact spelling only.
    row_limit, timeout
        As for `KnowledgeBase`.

    Raises
    ------
    KnowledgeError
        The database cannot be read, a table or column does not exist, or there are no or too many lookups.
    """

    def __init__(
        self,
        url: str | URL,
        *,
        tables: Sequence[str] | None = None,
        schema: str | None = None,
        keys: Mapping[str, Sequence[str]] | None = None,
        descriptions: Mapping[str, str] | None = None,
        hops: int = 1,
        max_tools: int = 200,
        max_names: int = 200_000,
        row_limit: int = 50,
        timeout: float = 2.0,
    ) -> None:
        self._engine = reading_engine(parse_url(url), timeout)
        self._is_sqlite = self._engine.dialect.name == "sqlite"
        self._timeout = timeout
        self._row_limit = row_limit
        self._max_names = max_names
        self._descriptions = dict(descriptions or {})
        self._spellings: dict[Column[object], KnowledgeBase | None] = {}
        self._reading_keys = threading.Lock()
        every = self._reflect(schema)
        _check_names(every, tables or (), keys or {})
        start = [table for table in every if tables is None or table.name in tables]
        found = list(find_lookups(start, every, keys or {}, hops))
        if not found:
            raise KnowledgeError("No table has a column to look rows up by: name some with keys={table: [column]}.")
        if len(found) > max_tools:
            raise KnowledgeError(
                f"The schema gives {len(found)} lookups, more than max_tools={max_tools}: name the tables you need "
                "with tables=[...], or ask for fewer hops."
            )
        self._lookups = {lookup.name: lookup for lookup in found}
        unknown = [name for name in self._descriptions if name not in self._lookups]
        if unknown:
            raise KnowledgeError(f"There is no lookup {quoted(unknown[0])} to describe; see `ReflectedSchema.lookups`.")

    @property
    def lookups(self) -> dict[str, Lookup]:
        """The lookups by tool name."""
        return dict(self._lookups)

    def lookup(self, name: str, subject: str) -> list[dict[str, Any]]:
        """Return the rows that one lookup finds for one key.

        Returns
        -------
        list of dict
            At least one and at most `row_limit`, each with the key under its column's name and the value under the
            lookup's: {"title": "Metropolis", "films_director": "Fritz Lang"}.

        Raises
        ------
        NothingFoundError
            No row has the key, or none has a value; `suggestions` holds the near matches that the message offers.
        KnowledgeError
            There is no such lookup, or the database did not answer in time.
        """
        if name not in self._lookups:
            raise KnowledgeError(f"There is no lookup {quoted(name)}: it is one of {', '.join(self._lookups)}.")
        return self._find(self._lookups[name], subject)[0]

    def tools(self) -> list[BaseTool]:
        """Return one tool per lookup; its text is the values joined by ", ", its artifact the rows of `lookup`."""
        return [
            lookup_tool(name, self._descriptions.get(name, one.description), one.subject, partial(self._answer, one))
            for name, one in self._lookups.items()
        ]

    def refresh(self) -> None:
        """Discard the keys read for near matches; the next lookup without a match reads them again."""
        with self._reading_keys:
            for spellings in self._spellings.values():
                if spellings is not None:
                    spellings.close()
            self._spellings.clear()

    def close(self) -> None:
        """Close every connection."""
        self.refresh()
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _reflect(self, schema: str | None) -> list[Table]:
        metadata = MetaData()
        event.listen(metadata, "column_reflect", _mark_untyped)
        with reading(self._engine, self._timeout) as connection, warnings.catch_warnings():
            # Columns of a type that SQLAlchemy does not know are returned as the driver returns them.
            warnings.simplefilter("ignore", SAWarning)
            try:
                metadata.reflect(connection, schema=schema)
            except NoSuchTableError:  # a foreign key to a table that does not exist
                metadata.clear()
                metadata.reflect(connection, schema=schema, resolve_fks=False)
            inspector = inspect(connection)
            views = [*inspector.get_view_names(schema)]
            with contextlib.suppress(NotImplementedError):  # the dialect has no materialized views
                views += inspector.get_materialized_view_names(schema)
            for view in views:
                with contextlib.suppress(SQLAlchemyError):  # the view selects from a table that does not exist
                    Table(view, metadata, schema=schema, autoload_with=connection)
        return sorted(metadata.tables.values(), key=lambda table: table.name)

    def _answer(self, lookup: Lookup, subject: str) -> tuple[str, list[dict[str, Any]]]:
        rows, more = self._find(lookup, subject)
        groups: dict[str, dict[str, None]] = {}
        for row in rows:
            groups.setdefault(_text(row[lookup.key.name]), {})[_text(row[lookup.name])] = None
        return joined({key: list(values) for key, values in groups.items()}, more), rows

    def _find(self, lookup: Lookup, subject: str) -> tuple[list[dict[str, Any]], bool]:
        text = _key_text(subject, lookup.key)
        if self._is_sqlite:
            rows = self._rows(lookup, key_candidates(text, lookup.key.type))
        else:
            rows = self._rows(lookup, [_converted(text, lookup.key)])
        if not rows and isinstance(lookup.key.type, String | NullType):
            rows = self._rows(lookup, self._spelt(lookup, subject))
        elif not rows:
            _converted(text, lookup.key)  # an argument of the wrong type gets an error that says so
        if not rows:
            raise NothingFoundError(f"Nothing is stored under {quoted(subject)} for {lookup.name}.")
        filled = [
            {lookup.key.name: key, lookup.name: value} for key, value in rows if value is not None and value != ""
        ]
        if not filled:
            raise NothingFoundError(f"{quoted(subject)} is stored, but with nothing filled in for {lookup.name}.")
        return filled[: self._row_limit], len(filled) > self._row_limit

    def _rows(self, lookup: Lookup, keys: Sequence[object]) -> list[tuple[object, object]]:
        if not keys:
            return []
        statement = lookup.stored_statement if self._is_sqlite else lookup.statement
        with reading(self._engine, self._timeout) as connection:
            rows = connection.execute(statement.limit(self._row_limit + 1), {"keys": keys}).all()
        if self._is_sqlite:
            return [(stored_value(key, lookup.key.type), stored_value(value, lookup.value.type)) for key, value in rows]
        return [(row.key, row.value) for row in rows]

    def _spelt(self, lookup: Lookup, subject: str) -> list[str]:
        """Return the stored keys that equal `subject` except for case and accents."""
        with self._reading_keys:
            if lookup.key not in self._spellings:
                self._spellings[lookup.key] = self._read_keys(lookup.key)
            spellings = self._spellings[lookup.key]
            if spellings is None:
                return []
            try:
                return [row["object"] for row in spellings.lookup(_SPELLING.name, subject)]
            except NothingFoundError as error:
                message = f"Nothing is stored under {quoted(subject)} for {lookup.name}"
                raise NothingFoundError(f"{message}{did_you_mean(error.suggestions)}", error.suggestions) from None

    def _read_keys(self, key: Column[object]) -> KnowledgeBase | None:
        column = type_coerce(key, NullType()) if self._is_sqlite else key
        statement = select(column).where(key.is_not(None)).distinct().limit(self._max_names + 1)
        with reading(self._engine, self._timeout) as connection:
            found = connection.execute(statement).scalars().all()
        if len(found) > self._max_names:
            return None
        spellings = KnowledgeBase(row_limit=self._row_limit)
        names = [name for name in found if isinstance(name, str) and _can_be_loaded(name)]
        spellings.load((Triple(name, _SPELLING.name, name) for name in names), [_SPELLING], progress=False)
        return spellings


def _mark_untyped(inspector: object, table: Table, column: dict[str, Any]) -> None:
    column["info"] = {UNTYPED: isinstance(column["type"], NullType)}


def _check_names(every: Sequence[Table], tables: Sequence[str], keys: Mapping[str, Sequence[str]]) -> None:
    columns = {table.name: set(table.columns.keys()) for table in every}
    for table in (*tables, *keys):
        if table not in columns:
            raise KnowledgeError(f"There is no table {quoted(table)}: there are {', '.join(columns) or 'none'}.")
    for table, names in keys.items():
        for name in names:
            if name not in columns[table]:
                raise KnowledgeError(f"The table {quoted(table)} has no column {quoted(name)} to be a key.")


def _can_be_loaded(name: str) -> bool:
    """Whether a key can be offered; one with undecodable bytes (U+FFFD) could not be looked up again."""
    return not {"\0", "\ufffd"} & set(name) and 1 <= len(fold(name)) <= MAX_NAME_LENGTH and len(name) <= MAX_NAME_LENGTH


def _key_text(subject: str, key: Column[object]) -> str:
    """Return the printable characters of an argument."""
    text = "".join(filter(str.isprintable, subject)).strip() if isinstance(subject, str) else ""
    if not text:
        raise NothingFoundError(f"{quoted(subject)} is not a valid {words(key.name)}: give a letter or digit.")
    return text


def _converted(text: str, key: Column[object]) -> object:
    """Convert the text of an argument to the Python type of the key column."""
    try:
        python_type = key.type.python_type
    except NotImplementedError:
        return text
    try:
        if python_type in (int, float, Decimal):
            number = python_type(text)
            if python_type is int and abs(number) >= 2**63:
                raise ValueError("too large")
            return number
        if python_type in (datetime.date, datetime.datetime, datetime.time):
            return python_type.fromisoformat(text)
    except (ValueError, InvalidOperation):
        raise NothingFoundError(
            f"{quoted(text)} is not a valid {words(key.name)}: give {_TYPES.get(python_type, 'a number')}."
        ) from None
    return text


def _text(value: object) -> str:
    """Format a value for the tool's text, cut to 1,000 characters; the artifact keeps the whole value."""
    if isinstance(value, str):
        text = value
    elif isinstance(value, bytes | memoryview):
        text = f"{len(value)} bytes"
    elif isinstance(value, dict | list):
        text = json.dumps(value, ensure_ascii=False, default=str)
    elif isinstance(value, datetime.datetime):
        text = value.isoformat(" ")
    elif isinstance(value, Decimal):
        text = f"{value:f}" if abs(value.adjusted()) <= _LONGEST_PLAIN_NUMBER else str(value)
    else:
        text = str(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 1]}…"
