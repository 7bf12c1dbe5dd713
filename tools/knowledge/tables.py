"""Tables of a knowledge base: relations, facts keyed by folded subject, aliases, and names for near matches."""

from sqlalchemy import BigInteger, Column, ForeignKey, Integer, MetaData, String, Table, Text

from toolken.tools.knowledge.names import MAX_NAME_LENGTH

metadata = MetaData()

# Keys compare by code point, whatever the collation of the database: a range of keys is then a prefix search.
_KEY = String(MAX_NAME_LENGTH).with_variant(String(MAX_NAME_LENGTH, collation="C"), "postgresql")

relation = Table(
    "kb_relation",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    Column("description", Text, nullable=False),
    Column("subject", Text, nullable=False, comment="what the subject is, in words"),
)

# The primary key is the index of lookups and keeps facts unique: `digest` is a 64-bit hash of subject and object,
# which may be too long for an index. WITHOUT ROWID stores the rows inside that index.
fact = Table(
    "kb_fact",
    metadata,
    Column("relation_id", Integer, ForeignKey(relation.c.id), primary_key=True, autoincrement=False),
    Column("key", _KEY, primary_key=True, comment="folded subject"),
    Column("digest", BigInteger, primary_key=True, autoincrement=False),
    Column("subject", String(MAX_NAME_LENGTH), nullable=False),
    Column("object", Text, nullable=False),
    Column("object_aliases", Text, comment="JSON list of other names, or null"),
    Column("position", BigInteger, nullable=False, comment="order of loading"),
    sqlite_with_rowid=False,
)

alias = Table(
    "kb_alias",
    metadata,
    Column("key", _KEY, primary_key=True, comment="folded other name"),
    Column("subject_key", _KEY, primary_key=True, comment="folded subject"),
    sqlite_with_rowid=False,
)

name = Table(
    "kb_name",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("key", _KEY, nullable=False, unique=True),
)
