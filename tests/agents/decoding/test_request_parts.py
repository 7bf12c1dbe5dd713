"""A request is split into sentences and clauses."""

import pytest

from toolken.agents.decoding.request_parts import parts_of, shared_parts_of


@pytest.mark.parametrize(
    ("question", "parts"),
    [
        ("What is 2 plus 3?", ["What is 2 plus 3?"]),
        ("How warm is it in Oslo and how high is the tower?", ["How warm is it in Oslo", "how high is the tower?"]),
        ("Wash the dishes. Then feed the cat!", ["Wash the dishes.", "Then feed the cat!"]),
        ("Add salt and pepper", []),
        ("", []),
    ],
)
def test_a_request_has_parts(question: str, parts: list[str]) -> None:
    assert parts_of(question) == parts


@pytest.mark.parametrize(
    ("question", "parts"),
    [
        ("timer for 5 and for 9 minutes", ["timer for 5", "timer for 9 minutes"]),
        ("How warm is it in Oslo and Rome?", ["How warm is it in Oslo", "How warm is it in Rome"]),
        ("hours for Triana and for Nordpark?", ["hours for Triana", "hours for Nordpark"]),
        ("a meeting with Ana and Bob", []),
        ("from Oslo to Rome", []),
        ("bread and butter", []),
    ],
)
def test_requests_may_share_a_verb(question: str, parts: list[str]) -> None:
    assert shared_parts_of(question) == parts
