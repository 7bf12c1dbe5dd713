"""Text is emitted as soon as it is certain, and no sooner."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from toolken import FrozenLM
from toolken.agents.decoding.growing_text import GrowingText

texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=60)
reuse_lm = settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])


@reuse_lm
@given(text=texts)
def test_the_pieces_add_up_to_the_text(tiny_lm: FrozenLM, text: str) -> None:
    growing = GrowingText(tiny_lm, ())
    ids = tiny_lm.encode(text).ids
    pieces = [growing.add(token)[0] for token in ids]
    assert "".join(pieces) + growing.finish() == growing.text == tiny_lm.decode(ids)
    if "\ufffd" not in text:
        assert all("\ufffd" not in piece for piece in pieces)


@reuse_lm
@given(text=texts, stop=st.lists(st.text("ab ", min_size=1, max_size=3), max_size=3))
def test_a_stop_text_and_text_after_it_are_never_emitted(tiny_lm: FrozenLM, text: str, stop: list[str]) -> None:
    whole = text + "ab a b"
    growing = GrowingText(tiny_lm, stop)
    given = ""
    for token in tiny_lm.encode(whole).ids:
        piece, stopped = growing.add(token)
        given += piece
        if stopped:
            break
    else:
        given += growing.finish()
    ends = any(one in whole for one in stop)
    # The stop text that is complete first ends the text, though a longer one may have begun before it.
    assert whole.startswith(given)
    assert not any(one in given for one in stop)
    assert any(whole.startswith(one, len(given)) for one in stop) if ends else given == whole
    assert growing.stopped is ends


@pytest.mark.parametrize("length", [1, 30, 200])
def test_a_long_text_is_the_same_as_a_short_one(tiny_lm: FrozenLM, length: int) -> None:
    ids = tiny_lm.encode("é😀漢 and the weather in Paris " * length).ids
    growing = GrowingText(tiny_lm, ())
    assert "".join(growing.add(token)[0] for token in ids) + growing.finish() == tiny_lm.decode(ids)


def test_half_a_character_emits_no_beginning_of_a_stop_text(tiny_lm: FrozenLM) -> None:
    growing = GrowingText(tiny_lm, ["日本"])
    pieces = [growing.add(token)[0] for token in tiny_lm.encode("a日光日本").ids]
    assert "".join(pieces) == growing.text == "a日光"
