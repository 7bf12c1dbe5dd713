"""An existing schema as lookup tools: their names and descriptions, results, errors and limits."""

import datetime
import sqlite3
from decimal import Decimal

import pytest
from langchain_tests.integration_tests import ToolsIntegrationTests
from langchain_tests.unit_tests import ToolsUnitTests

from toolken.tools.knowledge import KnowledgeError, NothingFoundError, ReflectedSchema
from toolken.tools.knowledge.schema_paths import plural, singular, words

CINEMA = """
create table countries (code text primary key, name text not null unique, population integer, area numeric(9, 1));
create table people (id integer primary key, name text not null, birth_date date, portrait blob,
                     country_code text references countries (code));
create table films (id integer primary key, title text not null, year integer, "Odd ""Col; --" text,
                    director_id integer references people (id));
create table film_actors (film_id integer references films (id), actor_id integer references people (id),
                          primary key (film_id, actor_id));
create table employees (id integer primary key, name text, manager_id integer references employees (id));
create table rooms (house text, number integer, colour text, primary key (house, number));
create table beds (id integer primary key, label text, house text, number integer,
                   foreign key (house, number) references rooms (house, number));
create view long_films as select title, year from films;
insert into countries values ('de', 'Germany', 84, 357592.5), ('at', 'Österreich', null, null);
insert into people values (1, 'Fritz Lang', '1890-12-05', x'00', 'at'), (2, 'Brigitte Helm', '1906-03-17', null, 'de'),
                          (3, 'Alfred Abel', null, null, 'de');
insert into films values (1, 'Metropolis', 1927, 'x', 1), (2, 'M', 1931, null, 1), (3, 'Metropolis', 2001, null, null);
insert into film_actors values (1, 2), (1, 3);
insert into employees values (1, 'Ann', null), (2, 'Bob', 1), (3, 'Cy', 1);
insert into rooms values ('A', 1, 'red'), ('A', 2, 'blue');
insert into beds values (1, 'bunk', 'A', 2);
"""


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    file = tmp_path_factory.mktemp("cinema") / "cinema.db"
    connection = sqlite3.connect(file)
    connection.executescript(CINEMA)
    connection.close()
    return f"sqlite:///{file}"


@pytest.fixture(scope="module")
def cinema(url):
    with ReflectedSchema(url) as schema:
        yield schema


def values(rows, name):
    return [row[name] for row in rows]


def test_there_is_a_lookup_for_each_key_and_value_and_foreign_key_path(cinema):
    assert set(cinema.lookups) == {
        "beds_room",
        "countries_area",
        "countries_area_by_code",
        "countries_code",
        "countries_name_by_code",
        "countries_people",
        "countries_people_by_code",
        "countries_population",
        "countries_population_by_code",
        "employees_employees_as_manager",
        "employees_manager",
        "films_actors",
        "films_director",
        "films_odd_col",
        "films_year",
        "long_films_year",
        "people_birth_date",
        "people_country",
        "people_films_as_actor",
        "people_films_as_director",
        "rooms_beds",
        "rooms_colour",
    }


@pytest.mark.parametrize(
    ("lookup", "subject", "text"),
    [
        ("countries_population", "Germany", "84"),
        ("countries_population", "GERMANY", "84"),
        ("countries_area_by_code", "de", "357592.5"),
        ("countries_code", "osterreich", "at"),
        ("people_birth_date", "Fritz Lang", "1890-12-05"),
        ("people_country", "fritz lang", "Österreich"),
        ("films_director", "M", "Fritz Lang"),
        ("films_director", "metropolis", "Fritz Lang"),
        ("films_actors", "Metropolis", "Brigitte Helm, Alfred Abel"),
        ("films_year", "Metropolis", "1927, 2001"),
        ("people_films_as_director", "Fritz Lang", "Metropolis, M"),
        ("people_films_as_actor", "Alfred Abel", "Metropolis"),
        ("employees_manager", "Bob", "Ann"),
        ("employees_employees_as_manager", "Ann", "Bob, Cy"),
        ("films_odd_col", "Metropolis", "x"),
        ("long_films_year", "M", "1931"),
    ],
)
def test_a_lookup_finds_what_a_person_would_read_off(cinema, lookup, subject, text):
    tool = {tool.name: tool for tool in cinema.tools()}[lookup]
    message = tool.invoke({"type": "tool_call", "id": "1", "name": lookup, "args": {"subject": subject}})
    assert message.content == text
    assert message.artifact == cinema.lookup(lookup, subject)


def test_descriptions_are_plain_sentences(cinema):
    descriptions = {name: lookup.description for name, lookup in cinema.lookups.items()}
    assert descriptions["countries_population"] == "Find the population of a country by name."
    assert descriptions["films_director"] == "Find the director of a film by title."
    assert descriptions["employees_manager"] == "Find the manager of an employee by name."
    argument = {tool.name: tool for tool in cinema.tools()}["films_director"].tool_call_schema.model_json_schema()
    assert (
        argument["properties"]["subject"]["description"] == "The title of the film, as it is written in the question."
    )


def test_rows_keep_the_types_of_the_database(cinema):
    assert cinema.lookup("countries_area", "Germany") == [{"name": "Germany", "countries_area": Decimal("357592.5")}]
    born = cinema.lookup("people_birth_date", "Fritz Lang")[0]["people_birth_date"]
    assert born == datetime.date(1890, 12, 5)


def test_two_hops_lead_on(url):
    with ReflectedSchema(url, hops=2, tables=["films"]) as schema:
        assert schema.lookups["films_country_director"].description == (
            "Find the country of the director of a film by title."
        )
        assert values(schema.lookup("films_country_director", "M"), "films_country_director") == ["Österreich"]
        assert "films_country_actors" in schema.lookups


def test_composite_foreign_keys_are_joined_on_every_column(url):
    with ReflectedSchema(url, tables=["beds"], keys={"rooms": ["colour"]}) as schema:
        assert values(schema.lookup("beds_room", "bunk"), "beds_room") == ["blue"]


def test_keys_may_be_numbers_when_the_caller_says_so(url):
    with ReflectedSchema(url, tables=["films"], keys={"films": ["year"]}) as schema:
        assert values(schema.lookup("films_title", "1927"), "films_title") == ["Metropolis"]
        for wrong in ("nineteen", "9" * 30, "1e400"):
            with pytest.raises(NothingFoundError, match="is not a valid year: give a whole number"):
                schema.lookup("films_title", wrong)


def test_near_matches_are_offered(cinema):
    with pytest.raises(NothingFoundError, match='did you mean "Germany"') as caught:
        cinema.lookup("countries_population", "Gremany")
    assert caught.value.suggestions == ["Germany"]


def test_a_known_key_without_value_is_distinguished_from_an_unknown_one(cinema):
    with pytest.raises(NothingFoundError, match='"Österreich" is stored, but with nothing filled in'):
        cinema.lookup("countries_population", "Österreich")
    with pytest.raises(NothingFoundError, match='Nothing is stored under "Cy" for employees_employees_as_manager'):
        cinema.lookup("employees_employees_as_manager", "Cy")


def test_row_limit_cuts_and_says_so(url):
    with ReflectedSchema(url, row_limit=1) as schema:
        tool = {tool.name: tool for tool in schema.tools()}["films_actors"]
        assert tool.invoke({"subject": "Metropolis"}) == "Brigitte Helm and more"


def test_too_many_keys_mean_spelling_counts(url):
    with ReflectedSchema(url, max_names=1) as schema:
        assert schema.lookup("countries_population", "Germany")
        with pytest.raises(NothingFoundError):
            schema.lookup("countries_population", "germany")


def test_new_rows_are_found_at_once_and_near_matches_after_refresh(tmp_path):
    file = tmp_path / "towns.db"
    connection = sqlite3.connect(file)
    connection.executescript("create table towns (name text, people integer); insert into towns values ('Ulm', 1)")
    with ReflectedSchema(f"sqlite:///{file}") as schema:
        with pytest.raises(NothingFoundError):
            schema.lookup("towns_people", "Bonn")
        connection.executescript("insert into towns values ('Bonn', 2)")
        assert values(schema.lookup("towns_people", "Bonn"), "towns_people") == [2]
        schema.refresh()
        assert values(schema.lookup("towns_people", "bonn"), "towns_people") == [2]
    connection.close()


def test_descriptions_can_be_given(url):
    with ReflectedSchema(url, tables=["films"], descriptions={"films_year": "Find when a film was made."}) as schema:
        assert {tool.name: tool.description for tool in schema.tools()}["films_year"] == "Find when a film was made."


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"tables": ["nowhere"]}, 'no table "nowhere"'),
        ({"keys": {"nowhere": ["x"]}}, 'no table "nowhere"'),
        ({"keys": {"films": ["nothing"]}}, 'no column "nothing"'),
        ({"max_tools": 3}, "more than max_tools=3"),
        ({"tables": ["rooms"], "keys": {"rooms": []}}, "No table has a column to look rows up by"),
        ({"descriptions": {"nothing": "x"}}, 'no lookup "nothing"'),
    ],
)
def test_wrong_options_get_a_sentence(url, options, why):
    with pytest.raises(KnowledgeError, match=why):
        ReflectedSchema(url, **options)


def test_broken_parts_of_a_schema_are_omitted(tmp_path):
    file = tmp_path / "broken.db"
    connection = sqlite3.connect(file)
    connection.executescript(
        """create table towns (Náme text, mayor text, state_id integer references gone (id), size numeric(6, 2));
        create view sizes as select Náme as name, size from towns;
        create view lost as select * from gone;
        insert into towns values ('Ulm', 'Ann', 1, 1.5), ('Aue', 'Bob', 2, 'unknown');"""
    )
    connection.close()
    with ReflectedSchema(f"sqlite:///{file}") as schema:
        tools = {tool.name: tool for tool in schema.tools()}
        assert sorted(tools) == ["sizes_size", "towns_mayor", "towns_size"]
        assert tools["towns_mayor"].invoke({"subject": "ulm"}) == "Ann"
        assert tools["sizes_size"].invoke({"subject": "Ulm"}) == "1.50"
        assert tools["towns_size"].invoke({"subject": "Aue"}) == "unknown"


def test_a_missing_file_is_not_created(tmp_path):
    file = tmp_path / "none.db"
    with pytest.raises(KnowledgeError, match="There is no database file"):
        ReflectedSchema(f"sqlite:///{file}")
    assert not file.exists()


@pytest.mark.parametrize("subject", ["", "\0", None, 5, ["M"]])
def test_what_is_no_key_gets_a_sentence(cinema, subject):
    with pytest.raises(NothingFoundError, match="is not a valid title"):
        cinema.lookup("films_director", subject)


def test_an_unknown_lookup_gets_a_sentence(cinema):
    with pytest.raises(KnowledgeError, match='There is no lookup "films_colour"'):
        cinema.lookup("films_colour", "M")


@pytest.mark.parametrize(
    ("one", "many"),
    [("country", "countries"), ("film", "films"), ("box", "boxes"), ("person", "people"), ("class", "classes")],
)
def test_table_names_become_singular_and_back(one, many):
    assert singular(many) == one
    assert plural(one) == plural(many) == many


def test_identifiers_become_words():
    assert [words(name) for name in ("birthYear", "birth_year", "X-ray.id")] == ["birth year", "birth year", "x ray id"]


class TestReflectedToolUnit(ToolsUnitTests):
    @property
    def tool_constructor(self):
        return _director_tool()

    @property
    def tool_invoke_params_example(self):
        return {"subject": "M"}


class TestReflectedToolIntegration(ToolsIntegrationTests):
    @property
    def tool_constructor(self):
        return _director_tool()

    @property
    def tool_invoke_params_example(self):
        return {"subject": "M"}


def _director_tool():
    return {tool.name: tool for tool in _Cinema.schema.tools()}["films_director"]


class _Cinema:
    schema: ReflectedSchema


@pytest.fixture(autouse=True)
def _give_cinema_to_standard_tests(cinema):
    _Cinema.schema = cinema
