"""Heads of published trainers score with the learned output embeddings; cached answers serve other thresholds."""

import pytest
import torch

from toolken.agents.agent import Answer
from toolken.benchmarks.methods.one_entry_cache import OneEntryCache
from toolken.benchmarks.methods.toolkens import PUBLISHED, AnswerCache, published_head
from toolken.training.examples import Call, Example
from toolken.training.fit import fit
from toolken.training.lm import FrozenLM
from toolken.training.tool_spec import ToolSpec

SPECS = [ToolSpec(name="add", description="Add numbers."), ToolSpec(name="weather", description="Tell the weather.")]
EXAMPLES = [
    Example(question="What is 1 plus 2?", calls=(Call(tool="add"),)),
    Example(question="Will it rain in Oslo?", calls=(Call(tool="weather"),)),
]


@pytest.mark.parametrize("preset", PUBLISHED)
def test_a_published_head_scores_and_decides_with_what_the_trainer_learned(tiny_lm: FrozenLM, preset: str) -> None:
    head = fit(tiny_lm, SPECS, EXAMPLES)
    published = published_head(tiny_lm, head, preset, "kamel", EXAMPLES)
    states = torch.randn(5, tiny_lm.hidden_size, generator=torch.Generator().manual_seed(0))
    logits = states @ published.output_embeddings.T
    assert not torch.allclose(published.output_embeddings, head.output_embeddings)
    decision = published.decide(states)
    assert torch.allclose(decision.scores, logits, atol=1e-5)
    vocabulary = states @ tiny_lm.model.get_output_embeddings().weight.detach().float().T
    expected = torch.logsumexp(logits, 1) - torch.logsumexp(vocabulary, 1)
    assert torch.allclose(decision.log_odds.float(), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("threshold", "known"), [(0.5, True), (0.6, True), (0.31, True), (0.3, False), (0.7, True), (0.71, False)]
)
def test_an_answer_is_known_at_the_thresholds_that_leave_it_as_it_is(threshold: float, known: bool) -> None:
    answers = AnswerCache()
    answers.add("Q", 0.5, Answer("6", (), (), (0.1, 0.7, 0.3, 0.9)))
    assert (answers.find("Q", threshold) is not None) == known
    assert answers.find("another", threshold) is None


def test_the_cache_keeps_one_entry() -> None:
    cache, made = OneEntryCache(), []
    for key in ("a", "a", "b", "a"):
        cache.get(key, lambda key=key: made.append(key))  # type: ignore[misc]
    assert made == ["a", "b", "a"]
