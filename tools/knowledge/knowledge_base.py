"""The knowledge base: relations between subjects and objects in any SQL database, each relation a tool."""

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, TypedDict

from langchain_core.tools import BaseTool
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import open as open_with_progress
from sqlalchemy import URL, BindParameter, Connection, Engine, bindparam, inspect, select
from sqlalchemy.exc import SQLAlchemyError

from toolken.tools.knowledge import loading, near_matches, tables
from toolken.tools.knowledge.connections import (
    exists,
    in_memory,
    parse_url,
    reading,
    reading_engine,
    reason_of,
    writing_engine,
)
from toolken.tools.knowledge.errors import KnowledgeError, NothingFoundError, did_you_mean
from toolken.tools.knowledge.facts import Relation, Triple, read_csv, read_jsonl
from toolken.tools.knowledge.lookup_tools import joined, lookup_tool
from toolken.tools.knowledge.names import MAX_NAME_LENGTH, closest, fold
from toolken.tools.quotation import quoted

_ROW = (tables.fact.c.subject, tables.fact.c.object, tables.fact.c.object_aliases)
_OF_RELATION = tables.fact.c.relation_id == bindparam("relation")
# Exact spelling first, so that the row limit does not cut it.
_ORDER = (tables.fact.c.subject != bindparam("written"), tables.fact.c.position)
_BY_KEY = select(*_ROW).where(_OF_RELATION, tables.fact.c.key == bindparam("key")).order_by(*_ORDER)
# Subqueries rather than joins: without statistics a planner may start a join with all facts of the relation.
_BY_ALIAS = (
    select(*_ROW)
    .where(
        _OF_RELATION,
        tables.fact.c.key.in_(select(tables.alias.c.subject_key).where(tables.alias.c.key == bindparam("key"))),
    )
    .order_by(*_ORDER)
)
_KEYS: BindParameter[str] = bindparam("keys", expanding=True)
_ALIASES = (
    select(tables.alias.c.key, tables.alias.c.subject_key)
    .where(tables.alias.c.key.in_(_KEYS))
    .limit(near_matches.CANDIDATES)
)
_SUBJECTS = (
    select(tables.fact.c.key, tables.fact.c.subject).where(_OF_RELATION, tables.fact.c.key.in_(_KEYS)).distinct()
)


class FactRow(TypedDict):
    """A row that a lookup found; the artifact of a tool is a list of these."""

    subject: str
    relation: str
    object: str
    object_aliases: list[str]


class KnowledgeBase:
    """Facts in a database, looked up by subject with one tool per relation.

    `load` stores facts in tables named ``kb_*``. Lookups use read-only connections.

    Parameters
    ----------
    url : str or URL
        Any SQLAlchemy URL with a synchronous driver; in memory by default.
    row_limit : int
        Maximum number of rows per lookup.
    timeout : float
        Time limit per statement in seconds; enforced on SQLite and PostgreSQL.

    Raises
    ------
    KnowledgeError
        The URL cannot be used or the database cannot be reached.

    Examples
    --------
    >>> kb = KnowledgeBase()
    >>> moons = Relation("moons_of", "Name the moons of a planet.", subject="the planet")
    >>> kb.load([("Mars", "moons_of", "Phobos"), ("Mars", "moons_of", "Deimos")], [moons])
    2
    >>> kb.tools()[0].invoke({"subject": "mars"})
    'Phobos, Deimos'
    >>> kb.close()
    """

    def __init__(self, url: str | URL = "sqlite://", *, row_limit: int = 50, timeout: float = 2.0) -> None:
        if not isinstance(row_limit, int) or row_limit < 1 or not timeout > 0:
            raise KnowledgeError(
                f"row_limit is {row_limit} and timeout {timeout}: give a whole number and seconds, both above 0."
            )
        self._url = parse_url(url)
        self._row_limit = row_limit
        self._timeout = timeout
        self._relations: dict[str, tuple[int, Relation]] = {}
        self._search: near_matches.Search = near_matches.search_first_letters
        self._loading = threading.Lock()
        self._closed = False
        self._reader: Engine | None = None
        self._writer: Engine | None = None
        # An in-memory database lasts as long as a connection to it: this one.
        self._anchor: Connection | None = None
        if in_memory(self._url):
            self._writer = writing_engine(self._url)
            self._anchor = self._writer.connect()
        elif exists(self._url):
            self._read_relations()

    @property
    def relations(self) -> dict[str, Relation]:
        """The relations by name, in the order in which they were first loaded."""
        return {name: relation for name, (_, relation) in self._relations.items()}

    def load(
        self,
        triples: Iterable[Triple | tuple[str, str, str]],
        relations: Iterable[Relation] = (),
        *,
        progress: bool | None = None,
    ) -> int:
        """Load facts in one transaction; after an error none is stored.

        A fact that is stored already is unchanged; facts of one subject keep the order of loading.

        Parameters
        ----------
        triples : iterable of Triple or of (subject, relation, object)
            Read once, in batches; memory does not grow with their number.
        relations : iterable of Relation
            New relations, and stored relations whose description changes.
        progress : bool, optional
            Whether to show progress on standard error and keep its last line. By default progress is shown only on a
            terminal and removed at the end.

        Returns
        -------
        int
            Number of triples read.

        Raises
        ------
        KnowledgeError
            A triple or relation is malformed, a relation has no description, or the database raises an error; the
            message names the triple.
        """
        console = Console(stderr=True)
        shown = console.is_terminal if progress is None else progress
        columns = SpinnerColumn(), TextColumn("loading facts: {task.completed:,}"), TimeElapsedColumn()
        with Progress(*columns, console=console, transient=progress is None, disable=not shown) as bar:
            task = bar.add_task("loading", total=None)
            return self._load(triples, relations, partial(bar.advance, task))

    def load_csv(self, path: str | Path, relations: Iterable[Relation] = (), *, progress: bool | None = None) -> int:
        """Load a CSV file (`read_csv` describes it); parameters, result and errors as `load`."""
        return self._load_file(path, read_csv, relations, progress)

    def load_jsonl(self, path: str | Path, relations: Iterable[Relation] = (), *, progress: bool | None = None) -> int:
        """Load a file of JSON lines (`read_jsonl` describes it); parameters, result and errors as `load`."""
        return self._load_file(path, read_jsonl, relations, progress)

    def lookup(self, relation: str, subject: str) -> list[FactRow]:
        """Return the facts of one relation about one subject.

        Case, accents and outer punctuation of the subject are ignored. Names take precedence over aliases. If several
        subjects differ only in case and accents, the one with the exact spelling is returned, or all if there is none.

        Returns
        -------
        list of FactRow
            At least one, at most `row_limit`, in the order of loading.

        Raises
        ------
        NothingFoundError
            There is no such fact; `suggestions` holds the near matches that the message offers.
        KnowledgeError
            There is no such relation, or the database did not answer in time.
        """
        return self._find(relation, subject)[0]

    def tools(self) -> list[BaseTool]:
        """Return one tool per relation; its text is the objects joined by ", ", its artifact the list of `FactRow`."""
        return [
            lookup_tool(name, relation.description, f"the name of {relation.subject}", partial(self._answer, name))
            for name, relation in self.relations.items()
        ]

    def close(self) -> None:
        """Close every connection; this deletes an in-memory knowledge base."""
        if self._anchor is not None:
            self._anchor.close()
        for engine in (self._reader, self._writer):
            if engine is not None:
                engine.dispose()
        self._anchor = self._reader = self._writer = None
        self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _reading(self) -> AbstractContextManager[Connection]:
        if self._closed:
            raise KnowledgeError("This knowledge base is closed: open it again.")
        if self._reader is None:
            self._reader = reading_engine(self._url, self._timeout)
        return reading(self._reader, self._timeout)

    def _read_relations(self) -> None:
        with self._reading() as connection:
            if not inspect(connection).has_table(tables.relation.name):
                return
            rows = connection.execute(select(tables.relation).order_by(tables.relation.c.id)).all()
            self._search = near_matches.index_search(connection)
        self._relations = {row.name: (row.id, Relation(row.name, row.description, row.subject)) for row in rows}

    def _load(
        self,
        triples: Iterable[Triple | tuple[str, str, str]],
        relations: Iterable[Relation],
        advance: Callable[[int], None] = lambda _: None,
    ) -> int:
        with self._loading:
            if self._closed:
                raise KnowledgeError("This knowledge base is closed: open it again.")
            if self._writer is None:
                self._writer = writing_engine(self._url)
            try:
                with self._writer.begin() as connection:
                    tables.metadata.create_all(connection)
                    loading.store_relations(connection, relations)
                    count = loading.load_triples(connection, triples, advance)
            except SQLAlchemyError as error:
                raise KnowledgeError(f"The facts could not be stored, and none were: {reason_of(error)}.") from error
            self._read_relations()
        return count

    def _load_file(
        self,
        path: str | Path,
        reader: Callable[[Iterable[str], str], Iterator[Triple]],
        relations: Iterable[Relation],
        progress: bool | None,
    ) -> int:
        console = Console(stderr=True)
        shown = console.is_terminal if progress is None else progress
        try:
            with open_with_progress(
                path,
                "r",
                encoding="utf-8-sig",
                newline="",
                description=f"loading {Path(path).name}",
                console=console,
                transient=progress is None,
                disable=not shown,
            ) as lines:
                return self._load(reader(lines, str(path)), relations)
        except OSError as error:
            raise KnowledgeError(f"{quoted(path)} cannot be read: {error.strerror}.") from error
        except UnicodeDecodeError as error:
            raise KnowledgeError(f"{quoted(path)} is not UTF-8 text ({error.reason}): convert it first.") from error

    def _find(self, relation: str, subject: str) -> tuple[list[FactRow], bool]:
        """Return the rows of `lookup`, and whether there are more than `row_limit`."""
        if relation not in self._relations:
            known = ", ".join(list(self._relations)[:20]) or "none: load some facts first"
            raise KnowledgeError(f"There is no relation {quoted(relation)}; there are {known}.")
        key = fold(subject) if isinstance(subject, str) else ""
        if not key or len(key) > MAX_NAME_LENGTH:
            raise NothingFoundError(f"{quoted(subject)} is not a valid name: give 1 to {MAX_NAME_LENGTH} characters.")
        written = "".join(letter for letter in subject if letter.isprintable()).strip()
        wanted = {"relation": self._relations[relation][0], "key": key, "written": written}
        with self._reading() as connection:
            for statement in (_BY_KEY, _BY_ALIAS):
                rows = connection.execute(statement.limit(self._row_limit + 1), wanted).all()
                if rows:
                    break
            else:
                raise self._nothing_found(connection, relation, subject, key)
        exact = [row for row in rows if row.subject == written]
        found = [
            FactRow(
                subject=row.subject,
                relation=relation,
                object=row.object,
                object_aliases=json.loads(row.object_aliases or "[]"),
            )
            for row in exact or rows
        ]
        return found[: self._row_limit], len(found) > self._row_limit

    def _nothing_found(self, connection: Connection, relation: str, subject: str, key: str) -> NothingFoundError:
        candidates = near_matches.near_keys(connection, self._search, key)
        shown_by = {candidate: [candidate] for candidate in candidates}
        for alias in connection.execute(_ALIASES, {"keys": candidates}) if candidates else ():
            shown_by.setdefault(alias.subject_key, []).append(alias.key)
        wanted = {"relation": self._relations[relation][0], "keys": list(shown_by)}
        found = connection.execute(_SUBJECTS, wanted).all() if candidates else []
        suggestions = closest(key, ((name, row.subject) for row in found for name in shown_by[row.key]))
        message = f"Nothing is stored under {quoted(subject)} for {relation}"
        return NothingFoundError(f"{message}{did_you_mean(suggestions)}", suggestions)

    def _answer(self, relation: str, subject: str) -> tuple[str, list[FactRow]]:
        rows, more = self._find(relation, subject)
        groups: dict[str, list[str]] = {}
        for row in rows:
            groups.setdefault(row["subject"], []).append(row["object"])
        return joined(groups, more), rows
