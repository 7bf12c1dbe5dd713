"""The atlas: a fictional country with hundreds of relations, whose lookups answer the generated questions."""

from collections import Counter

import pytest

from toolken.tools.knowledge import KnowledgeBase, KnowledgeError, atlas_facts, atlas_questions, atlas_relations


def test_relations_are_many_and_differ_in_name_and_description() -> None:
    relations = atlas_relations()
    assert len(relations) > 200
    assert len({relation.name for relation in relations}) == len(relations)
    assert len({relation.description.lower() for relation in relations}) == len(relations)


@pytest.mark.parametrize("held_out", [False, True])
def test_every_question_is_answered_by_its_lookup(held_out: bool) -> None:
    with KnowledgeBase() as kb:
        kb.load(atlas_facts(), atlas_relations(), progress=False)
        for record in atlas_questions(2, held_out=held_out):
            (call,) = record["calls"]
            assert call["args"]["subject"] in record["question"]
            assert [row["object"] for row in kb.lookup(call["tool"], call["args"]["subject"])] == [call["result"]]


def test_questions_are_equally_many_for_each_relation_and_held_out_ones_are_worded_differently() -> None:
    asked, held_out = list(atlas_questions(5)), list(atlas_questions(3, held_out=True))
    for records, count in ((asked, 5), (held_out, 3)):
        assert set(Counter(record["calls"][0]["tool"] for record in records).values()) == {count}
        assert len({record["question"] for record in records}) == len(records)

    def wordings(records: list) -> set[str]:  # type: ignore[type-arg]
        return {one["question"].replace(one["calls"][0]["args"]["subject"], "") for one in records}

    assert not wordings(asked) & wordings(held_out)


def test_the_seed_decides_which_questions_are_asked() -> None:
    first, again, other = (list(atlas_questions(1, seed=seed)) for seed in (0, 0, 1))
    assert first == again
    assert first != other


@pytest.mark.parametrize("count", [-1, 41])
def test_more_questions_than_subjects_are_refused(count: int) -> None:
    with pytest.raises(KnowledgeError, match="0 to 40"):
        list(atlas_questions(count))
