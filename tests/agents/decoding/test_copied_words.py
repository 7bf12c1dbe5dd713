"""Names, dates and identifiers of an answer are those of the conversation."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolken.agents.decoding.copied_words import CopiedWords

SOURCE = "Order LG-4482 of Mr. Andersen, Vandermeer & Co., leaves Lisbon on 2026-12-04 (Gate B12)."


@pytest.mark.parametrize(
    "text",
    [
        "Mr. Andersen's order LG-4482 leaves Lisbon.",
        "It leaves on Friday, 4 December.",
        "Gate B12, for Vandermeer.",
        "An answer in Norway. And others, too: Let us go.",
        "May I help you?",
    ],
)
def test_a_copy_is_accepted_at_every_length(text: str) -> None:
    words = CopiedWords(SOURCE)
    for end in range(1, len(text) + 1):
        assert words.accepts(text[:end], max(end - 1, 0))
    assert words.accepts(text, 0, ended=True)


@pytest.mark.parametrize(
    "text", ["of Anderson.", "leaves Lisboa.", "order LG-4483.", "on Monday.", "in November.", "Gate B13.", "Vandermer"]
)
def test_a_changed_copy_is_rejected(text: str) -> None:
    assert not CopiedWords(SOURCE).accepts(text, 0, ended=True)


def test_a_changed_name_is_rejected_at_the_first_wrong_letter() -> None:
    words = CopiedWords(SOURCE)
    assert words.accepts("of Anders", 0)
    assert not words.accepts("of Anderso", 9)


@given(st.text(alphabet="abcdefghij XYZ-0123456789.,", max_size=60))
def test_the_conversation_itself_is_accepted(text: str) -> None:
    assert CopiedWords(text).accepts(text, 0, ended=True)
