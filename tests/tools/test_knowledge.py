"""The knowledge base of relations: loading, lookup, near matches, limits and bad input."""

import asyncio
import json
import sqlite3
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolken.errors import ToolkenError
from toolken.tools.knowledge import (
    KnowledgeBase,
    KnowledgeError,
    NothingFoundError,
    Relation,
    Triple,
    read_csv,
    read_jsonl,
    read_kamel,
)
from toolken.tools.knowledge.names import closest, fold, pieces

CAPITAL = Relation("capital_of", "Find the capital of a country.", "the country")
RIVER = Relation("rivers_of", "Name the rivers of a country.", "the country")

PLANETS = KnowledgeBase()
PLANETS.load([("Mars", "moons_of", "Phobos")], [Relation("moons_of", "Name the moons of a planet.")])


@pytest.fixture
def kb():
    with KnowledgeBase() as base:
        base.load(
            [
                ("France", "capital_of", "Paris"),
                Triple("United Kingdom", "capital_of", "London", ("UK", "Britain")),
                ("Côte d'Ivoire", "capital_of", "Yamoussoukro"),
                ("France", "rivers_of", "Seine"),
                Triple("France", "rivers_of", "Loire", (), ("the Loire", "Liger")),
                ("France", "rivers_of", "Rhône"),
            ],
            [CAPITAL, RIVER],
        )
        yield base


def objects(rows):
    return [row["object"] for row in rows]


@pytest.mark.parametrize(
    "written", ["France", "france", " FRANCE ", "France?", "the France", "“France”", "Fra\u0301nce"]
)
def test_lookup_ignores_case_accents_and_outer_punctuation(kb, written):
    assert objects(kb.lookup("capital_of", written)) == ["Paris"]


@pytest.mark.parametrize("written", ["Cote d'Ivoire", "CÔTE D’IVOIRE", "côte  d'ivoire"])
def test_lookup_finds_accented_names_written_plainly(kb, written):
    assert objects(kb.lookup("capital_of", written)) == ["Yamoussoukro"]


def test_objects_come_in_the_order_of_loading_with_their_aliases(kb):
    rows = kb.lookup("rivers_of", "France")
    assert objects(rows) == ["Seine", "Loire", "Rhône"]
    assert rows[1]["object_aliases"] == ["the Loire", "Liger"]


def test_aliases_lead_to_their_subject(kb):
    assert kb.lookup("capital_of", "uk") == kb.lookup("capital_of", "United Kingdom")


def test_own_name_goes_before_the_alias_of_another(kb):
    kb.load(
        [Triple("Georgia", "capital_of", "Tbilisi"), Triple("State of Georgia", "capital_of", "Atlanta", ("Georgia",))]
    )
    assert objects(kb.lookup("capital_of", "Georgia")) == ["Tbilisi"]


def test_exact_spelling_decides_between_names_alike_and_otherwise_all_are_given(kb):
    kb.load([("Peru", "capital_of", "Lima"), ("Perú", "capital_of", "Lima (Spanish)")])
    tool = kb.tools()[0]
    assert tool.invoke({"subject": "Perú"}) == "Lima (Spanish)"
    assert tool.invoke({"subject": "PERU"}) == "Peru: Lima; Perú: Lima (Spanish)"


@pytest.mark.parametrize(
    ("written", "meant"),
    [("Frence", "France"), ("Frnace", "France"), ("Untied Kingdom", "United Kingdom"), ("Kingdom", "United Kingdom")],
)
def test_near_matches_are_offered_when_nothing_is_found(kb, written, meant):
    with pytest.raises(NothingFoundError, match=f'did you mean "{meant}"') as caught:
        kb.lookup("capital_of", written)
    assert caught.value.suggestions[0] == meant


def test_near_matches_only_offer_what_the_relation_knows(kb):
    with pytest.raises(NothingFoundError) as caught:
        kb.lookup("rivers_of", "United Kingdm")
    assert caught.value.suggestions == []


def test_near_matches_use_the_index_and_no_scan(kb):
    plans = []
    kb.load([(f"Name {number}", "capital_of", "x") for number in range(100)])
    with kb._reader.connect() as connection:
        for statement in (
            "SELECT key FROM kb_fact WHERE relation_id = 1 AND key = 'x'",
            "SELECT rowid FROM kb_name_fts WHERE kb_name_fts MATCH '\"abcd\"'",
        ):
            plans += [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}")]
    assert plans[0].startswith("SEARCH kb_fact USING PRIMARY KEY")
    assert "VIRTUAL TABLE INDEX" in plans[1]


def test_tool_gives_text_and_rows_and_a_bounded_grounded_argument(kb):
    tool = kb.tools()[1]
    message = tool.invoke({"type": "tool_call", "id": "1", "name": "rivers_of", "args": {"subject": "france"}})
    assert (message.status, message.content) == ("success", "Seine, Loire, Rhône")
    assert message.artifact == kb.lookup("rivers_of", "France")
    assert tool.description == RIVER.description
    subject = tool.tool_call_schema.model_json_schema()["properties"]["subject"]
    assert subject["x-grounded"] is True
    assert subject["maxLength"] > 0
    assert subject["description"] == "The name of the country, as it is written in the question."


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"subject": "Frnace"}, 'did you mean "France"?'),
        ({}, "The argument subject is missing: give it."),
        ({"subject": "France", "year": 1900}, "There is no argument year: leave it out."),
        ({"subject": "x" * 400}, "should have at most 300 characters."),
        ({"subject": None}, "should be a valid string."),
    ],
)
def test_a_call_that_fails_is_a_message_with_status_error_and_one_sentence(kb, arguments, says):
    tool = kb.tools()[1]
    message = tool.invoke({"type": "tool_call", "id": "1", "name": tool.name, "args": arguments})
    assert (message.status, message.artifact) == ("error", None)
    assert message.content.endswith(says)
    assert len(message.content) < 200


def test_tools_answer_asynchronously_and_from_many_threads(kb):
    tool = kb.tools()[0]

    async def ask_all():
        return await asyncio.gather(*(tool.ainvoke({"subject": "France"}) for _ in range(50)))

    assert asyncio.run(ask_all()) == ["Paris"] * 50


def test_the_exact_spelling_is_found_beyond_the_row_limit():
    with KnowledgeBase(row_limit=3) as base:
        base.load([("PERU", "rivers_of", f"river {number}") for number in range(9)], [RIVER])
        base.load([("Peru", "rivers_of", "Amazon")])
        assert objects(base.lookup("rivers_of", "Peru")) == ["Amazon"]


def test_a_closed_knowledge_base_says_so(kb):
    tool = kb.tools()[0]
    kb.close()
    assert "is closed" in tool.invoke({"subject": "France"})
    with pytest.raises(KnowledgeError, match="is closed"):
        kb.lookup("capital_of", "France")
    with pytest.raises(KnowledgeError, match="is closed"):
        kb.load([])


def test_a_file_another_program_keeps_locked_gets_a_sentence(tmp_path):
    file = tmp_path / "facts.db"
    with KnowledgeBase(f"sqlite:///{file}", timeout=0.1) as base:
        base.load([("France", "capital_of", "Paris")], [CAPITAL])
        other = sqlite3.connect(file, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(KnowledgeError, match="database is locked"):
            base.lookup("capital_of", "France")
        other.close()
        assert objects(base.lookup("capital_of", "France")) == ["Paris"]


def test_an_alias_shared_by_thousands_is_still_answered_quickly():
    with KnowledgeBase(timeout=5.0) as base:
        aliases = tuple(f"alias {number}" for number in range(30))
        base.load([Triple(f"s{number}", "rivers_of", "o", aliases) for number in range(2000)], [RIVER])
        assert len(base.lookup("rivers_of", "alias 7")) == 50
        with pytest.raises(NothingFoundError):
            base.lookup("rivers_of", "alios 7")


def test_row_limit_cuts_and_says_so():
    with KnowledgeBase(row_limit=3) as base:
        base.load([("All", "rivers_of", f"river {number}") for number in range(9)], [RIVER])
        assert len(base.lookup("rivers_of", "all")) == 3
        assert base.tools()[0].invoke({"subject": "all"}) == "river 0, river 1, river 2 and more"


def test_loading_again_changes_nothing(kb):
    before = kb.lookup("rivers_of", "France")
    kb.load([("France", "rivers_of", "Seine")])
    assert kb.lookup("rivers_of", "France") == before


def test_a_file_is_found_again_with_its_relations(tmp_path):
    url = f"sqlite:///{tmp_path / 'facts.db'}"
    with KnowledgeBase(url) as base:
        base.load([("France", "capital_of", "Paris")], [CAPITAL])
    with KnowledgeBase(url) as base:
        assert base.relations == {"capital_of": CAPITAL}
        assert objects(base.lookup("capital_of", "france")) == ["Paris"]
        base.load([], [Relation("capital_of", "Find the seat of government.", "the state")])
        assert base.tools()[0].description == "Find the seat of government."


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (("x", "unheard_of", "y"), 'relation "unheard_of", which has no description'),
        (("", "capital_of", "y"), "empty name"),
        (("x", "capital_of", "  "), "empty object"),
        (("x" * 301, "capital_of", "y"), "more than 300 characters"),
        (("x", "capital_of", "a\0b"), "NUL"),
        (("x\ud800", "capital_of", "y"), "not valid text"),
        (("x", "capital_of", 3), "not a tuple of texts"),
        (("x", "capital_of"), "not a tuple of texts"),
        (Triple("x", "capital_of", "y", "alias"), "where a list of aliases belongs"),
        (None, "not a tuple of texts"),
        ({"subject": "x", "relation": "capital_of", "object": "y"}, "not a tuple of texts"),
        ("abc", "not a tuple of texts"),
    ],
)
def test_a_bad_triple_is_named_and_nothing_is_loaded(kb, bad, why):
    with pytest.raises(KnowledgeError, match=r"^Triple 2, ") as caught:
        kb.load([("Spain", "capital_of", "Madrid"), bad])
    assert why in str(caught.value)
    with pytest.raises(NothingFoundError):
        kb.lookup("capital_of", "Spain")


def test_an_error_of_the_caller_leaves_nothing_half_loaded(tmp_path):
    def interrupted():
        for number in range(30_000):
            yield (f"country {number}", "capital_of", "x")
        raise RuntimeError("the source broke")

    with KnowledgeBase(f"sqlite:///{tmp_path / 'facts.db'}") as base:
        with pytest.raises(RuntimeError, match="the source broke"):
            base.load(interrupted(), [CAPITAL])
        assert base.relations == {}
        assert base.load([("France", "capital_of", "Paris")], [CAPITAL]) == 1


@pytest.mark.parametrize("name", ["", "two words", "quote'", "x" * 65])
def test_a_relation_must_be_able_to_name_a_tool(name):
    with KnowledgeBase() as base, pytest.raises(KnowledgeError, match="cannot name a tool"):
        base.load([], [Relation(name, "Anything.")])


def test_a_relation_needs_a_description():
    with KnowledgeBase() as base, pytest.raises(KnowledgeError, match="has no description"):
        base.load([], [Relation("capital_of", " ")])


@pytest.mark.parametrize(
    "relation", [Relation("a", None), Relation(5, "x"), Relation("a", "x\0"), Relation("a", "x\ud800")]
)
def test_a_relation_is_made_of_plain_text(relation):
    with KnowledgeBase() as base, pytest.raises(KnowledgeError, match="where a text belongs"):
        base.load([], [relation])


@pytest.mark.parametrize("options", [{"row_limit": 0}, {"row_limit": "5"}, {"timeout": 0}, {"timeout": float("nan")}])
def test_a_limit_must_be_a_number_above_zero(options):
    with pytest.raises(KnowledgeError, match=r"row_limit is .* and timeout .*: give"):
        KnowledgeBase(**options)


@pytest.mark.parametrize("subject", ["", "   ", "\0", "x" * 301, None, 5, ["x"]])
def test_what_is_no_name_gets_a_sentence(kb, subject):
    with pytest.raises(NothingFoundError, match="is not a valid name"):
        kb.lookup("capital_of", subject)


def test_an_unknown_relation_is_answered_with_those_there_are(kb):
    with pytest.raises(KnowledgeError, match="there are capital_of, rivers_of"):
        kb.lookup("currency_of", "France")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("no url at all", "cannot be used as a database URL"),
        ("oracle+nodriver://x", "cannot be used as a database URL"),
        ("sqlite+aiosqlite://", "cannot be used|is asynchronous"),
        ("postgresql+psycopg://nobody@localhost:1/none", "could not be read"),
    ],
)
def test_a_url_that_cannot_be_used_gets_a_sentence(url, why):
    with pytest.raises(KnowledgeError, match=why):
        KnowledgeBase(url)


def test_a_password_is_not_repeated_in_an_error():
    with pytest.raises(KnowledgeError) as caught:
        KnowledgeBase("oracle+nodriver://ann:swordfish@host/name")
    assert "swordfish" not in str(caught.value)


def test_a_sqlite_uri_filename_is_found_again(tmp_path):
    url = f"sqlite:///file:{tmp_path / 'facts.db'}?uri=true"
    with KnowledgeBase(url) as base:
        base.load([("France", "capital_of", "Paris")], [CAPITAL])
    with KnowledgeBase(url) as base:
        assert objects(base.lookup("capital_of", "france")) == ["Paris"]


def test_a_file_in_no_folder_gets_a_sentence(tmp_path):
    base = KnowledgeBase(f"sqlite:///{tmp_path / 'none' / 'facts.db'}")
    with pytest.raises(KnowledgeError, match="There is no folder"):
        base.load([], [CAPITAL])


def test_a_file_that_is_no_database_gets_a_sentence(tmp_path):
    file = tmp_path / "facts.db"
    file.write_text("This is a letter, not a database. " * 100)
    with pytest.raises(KnowledgeError, match="could not be read: file is not a database"):
        KnowledgeBase(f"sqlite:///{file}")


def test_lookups_cannot_write(kb, tmp_path):
    for url in ("sqlite://", f"sqlite:///{tmp_path / 'facts.db'}"):
        with KnowledgeBase(url) as base:
            base.load([("France", "capital_of", "Paris")], [CAPITAL])
            with pytest.raises(KnowledgeError, match="readonly"), base._reading() as connection:
                connection.exec_driver_sql("DELETE FROM kb_fact")


def test_a_statement_that_takes_too_long_is_stopped():
    with KnowledgeBase(timeout=0.2) as base:
        base.load([("France", "capital_of", "Paris")], [CAPITAL])
        endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
        with pytest.raises(KnowledgeError, match=r"took longer than 0\.2 s"), base._reading() as connection:
            connection.exec_driver_sql(endless)
        assert objects(base.lookup("capital_of", "France")) == ["Paris"]


def test_reading_goes_on_while_facts_are_loaded(kb):
    errors = []

    def read():
        try:
            for _ in range(200):
                assert objects(kb.lookup("capital_of", "France")) == ["Paris"]
        except Exception as error:
            errors.append(error)

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for round_ in range(10):
        kb.load([(f"country {round_}", "capital_of", "x")])
    for reader in readers:
        reader.join()
    assert errors == []


def test_csv_loads_with_aliases_and_a_progress_bar(tmp_path, capsys):
    file = tmp_path / "facts.csv"
    file.write_text(
        "\ufeffsubject,relation,object,object_aliases,subject_aliases\n"
        '"Washington, D.C.",rivers_of,Potomac,,DC|District of Columbia\n\nFrance,rivers_of,"Seine ""la""",,\n',
        encoding="utf-8",
    )
    with KnowledgeBase() as base:
        assert base.load_csv(file, [RIVER], progress=True) == 2
        assert "facts.csv" in capsys.readouterr().err
        assert objects(base.lookup("rivers_of", "dc")) == ["Potomac"]
        assert objects(base.lookup("rivers_of", "France")) == ['Seine "la"']


def test_jsonl_loads_with_several_objects(tmp_path):
    file = tmp_path / "facts.jsonl"
    lines = [
        {"subject": "France", "relation": "rivers_of", "object": ["Seine", "Loire"]},
        {
            "subject": "Egypt",
            "relation": "rivers_of",
            "object": "Nile",
            "subject_aliases": ["Misr"],
            "object_aliases": ["Bahr"],
        },
    ]
    file.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    with KnowledgeBase() as base:
        assert base.load_jsonl(file, [RIVER]) == 3
        assert objects(base.lookup("rivers_of", "France")) == ["Seine", "Loire"]
        assert base.lookup("rivers_of", "misr")[0]["object_aliases"] == ["Bahr"]


@pytest.mark.parametrize(
    ("reader", "text", "where"),
    [
        (read_csv, "subject,relation\na,b\n", "line 1: the header"),
        (read_csv, "subject,relation,object,extra\na,b,c,d\n", "line 1: the header"),
        (read_csv, "", "line 1: the header"),
        (read_csv, "subject,relation,object\na,b,c\na,b\n", "line 3: 2 cells where the header has 3"),
        (read_csv, 'subject,relation,object\na,b,"c\n', "line 2"),
        (read_jsonl, '{"subject": "a", "relation": "b", "object": "c"}\n{"subject"\n', "line 2: not valid JSON"),
        (read_jsonl, "[1]\n", "line 1: .* is not a JSON object"),
        (read_jsonl, '\n{"subject": "a", "relation": "b"}\n', "line 2: the keys must be"),
        (read_jsonl, '{"subject": "a", "relation": "b", "object": "c", "note": 1}\n', "line 1: the keys must be"),
        (read_jsonl, "[" * 100_000, "line 1: not valid JSON"),
    ],
)
def test_a_broken_line_is_named_by_file_and_number(reader, text, where):
    with pytest.raises(KnowledgeError, match=where) as caught:
        list(reader(text.splitlines(keepends=True), "facts.txt"))
    assert str(caught.value).startswith("facts.txt, ")


def test_a_file_that_is_missing_or_no_text_gets_a_sentence(tmp_path):
    with KnowledgeBase() as base:
        with pytest.raises(KnowledgeError, match=r"cannot be read: No such file"):
            base.load_csv(tmp_path / "none.csv", [RIVER])
        (tmp_path / "bytes.csv").write_bytes(b"subject,relation,object\n\xff\xfe,b,c\n")
        with pytest.raises(KnowledgeError, match="is not UTF-8 text"):
            base.load_csv(tmp_path / "bytes.csv", [RIVER])


def test_kamel_facts_as_published_load(tmp_path):
    (tmp_path / "facts").mkdir()
    information = {"<P17>": {"tool_name": "<P17>", "tool_description": "country(name): gets the country"}}
    (tmp_path / "tools.json").write_text(json.dumps({"tool_information": information}))
    entity = {"chosen": "France", "rdf": "France", "alternative": ["FR", "La France"]}
    year = {"chosen": "1903", "rdf": None, "alternative": ["1903"]}
    records = [
        {"property": "P17", "index": [1], "sub_label": "Louvre", "obj_label": [entity, year]},
        {"property": "P17", "sub_label": "Prado", "obj_label": ["Spain"]},
    ]
    (tmp_path / "facts" / "dev.jsonl").write_text("\n".join(map(json.dumps, records)))
    relations, triples = read_kamel(tmp_path)
    with KnowledgeBase() as base:
        assert base.load(triples, relations) == 3
        rows = base.lookup("P17", "louvre")
        assert [(row["object"], row["object_aliases"]) for row in rows] == [
            ("France", ["FR", "La France"]),
            ("1903", []),
        ]


def test_a_folder_without_kamel_gets_a_sentence(tmp_path):
    with pytest.raises(KnowledgeError, match=r"has no tools\.json"):
        read_kamel(tmp_path)


def test_all_of_kamel_loads_and_answers():
    folder = Path(__file__).parents[3] / "shared/data/kamel"
    if not folder.is_dir():
        pytest.skip("KAMEL's data are not in shared/data/kamel beside the project")
    relations, triples = read_kamel(folder)
    with KnowledgeBase() as base:
        assert base.load(triples, relations) > 100_000
        tools = {tool.name: tool for tool in base.tools()}
        assert len(tools) == 234
        assert tools["P1001"].invoke({"subject": "France–Italy border"}) == "France, Italy"
        assert tools["P1001"].invoke({"subject": "second mahathir cabinet"}) == "Malaysia"


def test_errors_are_part_of_the_one_tree():
    assert issubclass(NothingFoundError, KnowledgeError)
    assert issubclass(KnowledgeError, ToolkenError)


@given(st.text(max_size=40))
def test_any_text_folds_to_one_line_of_printable_characters(name):
    key = fold(name)
    assert key == " ".join(key.split())
    assert key.isprintable()


@given(st.text(max_size=60))
def test_any_text_gets_an_answer_or_a_sentence(name):
    with pytest.raises(NothingFoundError) as caught:
        PLANETS.lookup("moons_of", f"not {name}")
    assert str(caught.value).endswith((".", "?"))


@given(st.text(alphabet="abcdefgh ", min_size=6, max_size=40).map(fold), st.data())
def test_a_name_with_one_letter_wrong_keeps_a_piece(key, data):
    if len(key) < 6:
        return
    place = data.draw(st.integers(0, len(key) - 1))
    right = key[:place] + "z" + key[place + 1 :]
    assert any(piece in right for piece in pieces(key))


def test_closest_prefers_the_more_alike():
    names = [(fold(name), name) for name in ("Berlin", "Bern", "Bergen", "Madrid")]
    assert closest("berlim", names) == ["Berlin", "Bern"]


def test_a_database_of_another_program_is_left_alone(tmp_path):
    file = tmp_path / "other.db"
    connection = sqlite3.connect(file)
    connection.execute("CREATE TABLE note (text)")
    connection.commit()
    connection.close()
    before = file.read_bytes()
    with KnowledgeBase(f"sqlite:///{file}") as base:
        assert base.tools() == []
    assert file.read_bytes() == before
