"""A tool's description contributes to P(call) until the tool has examples."""

import pytest
import torch

from toolken import Call, Example, FrozenLM, ToolkenHead, ToolSpec
from toolken.agents.bound_tools import BoundTools
from toolken.agents.decoding.lazy_model import LazyModel
from toolken.training.features.decision_states import query_states
from toolken.training.prior import evidence as evidence_module

UNSEEN = ToolSpec(name="price", description="Look up the price of a product.")


def test_description_evidence_counts_only_for_tools_without_examples(tiny_lm: FrozenLM, tiny_head: ToolkenHead) -> None:
    head = tiny_head.with_tools([UNSEEN], tiny_lm)
    evidence = head.estimate.evidence
    assert evidence is not None
    assert evidence.unseen.tolist() == [False, False, False, True]

    def log_odds(hidden: torch.Tensor, names: list[str]) -> float:
        rows = torch.tensor([head.index[name] for name in names])
        decision = head.decide(hidden, rows)
        (added,) = evidence.log_odds(hidden[None], rows, lambda: decision.scores[None]).tolist()
        # What is decided is the gate and the evidence together.
        gate = head.gate.log_odds(hidden[None].double(), results=0)
        torch.testing.assert_close(decision.log_odds, gate[0] + added)
        assert torch.equal(
            head.decide(hidden, rows, results=1).log_odds, head.gate.log_odds(hidden[None].double(), results=1)[0]
        )
        return float(added)

    own = head.forms["query"][3].float()
    assert log_odds(own, ["price"]) > 3
    assert log_odds(own, ["add", "weather"]) == 0
    assert log_odds(2 * head.geometry.mean.float() - own, ["price"]) < -3
    # Of a request for something else it says nothing where that may be one of the tools with examples.
    assert log_odds(2 * head.geometry.mean.float() - own, ["price", "add"]) == 0


def test_examples_take_the_place_of_the_description(tiny_lm: FrozenLM, tiny_head: ToolkenHead) -> None:
    described = tiny_head.with_tools([UNSEEN], tiny_lm)
    calls = [Example(question=f"What does a {one} cost?", calls=(Call(tool="price"),)) for one in ("pen", "cup")]
    taught = described.with_examples(calls, tiny_lm)
    assert taught.estimate.evidence is None
    assert described.estimate.evidence is not None
    assert taught.without_examples(calls, tiny_lm).estimate.evidence is not None


@pytest.mark.parametrize("many", [2, 1024])
def test_several_states_are_decided_as_one_by_one(
    tiny_lm: FrozenLM, tiny_head: ToolkenHead, many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence_module, "MANY", many)
    monkeypatch.setattr(evidence_module, "COMPARED", 2)
    new = [UNSEEN, ToolSpec(name="boil", description="Boil water."), ToolSpec(name="go", description="Walk to a room.")]
    head = tiny_head.with_tools(new, tiny_lm)
    hidden = torch.randn(7, tiny_lm.hidden_size, generator=torch.Generator().manual_seed(0))
    results = torch.tensor([0, 1, 0, 2, 0, 0, 1])
    for tools in (None, ["go", "add", "price", "boil"], ["price", "boil", "go"]):
        together = head.decide(hidden, tools, results=results)
        alone = [head.decide(state, tools, results=int(after)) for state, after in zip(hidden, results, strict=True)]
        torch.testing.assert_close(together.log_odds, torch.stack([one.log_odds for one in alone]))
        torch.testing.assert_close(together.shares, torch.stack([one.shares for one in alone]))


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
    toolset = LazyModel(embedded_lm, None, prior=False, form="question").decoder(BoundTools.of(tools)).toolset
    hidden = query_states(embedded_lm, toolset.prompt, [question]).hidden[0]
    probability = toolset.decide(hidden, [tool.name for tool in tools], results=0).call_probability
    assert bool(probability > 0.5) is called
