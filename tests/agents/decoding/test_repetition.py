"""Texts that repeat themselves are ended."""

import pytest

from toolken.agents.decoding.repetition import is_repeating


@pytest.mark.parametrize(
    "text",
    [
        "1. Open the settings.\n2. Choose System.\n3. Choose System Settings.\n4. Choose System Settings.\n"
        "5. Choose System Settings.\n",
        "The sea is blue and wide. " * 3,
        "It is so very, very far away, so very, very far away, so very, very far away,",
    ],
)
def test_a_loop_is_noticed(text: str) -> None:
    assert is_repeating(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ha ha ha ha ha",
        "1. Milk\n2. Milk\n3. Milk\n",
        "Roses are red,\nviolets are blue,\nsugar is sweet,\nand so are you.\n",
        "I will call the bank. I will call the bank.",
        "0000000000000000",
        "| a | b |\n|---|---|\n| 1 | 2 |\n| 3 | 4 |\n",
    ],
)
def test_other_texts_go_on(text: str) -> None:
    assert not is_repeating(text)
