"""Views of texts: averages of a span after some layers, and the last states without and with virtual tokens."""

from collections.abc import Callable

import pytest
import torch

from toolken import FrozenLM

BuildLM = Callable[..., FrozenLM]

TEXTS = ("The price of the baby dog", "weather", "What is the sum of 3 and 4 in the city?")


@pytest.fixture(params=["llama", "qwen2", "gpt2"])
def lm(request: pytest.FixtureRequest, build_lm: BuildLM) -> FrozenLM:
    return build_lm(request.param)


def test_views_are_the_states_of_each_text_alone(lm: FrozenLM) -> None:
    sequences = [lm.encode(text).ids for text in TEXTS]
    spans = [(1, len(ids)) for ids in sequences]
    virtual = lm.embed([5, 6])
    found = dict(lm.views(sequences, spans, (1, 2), virtual))
    last = dict(lm.hidden_states(sequences, [[len(ids) - 1] for ids in sequences]))
    after = dict(lm.virtual_states(sequences, virtual))
    for at, ids in enumerate(sequences):
        output = lm.model(torch.tensor([ids]), output_hidden_states=True)
        assert found[at].shape == (4, lm.hidden_size)
        average = output.hidden_states[1][0, 1:].mean(0)
        torch.testing.assert_close(found[at][0], average, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(found[at][2], last[at].hidden[0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(found[at][3], after[at], rtol=1e-4, atol=1e-5)


def test_views_without_virtual_tokens_leave_out_their_state(lm: FrozenLM) -> None:
    ids = lm.encode(TEXTS[0]).ids
    with_virtual = dict(lm.views([ids], [(0, 2)], (1,), lm.embed([5])))[0]
    without = dict(lm.views([ids], [(0, 2)], (1,)))[0]
    torch.testing.assert_close(without, with_virtual[:2], rtol=1e-4, atol=1e-5)
