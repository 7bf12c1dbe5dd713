"""What a tool is described as decides with the gate whether it is called before it has an example."""

import pytest
import torch

from toolken import FrozenLM, ToolkenHead, ToolSpec
from toolken.agents.bound_tools import BoundTools
from toolken.agents.decoding.lazy_model import LazyModel
from toolken.training.features.decision_states import query_states
from toolken.training.prior.evidence import Evidence

UNSEEN = ToolSpec(name="price", description="Look up the price of a product.")


def test_a_description_speaks_for_itself_and_not_for_tools_with_examples(
    tiny_lm: FrozenLM, tiny_head: ToolkenHead
) -> None:
    head = tiny_head.with_tools([UNSEEN], tiny_lm)
    evidence = Evidence.of(head)
    assert evidence.unseen.tolist() == [False, False, False, True]

    def log_odds(hidden: torch.Tensor, names: list[str]) -> float:
        rows = torch.tensor([head.index[name] for name in names])
        return evidence.log_odds(hidden, rows, lambda: head.scores(hidden[None], rows)[0])

    own = head.forms["query"][3].float()
    assert log_odds(own, ["price"]) > 3
    assert log_odds(own, ["add", "weather"]) == 0
    assert log_odds(2 * head.mean.float() - own, ["price"]) < -3
    # Of a request for something else it says nothing where that may be one of the tools with examples.
    assert log_odds(2 * head.mean.float() - own, ["price", "add"]) == 0


def test_examples_take_the_place_of_the_description(tiny_lm: FrozenLM, tiny_head: ToolkenHead) -> None:
    backend = LazyModel(tiny_lm, tiny_head)
    bound = BoundTools.of([*tiny_head.specs, UNSEEN])
    first = backend.decoder(bound).toolset
    assert first.evidence is not None
    assert backend.decoder(bound).toolset.evidence is first.evidence
    assert first.head is not None
    first.head.statistics.add(torch.randn(2, tiny_lm.hidden_size), torch.tensor([3, 3]))
    first.head.forget()
    again = backend.decoder(bound).toolset.evidence
    assert again is not None
    assert not bool(again.unseen.any())


@pytest.mark.parametrize(
    ("question", "called"),
    [
        ("What is the weather like in Paris?", True),
        ("When does the bakery open?", True),
        ("What is the capital of France?", False),
        ("Thanks!", False),
        ("What colour is a ripe banana?", False),
    ],
)
def test_the_embedded_lm_knows_whether_described_tools_are_meant(
    embedded_lm: FrozenLM, question: str, called: bool
) -> None:
    tools = [
        ToolSpec(name="weather", description="Tell what the weather is like in a city today."),
        ToolSpec(name="opening_hours", description="Tell when a shop opens and closes."),
    ]
    toolset = LazyModel(embedded_lm, None).decoder(BoundTools.of(tools)).toolset
    hidden = query_states(embedded_lm, toolset.prompt, [question]).hidden[0]
    probability = toolset.call_probability(hidden, [tool.name for tool in tools], results=0)
    assert (probability > 0.5) is called
