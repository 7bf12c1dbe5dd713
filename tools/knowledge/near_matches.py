"""Near matches: an index over all names that finds those that share a piece with a misspelt name, without a scan.

SQLite has a full-text index of trigrams (FTS5). PostgreSQL has the extension pg_trgm; where it is not available or
not allowed, a GIN index over arrays of trigrams replaces it. Other databases match the first letters.
"""

from collections.abc import Callable, Sequence

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Index,
    MetaData,
    Table,
    Text,
    func,
    inspect,
    literal,
    or_,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.exc import DBAPIError

from toolken.tools.knowledge.names import TRIGRAM, pieces
from toolken.tools.knowledge.tables import name

Search = Callable[[Connection, str], Sequence[str]]
"""Returns at most `CANDIDATES` keys of names similar to a key."""

CANDIDATES = 500

SHORT = 12
"""Keys shorter than this are also searched by their first letters."""

_FTS5 = "kb_name_fts"
_CREATE_FTS5 = text(
    "CREATE VIRTUAL TABLE kb_name_fts USING fts5(key, content='kb_name', content_rowid='id', tokenize='trigram')"
)
_EXTEND_FTS5 = text("INSERT INTO kb_name_fts (rowid, key) SELECT id, key FROM kb_name WHERE id > :last")
_SEARCH_FTS5 = text(
    "SELECT kb_name.key FROM kb_name_fts JOIN kb_name ON kb_name.id = kb_name_fts.rowid "
    "WHERE kb_name_fts MATCH :phrases ORDER BY kb_name_fts.rank LIMIT :candidates"
)

_PG_TRGM = Index("kb_name_pg_trgm", name.c.key, postgresql_using="gin", postgresql_ops={"key": "gin_trgm_ops"})
name.indexes.discard(_PG_TRGM)  # created by `_create_pg_trgm`, after the extension

_arrays = Table(
    "kb_name_trigrams",
    MetaData(),
    Column("name_id", BigInteger, primary_key=True, autoincrement=False),
    Column("trigrams", ARRAY(Text), nullable=False),
)
Index("kb_name_trigrams_gin", _arrays.c.trigrams, postgresql_using="gin")


def extend_index(connection: Connection, last_id: int) -> None:
    """Create the index if it does not exist, and add the names whose id is above `last_id`."""
    if connection.dialect.name == "sqlite":
        if not inspect(connection).has_table(_FTS5):
            connection.execute(_CREATE_FTS5)
        connection.execute(_EXTEND_FTS5, {"last": last_id})
    elif connection.dialect.name == "postgresql" and not _has_pg_trgm(connection):
        if not inspect(connection).has_table(_arrays.name):
            if _create_pg_trgm(connection):
                return
            _arrays.metadata.create_all(connection)
        start = func.generate_series(1, func.length(name.c.key) - TRIGRAM + 1).column_valued("start")
        parts = select(func.substr(name.c.key, start, TRIGRAM)).correlate(name).scalar_subquery()
        rows = select(name.c.id, func.array(parts)).where(name.c.id > last_id)
        connection.execute(_arrays.insert().from_select(["name_id", "trigrams"], rows))


def near_keys(connection: Connection, search: Search, key: str) -> list[str]:
    """Return keys of names similar to a key, found by the trigram index and, for short keys, by the first letters.

    A wrong letter in the middle of a short name leaves no trigram intact.
    """
    found = list(search(connection, key))
    if len(key) < SHORT and search is not search_first_letters:
        found += search_first_letters(connection, key)
    return list(dict.fromkeys(found))


def index_search(connection: Connection) -> Search:
    """Return the search function for the index that the connected database has."""
    if connection.dialect.name == "sqlite" and inspect(connection).has_table(_FTS5):
        return _search_fts5
    if connection.dialect.name == "postgresql":
        if _has_pg_trgm(connection):
            return _search_pg_trgm
        if inspect(connection).has_table(_arrays.name):
            return _search_arrays
    return search_first_letters


def _has_pg_trgm(connection: Connection) -> bool:
    return connection.scalar(select(func.to_regclass(_PG_TRGM.name))) is not None


def _create_pg_trgm(connection: Connection) -> bool:
    try:
        with connection.begin_nested():
            connection.execute(text("CREATE EXTENSION IF NOT EXISTS pg_trgm"))
            _PG_TRGM.create(connection)
    except DBAPIError:  # the server does not have the extension, or the user may not create it
        return False
    return True


def _search_fts5(connection: Connection, key: str) -> Sequence[str]:
    phrases = " OR ".join('"' + piece.replace('"', '""') + '"' for piece in pieces(key))
    if not phrases:
        return []
    return connection.execute(_SEARCH_FTS5, {"phrases": phrases, "candidates": CANDIDATES}).scalars().all()


def _search_pg_trgm(connection: Connection, key: str) -> Sequence[str]:
    # "%" finds similar names, "<%" names that contain words similar to the key.
    similar = or_(name.c.key.bool_op("%")(key), literal(key, Text).bool_op("<%")(name.c.key))
    statement = select(name.c.key).where(similar).order_by(func.similarity(name.c.key, key).desc()).limit(CANDIDATES)
    return connection.execute(statement).scalars().all()


def _search_arrays(connection: Connection, key: str) -> Sequence[str]:
    wanted = [[piece[i : i + TRIGRAM] for i in range(len(piece) - TRIGRAM + 1)] for piece in pieces(key)]
    if not wanted:
        return []
    shares_a_piece = or_(*(_arrays.c.trigrams.contains(trigrams) for trigrams in wanted))
    statement = select(name.c.key).join(_arrays, _arrays.c.name_id == name.c.id).where(shares_a_piece)
    return connection.execute(statement.limit(CANDIDATES)).scalars().all()


def search_first_letters(connection: Connection, key: str) -> Sequence[str]:
    """Search the B-tree index for names with the same first two letters and a length that differs by at most 2."""
    start = key[:2]
    begins_alike = name.c.key.between(start, start + "\uffff")
    about_as_long = func.length(name.c.key).between(len(key) - 2, len(key) + 2)
    statement = select(name.c.key).where(begins_alike, about_as_long).limit(CANDIDATES)
    return connection.execute(statement).scalars().all()
