"""A description becomes a request, whose state at the decision position is the tool's prior."""

import pytest
import torch

from toolken import FrozenLM, PromptFormat, ToolSpec
from toolken.training.features.decision_states import query_states
from toolken.training.prior.sources import query_forms, requests_of


@pytest.mark.parametrize(
    "description",
    ["Get the weather in a city.", "Returns the capital", "capital(country): the capital of a country", "", "Add."],
)
def test_every_description_has_wordings_that_say_something(description: str) -> None:
    for request in requests_of(ToolSpec(name="get_it", description=description)):
        assert any(character.isalpha() for character in request)
        assert "\n" not in request


def test_a_form_is_the_mean_state_over_the_wordings(tiny_lm: FrozenLM, specs: list[ToolSpec]) -> None:
    forms = query_forms(tiny_lm, specs, PromptFormat())
    assert forms.shape == (len(specs), tiny_lm.hidden_size)
    assert forms.dtype == torch.float64
    for form, spec in zip(forms, specs, strict=True):
        states = query_states(tiny_lm, PromptFormat(), requests_of(spec)).hidden
        torch.testing.assert_close(form, states.double().mean(0), rtol=1e-4, atol=1e-4)


def test_a_form_does_not_depend_on_the_other_tools(tiny_lm: FrozenLM, specs: list[ToolSpec]) -> None:
    alone = query_forms(tiny_lm, specs[:1], PromptFormat())
    torch.testing.assert_close(query_forms(tiny_lm, specs, PromptFormat())[:1], alone, rtol=1e-4, atol=1e-4)
