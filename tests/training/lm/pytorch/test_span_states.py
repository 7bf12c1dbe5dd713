"""States of spans of texts after some layers, and last states."""

from collections.abc import Callable

import pytest
import torch

from toolken import FrozenLM
from toolken.errors import PromptTooLongError

BuildLM = Callable[..., FrozenLM]

TEXTS = ("The price of the baby dog", "weather", "What is the sum of 3 and 4 in the city?")


@pytest.fixture(params=["llama", "qwen2", "gpt2"])
def lm(request: pytest.FixtureRequest, build_lm: BuildLM) -> FrozenLM:
    return build_lm(request.param)


def test_span_states_are_those_of_each_text_alone(lm: FrozenLM) -> None:
    sequences = [lm.encode(text).ids for text in TEXTS]
    spans = [(1, len(ids)) for ids in sequences]
    found = {at: (states, last) for at, states, last in lm.span_states(sequences, spans, (1, 2))}
    final = dict(lm.hidden_states(sequences, [[len(ids) - 1] for ids in sequences]))
    for at, ids in enumerate(sequences):
        output = lm.model(torch.tensor([ids]), output_hidden_states=True)
        states, last = found[at]
        assert states.shape == (len(ids) - 1, 2, lm.hidden_size)
        torch.testing.assert_close(states[:, 0], output.hidden_states[1][0, 1:], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(last, final[at].hidden[0], rtol=1e-4, atol=1e-5)


def test_a_text_longer_than_the_context_is_refused(build_lm: BuildLM) -> None:
    lm = build_lm()
    with pytest.raises(PromptTooLongError, match="shorten it"):
        list(lm.span_states([[5] * (lm.max_length + 1)], [(0, 1)], (1,)))
