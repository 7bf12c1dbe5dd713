"""A request is split into sentences and clauses."""

import pytest

from toolken.agents.decoding.request_parts import parts_of


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
