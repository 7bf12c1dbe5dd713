"""The lookups of a reflected schema: its key columns, its value columns and its foreign-key paths."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from sqlalchemy import (
    Column,
    ColumnElement,
    Enum,
    ForeignKeyConstraint,
    FromClause,
    Integer,
    LargeBinary,
    Select,
    String,
    Table,
    Text,
    UniqueConstraint,
    and_,
    bindparam,
    cast,
    select,
    type_coerce,
)
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.types import NullType

from toolken.tools.knowledge.names import fold

_NAME = re.compile(r"(.*_)?(name|title|label)")
_LONGEST_COMMENT = 300
UNTYPED = "untyped"
"""Key of `Column.info`; true without a declared type, where SQLAlchemy gives a foreign key the type it refers to."""


@dataclass(frozen=True)
class Hop:
    """A join to `table` along one foreign key; `pairs` are (column of the table before, column of `table`)."""

    table: Table
    pairs: tuple[tuple[Column[object], Column[object]], ...]
    key: ForeignKeyConstraint


@dataclass(frozen=True)
class Lookup:
    """A value column found by a key column, through zero or more joins."""

    name: str
    description: str
    key: Column[object]
    path: tuple[Hop, ...]
    value: Column[object]

    @property
    def subject(self) -> str:
        """The key as a noun phrase: "the title of the film"."""
        return f"the {words(self.key.name)} of the {singular(words(self.key.table.name))}"

    @cached_property
    def statement(self) -> Select[object, object]:
        """Select key and value where the key is one of the list bound as ``keys``.

        Rows without a value come last, so that they do not use up a row limit; otherwise the order is by key and
        primary key.
        """
        return self._select(stored=False)

    @cached_property
    def stored_statement(self) -> Select[object, object]:
        """The same as `statement`, without SQLAlchemy's conversion of keys and results by the declared types."""
        return self._select(stored=True)

    def _select(self, stored: bool) -> Select[object, object]:
        # Aliases, since a path may visit a table twice.
        start: FromClause = self.key.table.alias()
        here = source = start
        for hop in self.path:
            there = hop.table.alias()
            source = source.join(
                there, and_(*(_comparable(a, here, b) == _comparable(b, there, a) for a, b in hop.pairs))
            )
            here = there
        key: ColumnElement[object] = start.c[self.key.name]
        value: ColumnElement[object] = here.c[self.value.name]
        if stored:
            key, value = type_coerce(key, NullType()), type_coerce(value, NullType())
        wanted = key.in_(bindparam("keys", expanding=True))
        order = [here.c[column.name] for column in self.value.table.primary_key]
        return (
            select(key.label("key"), value.label("value"))
            .select_from(source)
            .where(wanted)
            .order_by(value.is_(None), key, *order)
        )


def _comparable(column: Column[object], alias: FromClause, other: Column[object]) -> ColumnElement[object]:
    """Return a column of an alias; as text if it has no declared type and `other` is text, as foreign keys compare."""
    value: ColumnElement[object] = alias.c[column.name]
    return cast(value, Text) if column.info.get(UNTYPED) and isinstance(other.type, String) else value


@dataclass(frozen=True)
class _Step:
    """One foreign key followed in either direction, or an association table crossed.

    `name` names the rows it leads to, `role` the role of the starting row in them: the films of a person as actor.
    """

    name: str
    role: str
    hops: tuple[Hop, ...]
    comment: str | None


_Found = tuple[str, tuple[Hop, ...], Column[object], str | None]
"""The wanted value as a noun phrase, the joins to it, its column and its comment."""


def find_lookups(
    tables: Sequence[Table], every: Sequence[Table], keys: Mapping[str, Sequence[str]], hops: int
) -> Iterator[Lookup]:
    """Yield the lookups that start at `tables`.

    Parameters
    ----------
    tables : sequence of Table
        Where lookups start.
    every : sequence of Table
        All tables of the schema, where paths may lead.
    keys : mapping of str to sequence of str
        Key columns by table name; `key_columns` chooses those of the other tables.
    hops : int
        Maximum number of foreign keys on a path; crossing an association table counts as one.

    Yields
    ------
    Lookup
        With distinct names.
    """
    chosen = {
        table: [table.c[name] for name in keys[table.name]] if table.name in keys else key_columns(table)
        for table in every
    }
    taken: set[str] = set()
    for table in tables:
        for key in chosen[table]:
            by = f"_by_{key.name}" if key is not chosen[table][0] else ""
            found: list[_Found] = [
                (words(value.name), (), value, value.comment) for value in value_columns(table) if value is not key
            ]
            found += _paths(table, every, chosen, hops)
            for asked, path, value, comment in found:
                name = _tool_name(f"{table.name}_{asked}{by}", taken)
                description = _description(asked, table, key, comment)
                yield Lookup(name, description, key, path, value)


def key_columns(table: Table) -> list[Column[object]]:
    """Choose the columns by which people name a row of a table, the best first.

    These are text columns whose name is or ends in name, title or label, that are unique, or that come first in an
    index. Foreign keys and enumerations are never chosen.
    """
    text = [
        column
        for column in table.columns
        if isinstance(column.type, String | NullType) and not isinstance(column.type, Enum) and not column.foreign_keys
    ]
    # A column without a declared type is text only if its name says so.
    named = [column for column in text if _NAME.fullmatch(fold(column.name))]
    sets = [table.primary_key.columns.values(), *(index.columns.values() for index in table.indexes)]
    sets += [c.columns.values() for c in table.constraints if isinstance(c, UniqueConstraint)]
    indexed = {columns[0] for columns in sets if columns}
    return list(
        dict.fromkeys(named + [column for column in text if column in indexed and isinstance(column.type, String)])
    )


def value_columns(table: Table) -> list[Column[object]]:
    """Choose the columns with values to show: no foreign keys, no integer primary keys, no binary data."""
    return [
        column
        for column in table.columns
        if not column.foreign_keys
        and not isinstance(column.type, LargeBinary)
        and not (column.primary_key and isinstance(column.type, Integer))
    ]


def _paths(
    start: Table, every: Sequence[Table], chosen: Mapping[Table, Sequence[Column[object]]], hops: int
) -> list[_Found]:
    """Return the columns that at most `hops` foreign keys reach from `start`."""
    found: list[_Found] = []
    ends: list[tuple[str, tuple[Hop, ...], Table]] = [("", (), start)]
    for _ in range(hops):
        further = []
        for reached, path, table in ends:
            for step in _steps(table, every):
                # Following the same key back would lead to the siblings of the start.
                if path and step.hops[0].key is path[-1].key:
                    continue
                end = step.hops[-1].table
                asked = f"{step.name} of the {reached}" if reached else step.name
                further.append((asked, path + step.hops, end))
                labels = chosen[end][:1]
                for value in labels or value_columns(end):
                    what = asked if labels else f"{words(value.name)} of the {asked}"
                    found.append((what, path + step.hops, value, step.comment))
        ends = further
    return found


def _steps(table: Table, every: Sequence[Table]) -> list[_Step]:
    steps = []
    for key in _foreign_keys(table):
        comment = _comment(key) or key.referred_table.comment
        steps.append(_Step(_role(key), "", (_forward(key),), comment))
    for other in every:
        for key in (key for key in _foreign_keys(other) if key.referred_table is table):
            if _is_association(other):
                (onward,) = (one for one in _foreign_keys(other) if one is not key)
                hops = (_backward(key), _forward(onward))
                steps.append(_Step(plural(_role(onward)), _role(key), hops, other.comment))
            else:
                steps.append(_Step(plural(words(other.name)), _role(key), (_backward(key),), other.comment))
    # A person's films may be those directed or those acted in: the role tells the two apart.
    names = [step.name for step in steps]
    return [
        replace(step, name=f"{step.name} (as {step.role})")
        if step.role and (names.count(step.name) > 1 or step.hops[-1].table is table)
        else step
        for step in steps
    ]


def _foreign_keys(table: Table) -> list[ForeignKeyConstraint]:
    return sorted(filter(_leads_somewhere, table.foreign_key_constraints), key=lambda key: list(key.column_keys))


def _leads_somewhere(key: ForeignKeyConstraint) -> bool:
    try:
        return key.referred_table is not None
    except InvalidRequestError:  # the referred table does not exist
        return False


def _forward(key: ForeignKeyConstraint) -> Hop:
    return Hop(key.referred_table, tuple((element.parent, element.column) for element in key.elements), key)


def _backward(key: ForeignKeyConstraint) -> Hop:
    table = key.elements[0].parent.table
    return Hop(table, tuple((element.column, element.parent) for element in key.elements), key)


def _is_association(table: Table) -> bool:
    keys = _foreign_keys(table)
    return (
        len(keys) == 2
        and not key_columns(table)
        and len(table.primary_key.columns) > 0
        and all(column.foreign_keys for column in table.primary_key.columns)
    )


def _comment(key: ForeignKeyConstraint) -> str | None:
    return next((element.parent.comment for element in key.elements if element.parent.comment), None)


def _role(key: ForeignKeyConstraint) -> str:
    """Return the role of the row that a foreign key refers to: "director" for director_id."""
    columns = list(key.column_keys)
    if len(columns) > 1:
        return singular(words(key.referred_table.name))
    target = next(iter(key.elements)).column.name
    name = words(columns[0])
    for ending in ("id", "key", "fk", "code", words(target)):
        name = name.removesuffix(f" {ending}") or name
    return name


def _description(asked: str, table: Table, key: Column[object], comment: str | None) -> str:
    row = singular(words(table.name))
    article = "an" if row[:1] in set("aeiou") else "a"
    text = f"Find the {asked} of {article} {row} by {words(key.name)}"
    comment = " ".join((comment or "").split())[:_LONGEST_COMMENT].rstrip(" .")
    return f"{text}: {comment}." if comment else f"{text}."


def _tool_name(text: str, taken: set[str]) -> str:
    name = re.sub(r"[^a-z0-9_]+", "_", fold(text.replace(" of the ", "_"))).strip("_")[:58] or "lookup"
    unique, number = name, 2
    while unique in taken:
        unique, number = f"{name}_{number}", number + 1
    taken.add(unique)
    return unique


def words(identifier: str) -> str:
    """Split an identifier into lower-case words: "birthYear" and "birth_year" become "birth year"."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[^\w]+|_+", " ", identifier)
    return " ".join(spaced.split()).lower() or identifier


_IRREGULAR = {"people": "person", "children": "child", "men": "man", "women": "woman", "series": "series"}


def singular(noun: str) -> str:
    """Return the singular of a regular English plural: "country" for "countries"."""
    if noun in _IRREGULAR:
        return _IRREGULAR[noun]
    if noun.endswith("ies") and len(noun) > 4:
        return f"{noun[:-3]}y"
    if noun.endswith(("sses", "shes", "ches", "xes")):
        return noun[:-2]
    return noun if noun.endswith(("ss", "us", "is")) or not noun.endswith("s") else noun[:-1]


def plural(noun: str) -> str:
    """Return the regular English plural of a noun; a plural is returned unchanged."""
    for several, one in _IRREGULAR.items():
        if noun == one:
            return several
    if singular(noun) != noun:
        return noun
    if noun.endswith("y") and noun[-2:-1] not in set("aeiou"):
        return f"{noun[:-1]}ies"
    return f"{noun}es" if noun.endswith(("s", "x", "sh", "ch")) else f"{noun}s"
