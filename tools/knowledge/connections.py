"""Database connections: a read-only engine with a time limit, and a writing engine."""

import re
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, QueuePool, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from toolken.tools.knowledge.errors import KnowledgeError
from toolken.tools.knowledge.sqlite_values import decode_text
from toolken.tools.quotation import quoted

_INSTRUCTIONS_BETWEEN_CHECKS = 10_000
"""SQLite virtual machine instructions between two checks of the deadline: well under a millisecond."""

_PASSWORD = re.compile(r"(://[^/@]*:)[^/]*@")

_WAIT_TO_WRITE = 30.0
"""Seconds to wait for another connection that writes to the same SQLite file."""

_ENLARGE_CACHE = "PRAGMA cache_size = -16384"
"""16 MiB of pages while loading: SQLite's default of 2 MiB is too small for a large index."""


def parse_url(url: str | URL) -> URL:
    """Return `url` as a SQLAlchemy URL; an in-memory SQLite database gets a name that its connections share.

    Raises
    ------
    KnowledgeError
        The text is no database URL, its driver is missing, or its driver is asynchronous.
    """
    try:
        parsed = make_url(url)
        dialect = parsed.get_dialect()
        dialect.import_dbapi()
    except (ArgumentError, NoSuchModuleError, ImportError) as error:
        without_password = _PASSWORD.sub(r"\1***@", str(url))
        raise KnowledgeError(
            f"{quoted(without_password)} cannot be used as a database URL: give one like "
            "sqlite:///facts.db or postgresql+psycopg://user@host/name, with its driver installed."
        ) from error
    if dialect.is_async:
        raise KnowledgeError(f"The driver {parsed.drivername} is asynchronous: give a synchronous one.")
    if dialect.name == "sqlite" and parsed.database in (None, "", ":memory:"):
        # Each ":memory:" connection opens a separate database; the memdb file system gives the database a name.
        return parsed.set(database=f"file:/toolken-{uuid.uuid4().hex}?vfs=memdb")
    return parsed


def exists(url: URL) -> bool:
    """Return whether a parsed URL names a server or an existing SQLite file."""
    name = url.database or ""
    return url.get_backend_name() != "sqlite" or name.startswith("file:") or Path(name).is_file()


def in_memory(url: URL) -> bool:
    """Return whether the database of a parsed URL is in memory and so ends with its last connection."""
    return url.get_backend_name() == "sqlite" and "vfs=memdb" in (url.database or "")


def _sqlite_creator(url: URL, mode: str, timeout: float) -> Callable[[], sqlite3.Connection]:
    name = url.database or ""
    if not name.startswith("file:"):
        path = Path(name).absolute()
        if mode == "ro" and not path.is_file():
            raise KnowledgeError(f"There is no database file {quoted(path)}: load facts into it first.")
        if not path.parent.is_dir():
            raise KnowledgeError(f"There is no folder {quoted(path.parent)} for the database file: create it first.")
        name = f"{path.as_uri()}?mode={mode}"

    def connect() -> sqlite3.Connection:
        # Autocommit: SQLAlchemy's begin event opens the transaction, which then includes CREATE TABLE.
        return sqlite3.connect(name, timeout, uri=True, check_same_thread=False, isolation_level=None)

    return connect


def writing_engine(url: URL) -> Engine:
    """Open an engine for loading; only `KnowledgeBase.load` uses it."""
    if url.get_backend_name() != "sqlite":
        return create_engine(url)
    engine = create_engine("sqlite://", creator=_sqlite_creator(url, "rwc", _WAIT_TO_WRITE), poolclass=QueuePool)

    @event.listens_for(engine, "connect")
    def _enlarge_cache(connection: Any, record: Any) -> None:
        connection.execute(_ENLARGE_CACHE)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def reading_engine(url: URL, timeout: float) -> Engine:
    """Open an engine that cannot write and interrupts statements after `timeout` seconds.

    SQLite files are opened read-only, and a progress handler checks the deadline while a statement runs. PostgreSQL
    sessions use read-only transactions with a `statement_timeout`. Other databases have no time limit, and nothing is
    committed.

    Parameters
    ----------
    url : URL
        As returned by `parse_url`.
    timeout : float
        Time limit per statement in seconds.
    """
    if url.get_backend_name() == "sqlite":
        engine = create_engine("sqlite://", creator=_sqlite_creator(url, "ro", timeout), poolclass=QueuePool)

        @event.listens_for(engine, "connect")
        def _read_only_sqlite(connection: Any, record: Any) -> None:
            connection.text_factory = decode_text
            connection.execute("PRAGMA query_only = ON")
            connection.set_progress_handler(
                lambda: time.monotonic() > record.info.get("deadline", float("inf")), _INSTRUCTIONS_BETWEEN_CHECKS
            )

        @event.listens_for(engine, "before_cursor_execute")
        def _start_clock(connection: Connection, *_: Any) -> None:
            connection.connection.info["deadline"] = time.monotonic() + timeout

        return engine

    if url.get_backend_name() == "postgresql":
        # Autocommit: no round trips to begin and end a transaction.
        engine = create_engine(url, isolation_level="AUTOCOMMIT")

        @event.listens_for(engine, "connect")
        def _read_only_postgresql(connection: Any, record: Any) -> None:
            with connection.cursor() as cursor:
                cursor.execute("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")
                cursor.execute("SELECT set_config('statement_timeout', %s, false)", (str(int(timeout * 1000)),))
            connection.commit()

        return engine
    return create_engine(url)


@contextmanager
def reading(engine: Engine, timeout: float) -> Iterator[Connection]:
    """Check out a connection; errors of the database or of value conversion are raised as `KnowledgeError`."""
    try:
        with engine.connect() as connection:
            yield connection
    except (
        SQLAlchemyError,
        ValueError,
        TypeError,
        ArithmeticError,
    ) as error:  # all but the first from converting values
        reason = reason_of(error)
        if reason == "interrupted" or "statement timeout" in reason:
            raise KnowledgeError(
                f"The lookup took longer than {timeout:g} s and was stopped: ask for something more specific, or "
                "give the column that is searched an index."
            ) from error
        raise KnowledgeError(f"The database could not be read: {reason}.") from error


def reason_of(error: Exception) -> str:
    """Return the first line of the driver's error message."""
    text = str(getattr(error, "orig", None) or error) or type(error).__name__
    return text.splitlines()[0].rstrip(".")
