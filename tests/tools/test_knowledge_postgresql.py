"""The knowledge base on real PostgreSQL servers: pgserver's without extensions, and the system's with pg_trgm."""

import importlib.util
import itertools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from toolken.tools.knowledge import KnowledgeBase, KnowledgeError, NothingFoundError, ReflectedSchema, Relation, Triple
from toolken.tools.knowledge.names import fold

pytest.importorskip("psycopg", reason="psycopg is not installed")

CAPITAL = Relation("capital_of", "Find the capital of a country.", "the country")
NUMBERS = itertools.count()
SCHEMA = """
create schema cinema;
create table cinema.people (id serial primary key, name text not null, born date);
create table cinema.films (
    id serial primary key, title varchar(80) not null, tags text[], facts jsonb, length interval,
    director_id integer references cinema.people (id)
);
comment on column cinema.films.tags is 'Words that say what kind of film it is';
comment on column cinema.films.director_id is 'Who told the actors what to do.';
comment on table cinema.films is 'Films that were shown';
create index on cinema.films (title);
insert into cinema.people (name, born) values ('Fritz Lang', '1890-12-05');
insert into cinema.films (title, tags, facts, length, director_id)
    values ('Metropolis', '{silent,future}', '{"year": 1927}', '2 hours', 1), ('M', null, null, null, 1);
"""


def start_pgserver(folder):
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))  # pgserver warns if it is not set
    pgserver = pytest.importorskip("pgserver", reason="the package pgserver is not installed")
    try:
        server = pgserver.get_server(folder / "data", cleanup_mode="stop")
    except Exception as error:
        pytest.skip(f"pgserver's PostgreSQL does not start here: {error}")
    return f"postgresql+psycopg://postgres@/postgres?host={server.get_postmaster_info().socket_dir}", server.cleanup


def start_system_server(folder):
    found = shutil.which("pg_ctl") or next(map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))), None)
    if found is None:
        pytest.skip("no PostgreSQL server is installed on this system")
    # PostgreSQL refuses to run as root.
    owner = "postgres" if os.geteuid() == 0 else None

    def run(program, *arguments):
        command = [str(Path(found).resolve().with_name(program)), *arguments]
        subprocess.run(command, check=True, user=owner, cwd="/", stdout=subprocess.DEVNULL, timeout=60)

    data = str(folder / "data")
    try:
        if owner:
            shutil.chown(folder, owner)
        run("initdb", "-D", data, "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync")
        run("pg_ctl", "-w", "-D", data, "-l", str(folder / "log"), "-o", f"-k {folder} -h ''", "start")
    except (OSError, LookupError, subprocess.SubprocessError) as error:
        pytest.skip(f"the system's PostgreSQL does not start here: {error}")
    return f"postgresql+psycopg://postgres@/postgres?host={folder}", lambda: run(
        "pg_ctl", "-D", data, "-m", "fast", "stop"
    )


@pytest.fixture(scope="module", params=[start_pgserver, start_system_server], ids=["pgserver", "system"])
def server(request):
    # Not pytest's temporary folder: another user runs the server, and the paths of sockets must be short.
    with tempfile.TemporaryDirectory(prefix="toolken-pg-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        url, stop = request.param(Path(folder))
        yield url
        stop()


@pytest.fixture(scope="module")
def admin(server):
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    yield engine
    engine.dispose()


@pytest.fixture
def url(server, admin):
    """Yield the URL of a new, empty database."""
    name = f"test_{next(NUMBERS)}"
    with admin.connect() as connection:
        connection.execute(text(f"create database {name}"))
    yield server.replace("/postgres?", f"/{name}?")
    with admin.connect() as connection:
        connection.execute(text(f"drop database {name} with (force)"))


@pytest.fixture
def kb(url):
    with KnowledgeBase(url) as base:
        base.load(
            [
                ("France", "capital_of", "Paris"),
                Triple("Switzerland", "capital_of", "Bern", ("Schweiz", "Suisse"), ("Berne",)),
                Triple("Côte d'Ivoire", "capital_of", "Yamoussoukro"),
                ("South Africa", "capital_of", "Pretoria"),
                ("South Africa", "capital_of", "Cape Town"),
            ],
            [CAPITAL],
        )
        yield base


def objects(rows):
    return [row["object"] for row in rows]


def run_script(url, script):
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql(script)
    engine.dispose()


def checksum(url):
    """Digest every row of every table of the database."""
    engine = create_engine(url)
    with engine.connect() as connection:
        # Object ids below 16,384 belong to the system catalogs.
        query = "select oid::regclass::text from pg_class where relkind = 'r' and oid >= 16384"
        tables = connection.scalars(text(query)).all()
        digests = {
            table: connection.scalar(text(f"select md5(string_agg(t::text, chr(10) order by t::text)) from {table} t"))
            for table in tables
        }
    engine.dispose()
    return digests


def test_facts_are_found_by_name_alias_and_plain_spelling(kb):
    assert objects(kb.lookup("capital_of", "FRANCE")) == ["Paris"]
    assert objects(kb.lookup("capital_of", "suisse")) == ["Bern"]
    assert objects(kb.lookup("capital_of", "cote d’ivoire")) == ["Yamoussoukro"]
    assert objects(kb.lookup("capital_of", "South Africa")) == ["Pretoria", "Cape Town"]
    assert kb.lookup("capital_of", "Schweiz")[0]["object_aliases"] == ["Berne"]
    assert kb.tools()[0].invoke({"subject": "south africa"}) == "Pretoria, Cape Town"


@pytest.mark.parametrize(
    ("written", "meant"),
    [("Frence", "France"), ("Swizterland", "Switzerland"), ("Schweitz", "Switzerland"), ("Africa", "South Africa")],
)
def test_near_matches_are_offered(kb, written, meant):
    with pytest.raises(NothingFoundError) as caught:
        kb.lookup("capital_of", written)
    assert caught.value.suggestions[0] == meant


def test_near_matches_come_from_the_extension_where_the_server_has_it(kb, admin, url):
    with admin.connect() as connection:
        has_it = connection.scalar(text("select count(*) from pg_available_extensions where name = 'pg_trgm'"))
    engine = create_engine(url)
    with engine.connect() as connection:
        indexes = connection.scalars(text("select indexname from pg_indexes where indexdef like '%USING gin%'")).all()
    engine.dispose()
    assert indexes == (["kb_name_pg_trgm"] if has_it else ["kb_name_trigrams_gin"])
    kb.load([("Germany", "capital_of", "Berlin")])
    with pytest.raises(NothingFoundError, match='did you mean "Germany"'):
        kb.lookup("capital_of", "Germny")


def test_lookups_use_the_index(kb, url):
    kb.load((f"country {number}", "capital_of", "x") for number in range(5000))
    engine = create_engine(url)
    with engine.connect() as connection:
        connection.execute(text("analyze"))
        plan = connection.scalars(text("explain select * from kb_fact where relation_id = 1 and key = 'france'")).all()
    engine.dispose()
    assert any("kb_fact_pkey" in line for line in plan)


def test_a_second_process_finds_what_was_loaded(kb, url):
    with KnowledgeBase(url) as other:
        assert other.relations == {"capital_of": CAPITAL}
        assert objects(other.lookup("capital_of", "france")) == ["Paris"]


def test_loading_again_changes_nothing_and_a_bad_triple_loads_nothing(kb, url):
    before = checksum(url)
    kb.load([("France", "capital_of", "Paris")])
    with pytest.raises(KnowledgeError, match="Triple 2"):
        kb.load([("Spain", "capital_of", "Madrid"), ("Spain", "capital_of", "")])
    assert checksum(url) == before


def test_lookups_cannot_write(kb):
    with pytest.raises(KnowledgeError, match="read-only transaction"), kb._reading() as connection:
        connection.exec_driver_sql("DELETE FROM kb_fact")


def test_a_statement_that_takes_too_long_is_stopped(kb, url):
    with KnowledgeBase(url, timeout=0.3) as base:
        with pytest.raises(KnowledgeError, match=r"took longer than 0\.3 s"), base._reading() as connection:
            connection.exec_driver_sql("SELECT pg_sleep(30)")
        assert objects(base.lookup("capital_of", "France")) == ["Paris"]


def test_a_schema_is_reflected_with_its_comments(url):
    run_script(url, SCHEMA)
    with ReflectedSchema(url, schema="cinema") as schema:
        described = {tool.name: tool.description for tool in schema.tools()}
        tools = {tool.name: tool for tool in schema.tools()}
        assert described["films_tags"] == "Find the tags of a film by title: Words that say what kind of film it is."
        assert described["films_director"] == "Find the director of a film by title: Who told the actors what to do."
        assert described["people_films"] == "Find the films of a person by name: Films that were shown."
        assert tools["films_director"].invoke({"subject": "metropolis"}) == "Fritz Lang"
        assert tools["people_films"].invoke({"subject": "Fritz Lang"}) == "Metropolis, M"
        assert tools["people_born"].invoke({"subject": "FRITZ LANG"}) == "1890-12-05"
        assert tools["films_tags"].invoke({"subject": "Metropolis"}) == '["silent", "future"]'
        assert tools["films_facts"].invoke({"subject": "Metropolis"}) == '{"year": 1927}'
        assert tools["films_length"].invoke({"subject": "Metropolis"}) == "2:00:00"
        with pytest.raises(NothingFoundError, match='did you mean "Metropolis"'):
            schema.lookup("films_length", "Metroplis")


@pytest.fixture(scope="module")
def corpus():
    file = Path(__file__).with_name("test_knowledge_injection.py")
    specification = importlib.util.spec_from_file_location("corpus", file)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module.CORPUS


def test_hostile_text_in_every_argument_reads_nothing_but_rows_and_changes_nothing(kb, url, corpus):
    run_script(url, "create table secret (password text); insert into secret values ('swordfish')")
    run_script(url, SCHEMA)
    before = checksum(url)
    assert {"kb_fact", "cinema.films", "secret"} <= before.keys()
    with ReflectedSchema(url, schema="cinema", tables=["films"]) as schema:
        tools = [*kb.tools(), *schema.tools()]
        assert [tool.name for tool in tools] == [
            *("capital_of", "films_tags", "films_facts", "films_length", "films_director")
        ]
        for tool, hostile in itertools.product(tools, corpus):
            assert list(tool.args) == ["subject"]
            answer = tool.invoke({"subject": hostile})
            # The sentence of "nothing found": no string is a stored name.
            assert answer.endswith((".", "?")), (tool.name, hostile)
            assert "swordfish" not in answer
        for hostile in corpus:
            with pytest.raises(KnowledgeError, match="There is no relation"):
                kb.lookup(hostile, "France")
            with pytest.raises(KnowledgeError, match="There is no lookup"):
                schema.lookup(hostile, "Metropolis")
        assert tools[0].invoke({"subject": "France"}) == "Paris"
    assert checksum(url) == before


def test_hostile_text_is_loaded_as_it_is(kb, url, corpus):
    run_script(url, SCHEMA)
    before = checksum(url)
    loadable = [hostile for hostile in corpus if fold(hostile) and len(hostile) < 290 and "\0" not in hostile]
    assert len(loadable) > 500
    relation = Relation("echo_of", "'; DROP TABLE kb_fact; --", "'; DROP TABLE kb_alias; --")
    kb.load([Triple(one, "echo_of", one, (f"alias {one}",), (one,)) for one in loadable], [relation])
    assert kb.relations["echo_of"] == relation
    for one in loadable[::10]:
        assert one in objects(kb.lookup("echo_of", one))
        assert one in objects(kb.lookup("echo_of", f"alias {one}"))
    after = checksum(url)
    assert {table for table in after if after[table] != before.get(table)} <= {
        *("kb_relation", "kb_fact", "kb_alias", "kb_name", "kb_name_trigrams")
    }
    assert objects(kb.lookup("capital_of", "France")) == ["Paris"]
