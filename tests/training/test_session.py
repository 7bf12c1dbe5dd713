"""Stepping through a text token by token equals one full pass, also after going back and after forking."""

from collections.abc import Callable, Sequence

import pytest
import torch

from toolken.errors import PromptTooLongError
from toolken.training import FrozenLM

BuildLM = Callable[..., FrozenLM]

TEXT = "Question: What is the weather in the city? Answer: The weather is fine, then 42."


@pytest.fixture(params=["llama", "qwen2", "gpt_neox", "gpt2", "mistral"])
def lm(request: pytest.FixtureRequest, build_lm: BuildLM) -> FrozenLM:
    """A tiny LM of each architecture; the one of mistral has a sliding window of 16 tokens."""
    return build_lm(request.param, tied=False)


def assert_state_of(lm: FrozenLM, ids: Sequence[int], got: tuple[torch.Tensor, torch.Tensor]) -> None:
    """Check that a hidden state and logits are those after the last of some tokens."""
    with torch.no_grad():
        output = lm.model(torch.tensor([list(ids)]), output_hidden_states=True)
    torch.testing.assert_close(got[0], output.hidden_states[-1][0, -1], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(got[1], output.logits[0, -1], rtol=1e-4, atol=1e-4)


def test_stepping_equals_one_full_pass(lm: FrozenLM) -> None:
    ids = lm.encode(TEXT).ids
    session = lm.start()
    got = session.feed(ids[:5])
    for index in range(5, len(ids)):
        got = session.feed([ids[index]])
    assert session.ids == ids
    assert_state_of(lm, ids, got)


def test_going_back_and_on_another_way_forgets_the_first_way(lm: FrozenLM) -> None:
    ids, other = lm.encode(TEXT).ids, lm.encode(" Paris and Rome").ids
    session = lm.start()
    session.feed(ids)
    session.truncate(30)
    assert session.ids == ids[:30]
    assert_state_of(lm, ids[:30] + other, session.feed(other))
    session.truncate(0)
    assert_state_of(lm, other, session.feed(other))


def test_going_back_to_a_longer_text_changes_nothing(tiny_lm: FrozenLM) -> None:
    ids = tiny_lm.encode(TEXT).ids
    session = tiny_lm.start()
    session.feed(ids[:20])
    session.truncate(100)
    assert_state_of(tiny_lm, ids, session.feed(ids[20:]))


def test_forks_go_on_independently_of_each_other(lm: FrozenLM) -> None:
    ids, left, right = lm.encode(TEXT).ids, lm.encode(" left way").ids, lm.encode(" right, then left").ids
    first = lm.start()
    first.feed(ids)
    second = first.fork()
    third = second.fork()
    assert_state_of(lm, ids + left, first.feed(left))
    assert_state_of(lm, ids + right, second.feed(right))
    third.truncate(25)
    assert_state_of(lm, ids[:25] + left, third.feed(left))
    assert_state_of(lm, ids + left + right, first.feed(right))
    assert_state_of(lm, ids + right + left, second.feed(left))


def test_a_fork_of_nothing_begins_anew(tiny_lm: FrozenLM) -> None:
    ids = tiny_lm.encode(TEXT).ids
    assert_state_of(tiny_lm, ids, tiny_lm.start().fork().feed(ids))


def test_the_common_prefix_is_counted_in_tokens(tiny_lm: FrozenLM) -> None:
    session = tiny_lm.start()
    session.feed([5, 6, 7])
    assert [session.common_prefix(ids) for ids in ([], [5, 6], [5, 6, 7, 8], [5, 9, 7], [9])] == [0, 2, 3, 1, 0]


def test_a_text_that_outgrows_the_context_is_refused_and_the_session_still_works(build_lm: BuildLM) -> None:
    lm = build_lm(context=20)
    ids = lm.encode(TEXT).ids
    session = lm.start()
    session.feed(ids[:18])
    with pytest.raises(PromptTooLongError, match=r"21 tokens.*takes 20"):
        session.feed(ids[18:21])
    assert session.ids == ids[:18]
    assert_state_of(lm, ids[:20], session.feed(ids[18:20]))


def test_feeding_nothing_is_refused(tiny_lm: FrozenLM) -> None:
    with pytest.raises(ValueError, match="at least one token"):
        tiny_lm.start().feed([])
