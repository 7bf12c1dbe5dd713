"""The facts about the world and the questions about them; LangChain's standard tests of each relation's tool."""

import csv
import itertools
from collections import Counter, defaultdict
from importlib.resources import files

import pytest
from langchain_tests.integration_tests import ToolsIntegrationTests
from langchain_tests.unit_tests import ToolsUnitTests

from toolken.benchmarks.measurements.knowledge import measure
from toolken.tools.knowledge import KnowledgeError, examples, world_facts, world_knowledge, world_relations
from toolken.tools.knowledge.examples import _all_wordings

FIRST_SUBJECTS = {
    relation: next(group).subject for relation, group in itertools.groupby(world_facts(), lambda t: t.relation)
}
KB = world_knowledge()
TOOLS = {tool.name: tool for tool in KB.tools()}


def _standard_tests(tool, subject):
    members = {
        "tool_constructor": property(lambda self: tool),
        "tool_invoke_params_example": property(lambda self: {"subject": subject}),
    }
    return {
        f"Test_{base.__name__}_{tool.name}": type(f"Test_{base.__name__}_{tool.name}", (base,), members)
        for base in (ToolsUnitTests, ToolsIntegrationTests)
    }


for _name, _tool in TOOLS.items():
    globals().update(_standard_tests(_tool, FIRST_SUBJECTS[_name]))


def test_there_are_enough_relations_and_facts_and_each_has_a_tool():
    facts = list(world_facts())
    assert len(facts) >= 900
    assert Counter(fact.relation for fact in facts).keys() == TOOLS.keys()
    assert len(TOOLS) == 21


def test_every_fact_is_found_under_each_of_its_names():
    expected = defaultdict(list)
    names = defaultdict(set)
    for fact in world_facts():
        expected[fact.relation, fact.subject].append(fact.object)
        names[fact.relation, fact.subject] |= {fact.subject, *fact.subject_aliases}
    for (relation, subject), objects in expected.items():
        for name in names[relation, subject]:
            assert TOOLS[relation].invoke({"subject": name}) == ", ".join(objects), name
            assert TOOLS[relation].invoke({"subject": name.lower()}) == ", ".join(objects), name


@pytest.mark.parametrize(
    ("relation", "subject", "answer"),
    [
        ("capital_of", "usa", "Washington, D.C."),
        ("author_of", "1984", "George Orwell"),
        ("atomic_number_of", "gold", "79"),
        ("mouth_of_river", "the Nile", "Mediterranean Sea"),
        ("official_language_of", "switzerland", "German, French, Italian, Romansh"),
        ("birthplace_of", "Albert Einstein", "Ulm"),
        ("year_of_event", "Battle of Hastings", "1066"),
    ],
)
def test_well_known_facts(relation, subject, answer):
    assert TOOLS[relation].invoke({"subject": subject}) == answer


def test_one_subject_has_one_object_unless_the_relation_allows_several():
    counts = Counter((fact.relation, fact.subject) for fact in world_facts())
    several = {relation for (relation, _), count in counts.items() if count > 1}
    assert several == {"official_language_of", "country_of_mountain"}


def test_descriptions_are_distinct_and_say_what_the_subject_is():
    relations = world_relations()
    assert len({relation.description for relation in relations}) == len(relations)
    assert all(relation.subject.startswith("the ") for relation in relations)


def test_each_relation_has_at_least_twelve_wordings_with_a_place_for_the_subject():
    for relation, wording in _all_wordings()["relations"].items():
        assert len(set(wording["questions"])) >= 12, relation
        assert all(text.count("{s}") == 1 for text in wording["questions"] + wording.get("phrases", []))
        known = {
            name
            for fact in world_facts()
            if fact.relation == relation
            for name in (fact.subject, *fact.subject_aliases)
        }
        assert set(wording.get("bare", [])) <= known


def test_data_files_are_clean():
    for file in ("world.csv", "relations.csv"):
        text = (files("toolken.tools.knowledge") / "data" / file).read_text(encoding="utf-8")
        rows = list(csv.reader(text.splitlines()))
        assert all(cell == cell.strip() for row in rows for cell in row)
        assert len(set(map(tuple, rows))) == len(rows)


def test_examples_are_the_same_for_a_seed_and_all_different():
    first = list(examples(600, seed=4))
    assert first == list(examples(600, seed=4))
    assert first[:200] == list(examples(200, seed=4))
    assert len({example["question"] for example in first}) == 600
    assert first[:50] != list(examples(50, seed=5))


def test_examples_call_tools_that_give_just_the_results_they_state():
    for example in examples(400, seed=1):
        subject = example["calls"][0]["args"]["subject"]
        assert subject in example["question"]
        for before, call in itertools.pairwise(example["calls"]):
            assert call["args"]["subject"] == before["result"]
        for call in example["calls"]:
            assert TOOLS[call["tool"]].invoke(call["args"]) == call["result"]


def test_examples_cover_every_relation_and_take_one_or_two_calls():
    drawn = list(examples(1500, seed=2))
    assert {example["calls"][-1]["tool"] for example in drawn} == TOOLS.keys()
    two = sum(len(example["calls"]) == 2 for example in drawn) / len(drawn)
    assert 0.1 < two < 0.2
    assert {len(example["calls"]) for example in drawn} == {1, 2}


def test_asking_for_no_examples_gives_none_and_for_a_negative_number_a_sentence():
    assert list(examples(0)) == []
    with pytest.raises(KnowledgeError, match="-1"):
        list(examples(-1))


def test_the_benchmark_reports_what_was_asked_for(capsys):
    measured = measure(facts=1_000, lookups=10)
    assert measured.keys() >= {"load_rows_per_s", "lookup_median_ms", "lookup_p99_ms", "index_speedup", "peak_mb"}
    assert all(value > 0 for value in measured.values())
    assert "load_rows_per_s" in capsys.readouterr().out
    with pytest.raises(KnowledgeError, match="too few to measure"):
        measure(facts=10)
