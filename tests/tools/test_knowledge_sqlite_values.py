"""SQLite columns store any value under any declared type: lookups return it, and a bad row affects no other."""

import datetime
import sqlite3
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import JSON, Boolean, Date, DateTime, Float, Integer, LargeBinary, Numeric, Text, Time

from toolken.tools.knowledge import NothingFoundError, ReflectedSchema
from toolken.tools.knowledge.sqlite_values import key_candidates, stored_value

TYPES = ["boolean", "numeric", "decimal(10,2)", "integer", "real", "date", "time", "datetime", "timestamp", "json"]
TYPES += ["text", "money"]


def database(folder, script, rows=()):
    file = folder / "things.db"
    file.unlink(missing_ok=True)
    connection = sqlite3.connect(file)
    connection.executescript(script)
    connection.executemany("insert into things (name, value) values (?, ?)", rows)
    connection.commit()
    connection.close()
    return f"sqlite:///{file}"


@pytest.mark.parametrize(
    ("declared", "stored", "text"),
    [
        ("boolean", "false", "false"),
        ("boolean", "no", "no"),
        ("boolean", "f", "f"),
        ("boolean", 0, "False"),
        ("boolean", 1, "True"),
        ("boolean", 2, "2"),
        ("numeric", 123456789012345678, "123456789012345678"),
        ("numeric", 1e-12, "0.000000000001"),
        ("numeric", 12.5, "12.5"),
        ("numeric", 1e300, "1E+300"),
        ("numeric", float("inf"), "inf"),
        ("numeric", "n/a", "n/a"),
        ("decimal(10,2)", 12.5, "12.50"),
        ("decimal(10,2)", 1.234, "1.234"),
        ("decimal(10,2)", "12,50", "12,50"),
        ("integer", "about 5", "about 5"),
        ("integer", 2**63 - 1, "9223372036854775807"),
        ("real", "unknown", "unknown"),
        ("real", 0.1, "0.1"),
        ("date", "1890-12-05", "1890-12-05"),
        ("date", "5.12.1890", "5.12.1890"),
        ("date", "1890-12-05 around noon", "1890-12-05 around noon"),
        ("date", "1890", "1890"),
        ("date", "0000-00-00", "0000-00-00"),
        ("date", 2460000, "2460000"),
        ("time", "noon", "noon"),
        ("time", "10:30", "10:30"),
        ("datetime", "2020-01-01 10:00:00", "2020-01-01 10:00:00"),
        ("datetime", "2020-01-01", "2020-01-01"),
        ("datetime", "01/02/2020 10:00", "01/02/2020 10:00"),
        ("timestamp", 1577872800, "1577872800"),
        ("json", '{"a": 1', '{"a": 1'),
        ("json", '{"a": 1}', '{"a": 1}'),
        ("json", 12, "12"),
        ("json", '"\\ud800"', '"\\ud800"'),
        ("text", 5, "5"),
        ("text", b"\xff\xfe", "2 bytes"),
        ("money", "€5", "€5"),
    ],
)
def test_a_lookup_answers_the_stored_value(tmp_path, declared, stored, text):
    url = database(tmp_path, f"create table things (name text, value {declared})", [("a", stored), ("b", None)])
    with ReflectedSchema(url) as schema:
        assert schema.tools()[0].invoke({"subject": "a"}) == text
        with pytest.raises(NothingFoundError, match="nothing filled in"):
            schema.lookup("things_value", "b")


def test_types_that_hold_are_converted():
    assert stored_value(0, Boolean()) is False
    assert stored_value(12.5, Numeric()) == Decimal("12.5")
    assert stored_value("1890-12-05", Date()) == datetime.date(1890, 12, 5)
    assert stored_value("10:30:00.000000", Time()) == datetime.time(10, 30)
    assert stored_value("2020-01-01T10:00:00", DateTime()) == datetime.datetime(2020, 1, 1, 10)
    assert stored_value('{"a": [1]}', JSON()) == {"a": [1]}


def test_bytes_that_are_not_utf8_harm_only_their_own_row(tmp_path):
    script = """create table things (name text, value text);
    insert into things values ('good', 'fine'), ('bad', cast(x'4dfc' as text)), (cast(x'5afc' as text), 'lost');"""
    with ReflectedSchema(database(tmp_path, script)) as schema:
        tool = schema.tools()[0]
        assert tool.invoke({"subject": "good"}) == "fine"
        assert tool.invoke({"subject": "GOOD"}) == "fine"
        assert tool.invoke({"subject": "bad"}) == "M\ufffd"
        with pytest.raises(NothingFoundError) as caught:
            schema.lookup("things_value", "Z\ufffd")
        assert caught.value.suggestions == []
        with pytest.raises(NothingFoundError, match='did you mean "good"'):
            schema.lookup("things_value", "goood")


def test_blob_keys_are_not_offered(tmp_path):
    url = database(tmp_path, "create table things (name text, value text)", [(b"Ulm", "blob"), ("Bonn", "text")])
    with ReflectedSchema(url) as schema:
        for subject in ("b'Ulm'", "ULM"):
            with pytest.raises(NothingFoundError) as caught:
                schema.lookup("things_value", subject)
            assert caught.value.suggestions == []


@pytest.mark.parametrize(
    ("declared", "stored", "asked"),
    [
        ("numeric", 123456789012345678, "123456789012345678"),
        ("numeric", 12.5, "12.50"),
        ("integer", "about 5", "about 5"),
        ("integer", 5, "5"),
        ("boolean", 1, "true"),
        ("boolean", "no", "no"),
        ("date", "5.12.1890", "5.12.1890"),
        ("date", "1890-12-05", "18901205"),
        ("datetime", "2020-01-01 10:00:00", "2020-01-01T10:00"),
        ("datetime", "2020-01-01 10:00:00.000000", "2020-01-01 10:00"),
        ("", 7, "7"),
        ("", "7", "7"),
    ],
)
def test_a_key_is_found_whatever_its_column_stores(tmp_path, declared, stored, asked):
    script = f"create table things (name text, value {declared}); create view seen as select name, +value v from things"
    url = database(tmp_path, script, [("a", stored), ("b", None)])
    with ReflectedSchema(url, keys={"things": ["value"], "seen": ["v"]}) as schema:
        assert [row["things_name"] for row in schema.lookup("things_name", asked)] == ["a"]
        if not declared:  # a view's expression has neither affinity nor declared type
            assert [row["seen_name"] for row in schema.lookup("seen_name", asked)] == ["a"]


def test_a_large_integer_does_not_find_its_neighbour(tmp_path):
    url = database(tmp_path, "create table things (name text, value numeric)", [("a", 123456789012345680)])
    with ReflectedSchema(url, keys={"things": ["value"]}) as schema, pytest.raises(NothingFoundError):
        schema.lookup("things_name", "123456789012345679")


@pytest.mark.parametrize(("left", "right"), [("integer", "text"), ("text", "integer"), ("numeric", "text")])
def test_foreign_keys_join_columns_of_different_types(tmp_path, left, right):
    script = f"""create table owners (code {left} unique, name text);
    create table things (name text, value text, owner_id {right} references owners (code));
    insert into owners values ('7', 'Ann'), ('x', 'Bob');
    insert into things values ('pen', 'blue', '7'), ('cup', 'red', 'x');"""
    with ReflectedSchema(database(tmp_path, script), tables=["things"]) as schema:
        tools = {tool.name: tool for tool in schema.tools()}
        assert tools["things_owner"].invoke({"subject": "pen"}) == "Ann"
        assert tools["things_owner"].invoke({"subject": "cup"}) == "Bob"


def test_columns_without_a_declared_type_are_keys_values_and_foreign_keys(tmp_path):
    script = """create table owners (code text primary key, name);
    create table things (name, value, owner_id references owners (code));
    insert into owners values ('7', 'Ann');
    insert into things values ('Pen', 'blue', 7), (5, x'00', null);"""
    with ReflectedSchema(database(tmp_path, script)) as schema:
        tools = {tool.name: tool for tool in schema.tools()}
        assert tools["things_value"].invoke({"subject": "pen"}) == "blue"
        assert tools["things_value"].invoke({"subject": "5"}) == "1 bytes"
        assert tools["things_owner"].invoke({"subject": "Pen"}) == "Ann"
        assert tools["owners_things"].invoke({"subject": "Ann"}) == "Pen"


def test_generated_columns_and_tables_without_rowid_answer(tmp_path):
    script = """create table things (name text primary key, value boolean, twice numeric as (value * 2)) without rowid;
    insert into things (name, value) values ('a', 1.25), ('b', 'yes');"""
    with ReflectedSchema(database(tmp_path, script)) as schema:
        tools = {tool.name: tool for tool in schema.tools()}
        assert tools["things_twice"].invoke({"subject": "a"}) == "2.5"
        assert tools["things_value"].invoke({"subject": "b"}) == "yes"


def test_rows_without_a_value_do_not_use_up_the_row_limit(tmp_path):
    rows = [("a", None), ("a", None), ("a", 1), ("a", None)]
    url = database(tmp_path, "create table things (name text, value integer)", rows)
    with ReflectedSchema(url, row_limit=1) as schema:
        assert schema.tools()[0].invoke({"subject": "a"}) == "1"


STORED = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.binary(max_size=8),
    st.dates().map(str),
    st.datetimes().map(str),
    st.times().map(str),
)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(declared=st.sampled_from(TYPES), stored=STORED)
def test_what_is_stored_comes_out(tmp_path, declared, stored):
    url = database(tmp_path, f"create table things (name text, value {declared})", [("a", stored), ("b", 1)])
    with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
        (kept,) = connection.execute("select value from things where name = 'a'").fetchone()
    connection.close()
    with ReflectedSchema(url) as schema:
        assert schema.tools()[0].invoke({"subject": "b"})  # whatever the other row holds
        if kept == "":
            return
        answer = schema.lookup("things_value", "a")[0]["things_value"]
    if isinstance(answer, Decimal):
        assert type(kept)(answer) == kept
    elif isinstance(answer, datetime.datetime):
        assert datetime.datetime.fromisoformat(kept) == answer
    elif isinstance(answer, datetime.date | datetime.time):
        assert str(answer) == kept
    else:
        assert answer == kept


@given(
    st.sampled_from([Boolean(), Numeric(), Numeric(10, 2), Integer(), Float(), Date(), DateTime(), Time(), Text()]),
    st.text(max_size=20),
)
def test_any_key_has_itself_as_first_candidate(declared, text):
    assert key_candidates(text, declared)[0] == text


def test_a_type_without_conversion_leaves_the_value():
    assert stored_value(b"\x00", LargeBinary()) == b"\x00"
    assert stored_value("5", Integer()) == "5"
