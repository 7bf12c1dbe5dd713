"""Hostile text in every argument only reads rows and leaves the database unchanged, byte for byte."""

import hashlib
import itertools
import sqlite3

import pytest

from toolken.tools.knowledge import KnowledgeBase, KnowledgeError, ReflectedSchema, Relation, Triple
from toolken.tools.knowledge.names import fold

QUOTES = ["'", '"', "`", "]", "\\'", "''", "'))", "\u02bc", "%27", ""]
ATTACKS = [
    "; DROP TABLE kb_fact",
    "; DELETE FROM town",
    "; UPDATE town SET mayor = 'x'",
    "; INSERT INTO town VALUES ('x', 'y', 1)",
    "; ATTACH DATABASE '/tmp/x.db' AS x",
    "; PRAGMA query_only = OFF",
    "; PRAGMA writable_schema = 1",
    "; VACUUM INTO '/tmp/x.db'",
    "; COPY town TO PROGRAM 'id'",
    "; SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE; DROP TABLE town",
    "; COMMIT; DROP TABLE town",
    " OR 1=1",
    " OR 'a'='a",
    " OR subject LIKE '%",
    " UNION SELECT name, sql, 1 FROM sqlite_master",
    " UNION ALL SELECT password, 2, 3 FROM secret",
    " UNION SELECT usename, passwd, 1 FROM pg_shadow",
    " AND (SELECT count(*) FROM secret) > 0",
    " AND 1=(SELECT pg_sleep(10))",
    " AND randomblob(1000000000) IS NOT NULL",
    " || load_extension('x')",
    " || (SELECT password FROM secret)",
    "; SELECT lo_import('/etc/passwd')",
    "/**/OR/**/1=1",
]
COMMENTS = ["", " --", " #", " /*", ";\x00"]
OTHERS = [
    "%",
    "_",
    "*",
    "%%%s",
    "%(key)s",
    ":key",
    "?1",
    "${key}",
    "{0.__class__}",
    "\\",
    "\\x00",
    "\0",
    "\u202e\u2066",
    "a" * 300,
    '"' * 300,
    "' OR " * 50,
    '" OR key:*',
    "key:^secret",
    "NEAR(a b, 5)",
    'a" AND "b',
    "(((((((((((",
    "-1",
    "1e309",
    "NULL",
    "\n\r\t",
    "<script>",
    "../../etc/passwd",
    "𝕏😀",
    "\uffff\ufffe",
]
CORPUS = [
    start + quote + attack + comment
    for start, quote, attack, comment in itertools.product(["", "Ulm"], QUOTES, ATTACKS, COMMENTS)
][::3] + OTHERS
SECRET = "the password is swordfish"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "town.db"
    connection = sqlite3.connect(path)
    connection.executescript(
        """create table town (name text primary key, mayor text, people integer);
        create table secret (password text);
        insert into town values ('Ulm', 'Ann', 10), ('O''Brien; --', 'Bob', 20);"""
    )
    connection.execute("insert into secret values (?)", [SECRET])
    connection.commit()
    connection.close()
    with KnowledgeBase(f"sqlite:///{path}") as kb:
        kb.load(
            [("Ulm", "mayor_of", "Ann"), ("O'Brien; --", "mayor_of", "Bob")], [Relation("mayor_of", "Find the mayor.")]
        )
    return path


def ask_everything(tools, corpus):
    """Return the answer to each string: a text, or the message of a tool error; other exceptions fail the test."""
    return [tool.invoke({"subject": text}) for tool, text in itertools.product(tools, corpus)]


def test_the_corpus_is_large():
    assert len(set(CORPUS)) >= 500


def test_relations_read_nothing_but_their_facts_and_leave_the_file_unchanged(file):
    before = hashlib.sha256(file.read_bytes()).digest()
    with KnowledgeBase(f"sqlite:///{file}") as kb:
        answers = ask_everything(kb.tools(), CORPUS)
        assert kb.tools()[0].invoke({"subject": "o'brien; --"}) == "Bob"
    assert hashlib.sha256(file.read_bytes()).digest() == before
    assert not any(SECRET in answer for answer in answers)
    assert {answer for answer in answers if not answer.endswith((".", "?"))} <= {"Ann", "Bob"}
    assert all("\n" not in answer for answer in answers)
    assert not list(file.parent.glob("x.db"))


def test_reflected_lookups_read_nothing_but_their_rows_and_leave_the_file_unchanged(file):
    before = hashlib.sha256(file.read_bytes()).digest()
    with ReflectedSchema(f"sqlite:///{file}", tables=["town"]) as schema:
        tools = schema.tools()
        answers = ask_everything(tools, CORPUS)
        assert {tool.name: tool for tool in tools}["town_mayor"].invoke({"subject": "O'Brien; --"}) == "Bob"
    assert hashlib.sha256(file.read_bytes()).digest() == before
    assert not any(SECRET in answer for answer in answers)
    assert {answer for answer in answers if not answer.endswith((".", "?"))} <= {"Ann", "Bob", "10", "20"}


def test_hostile_names_of_relations_and_lookups_are_unknown_and_leave_the_file_unchanged(file):
    before = hashlib.sha256(file.read_bytes()).digest()
    with KnowledgeBase(f"sqlite:///{file}") as kb, ReflectedSchema(f"sqlite:///{file}", tables=["town"]) as schema:
        for hostile in CORPUS:
            with pytest.raises(KnowledgeError, match="There is no relation"):
                kb.lookup(hostile, "Ulm")
            with pytest.raises(KnowledgeError, match="There is no lookup"):
                schema.lookup(hostile, "Ulm")
    for hostile in CORPUS[::25]:  # each reflects the whole schema
        with pytest.raises(KnowledgeError, match="There is no table"):
            ReflectedSchema(f"sqlite:///{file}", tables=[hostile])
    assert hashlib.sha256(file.read_bytes()).digest() == before


def test_hostile_names_are_loaded_and_found_as_they_are():
    loadable = [hostile for hostile in dict.fromkeys(CORPUS) if fold(hostile) and len(hostile) < 290]
    loadable = [hostile for hostile in loadable if "\0" not in hostile]
    assert len(loadable) > 500
    relation = Relation("echo_of", "'; DROP TABLE kb_fact; --", "'; DROP TABLE kb_alias; --")
    with KnowledgeBase(row_limit=1000) as kb:
        kb.load([Triple(one, "echo_of", one, (f"alias {one}",), (one,)) for one in loadable], [relation])
        assert kb.relations == {"echo_of": relation}
        for one in loadable:
            assert one in [row["object"] for row in kb.lookup("echo_of", one)]
            assert one in [row["object"] for row in kb.lookup("echo_of", f"alias {one}")]


@pytest.mark.parametrize("unloadable", ["", " ", "\0", "a\0b", "\ud800", "a" * 301])
def test_names_that_no_database_holds_are_refused_and_nothing_is_loaded(unloadable):
    with KnowledgeBase() as kb:
        with pytest.raises(KnowledgeError, match=r"^Triple 2, "):
            kb.load([("Ulm", "mayor_of", "Ann"), (unloadable, "mayor_of", "Bob")], [Relation("mayor_of", "Find it.")])
        assert kb.relations == {}


def test_hostile_table_and_column_names_are_quoted(tmp_path):
    path = tmp_path / "odd.db"
    connection = sqlite3.connect(path)
    name = """t"; drop table x; --"""
    quoted = name.replace('"', '""')
    connection.executescript(
        f"""create table "{quoted}" (name text, "va'l""ue" text, ":bind" text, "%(x)s" text, "select" text);
        insert into "{quoted}" values ('a', 'b', 'c', 'd', 'e');
        create table x (name text, y text);"""
    )
    connection.close()
    with ReflectedSchema(f"sqlite:///{path}", tables=[name]) as schema:
        assert sorted(tool.invoke({"subject": "A"}) for tool in schema.tools()) == ["b", "c", "d", "e"]
        assert all(tool.name.isidentifier() for tool in schema.tools())
