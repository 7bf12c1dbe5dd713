"""The generated requests are many and varied, and their calls carry them out."""

from itertools import islice

import pytest

from toolken.tools.household import Household, HouseholdError, examples, household_tools
from toolken.tools.household.errands import phrasebook
from toolken.tools.records import ExampleRecord

pytest.importorskip("virtualhome_eval", reason="the VirtualHome simulator is not installed")


@pytest.fixture(scope="module")
def made() -> list[ExampleRecord]:
    return list(examples(600, seed=3))


def test_calls_return_what_the_record_says_in_a_fresh_flat(made: list[ExampleRecord]) -> None:
    home = Household()
    tools = {tool.name: tool for tool in household_tools(home)}
    for record in made[::10]:
        home.reset()
        for call in record["calls"]:
            assert tools[call["tool"]].invoke(call["args"]) == call["result"]


def test_every_object_stands_in_the_question_word_for_word(made: list[ExampleRecord]) -> None:
    for record in made:
        for call in record["calls"]:
            assert call["args"]["object"].lower() in record["question"].lower()


def test_every_tool_is_used(made: list[ExampleRecord]) -> None:
    used = {call["tool"] for record in made for call in record["calls"]}
    assert used == {tool.name for tool in household_tools(Household())}


def test_questions_are_all_different_and_chains_of_several_lengths(made: list[ExampleRecord]) -> None:
    assert len({record["question"] for record in made}) == len(made)
    assert {len(record["calls"]) for record in made} >= {1, 2, 3, 4, 5}


def test_equal_seeds_give_equal_streams_and_other_seeds_other_ones(made: list[ExampleRecord]) -> None:
    assert list(examples(20, seed=3)) == made[:20]
    assert list(examples(20, seed=4)) != made[:20]
    assert list(islice(examples(1_000_000, seed=3), 20)) == made[:20]
    assert list(examples(0)) == []


def test_a_negative_count_is_a_clear_error() -> None:
    with pytest.raises(HouseholdError, match="-1 examples"):
        next(examples(-1))


def test_every_errand_of_the_phrasebook_works_with_every_noun() -> None:
    home = Household()
    for errand in phrasebook().errands:
        for noun in errand.nouns:
            home.reset()
            x, _, y = noun.partition(" | ")
            for tool, name in errand.chain:
                home.step(tool, name.format(x=x, y=y))
            for wording in (*errand.asked, *errand.hinted):
                assert all(name.format(x=x, y=y) in wording.format(x=x, y=y) for _, name in errand.chain)
