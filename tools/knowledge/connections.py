"""Connections to a database: one engine that can only read, under a time limit, and one that writes."""

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
"""SQLite virtual machine instructions between two looks at the clock: well under a millisecond."""

_PASSWORD = re.compile(r"(://[^/@]*:)[^/]*@")

_WAIT_TO_WRITE = 30.0
"""Seconds to wait while another connection writes to a SQLite file."""

_ENLARGE_CACHE = "PRAGMA cache_size = -16384"
"""16 MiB of pages while loading: SQLite's own 2 MiB are too few for a large index; the bound keeps memory flat."""


def parse_url(url: str | URL) -> URL:
    """Return `url` as a SQLAlchemy URL; a SQLite database in memory gets a name its connections can share.

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
        # Each plain in-memory connection is a database of its own; the memdb file system gives it a name.
        return parsed.set(database=f"file:/toolken-{uuid.uuid4().hex}?vfs=memdb")
    return parsed


def exists(url: URL) -> bool:
    """Whether there is a database to read under a parsed URL: a server, or a SQLite file."""
    name = url.database or ""
    return url.get_backend_name() != "sqlite" or name.startswith("file:") or Path(name).is_file()


def in_memory(url: URL) -> bool:
    """Whether the database of a parsed URL lives only as long as a connection to it."""
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
        # autocommit: SQLAlchemy's begin event opens the transaction, so that creating tables is inside it too.
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
    """Open an engine that cannot write and stops a statement after a time.

    SQLite files are opened read-only and checked against the clock while a statement runs; PostgreSQL sessions are
    set to read-only transactions with a `statement_timeout`. On other databases nothing is ever committed.

    Parameters
    ----------
    url : URL
        As returned by `parse_url`.
    timeout : float
        Seconds a statement may take.
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
        # Each statement is a read-only transaction of its own: no round trips to begin and end one.
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
    """Borrow a connection; a database error inside becomes one sentence."""
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
    """Return the first line of what the database's driver said."""
    text = str(getattr(error, "orig", None) or error) or type(error).__name__
    return text.splitlines()[0].rstrip(".")
