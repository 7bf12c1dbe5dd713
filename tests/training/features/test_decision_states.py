"""The feature pass keeps the states at the decision positions."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from toolken import Call, Example, FrozenLM, PromptFormat
from toolken.errors import ExampleError, HeadError
from toolken.training.features.decision_states import NO_CALL, DecisionStates, decisions, query_states
from toolken.training.features.feature_cache import FeatureCache

BuildLM = Callable[..., FrozenLM]

CHAIN = Example(question="Q?", calls=(Call(tool="add", result="5"), Call(tool="double", result="10")))
WORDED = Example(question="What is a young dog?", answer="The answer is a puppy.")


def passed(lm: FrozenLM, examples: list[Example], **options: object) -> DecisionStates:
    """Return the decisions of examples."""
    return DecisionStates.join(decisions(lm, PromptFormat(), examples, ["add", "double"], **options))  # type: ignore[arg-type]


def test_labels_and_states_are_those_of_their_decisions(tiny_lm: FrozenLM) -> None:
    found = passed(tiny_lm, [CHAIN, WORDED])
    by_example = sorted(zip(found.examples.tolist(), found.labels.tolist(), found.after_result.tolist(), strict=True))
    assert by_example == [(0, NO_CALL, True), (0, 0, False), (0, 1, True), (1, NO_CALL, False)]
    opening = query_states(tiny_lm, PromptFormat(), ["What is a young dog?"])
    torch.testing.assert_close(found.where(found.examples == 1).hidden, opening.hidden, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.where(found.examples == 1).logsumexp, opening.logsumexp, rtol=1e-4, atol=1e-4)


def test_the_states_of_a_chain_are_in_its_order(tiny_lm: FrozenLM) -> None:
    calls = passed(tiny_lm, [CHAIN]).calls()
    assert calls.labels.tolist() == [0, 1]


def test_calls_alone_can_be_asked_for(tiny_lm: FrozenLM) -> None:
    found = passed(tiny_lm, [CHAIN, WORDED], no_calls=False)
    assert found.labels.tolist() == [0, 1]
    assert found.examples.tolist() == [0, 0]


def test_states_do_not_depend_on_the_other_examples(tiny_lm: FrozenLM) -> None:
    alone = passed(tiny_lm, [CHAIN])
    among = passed(tiny_lm, [WORDED, CHAIN, WORDED, CHAIN])
    torch.testing.assert_close(among.where(among.examples == 1).hidden, alone.hidden, rtol=1e-4, atol=1e-4)


def test_examples_that_are_too_long_are_left_out_when_asked(build_lm: BuildLM) -> None:
    lm = build_lm(context=64)
    long = Example(question="very " * 100, calls=(Call(tool="add"),))
    with pytest.raises(ExampleError, match="Example 2"):
        passed(lm, [CHAIN, long])
    skipped: list[int] = []
    found = passed(lm, [CHAIN, long, WORDED], skipped=lambda number, reason: skipped.append(number))
    assert skipped == [1]
    assert set(found.examples.tolist()) == {0, 2}


def test_query_states_come_in_the_order_of_the_requests(tiny_lm: FrozenLM) -> None:
    requests = ["a long request about the weather in the city", "short", "another one of them", ""]
    together = query_states(tiny_lm, PromptFormat(), requests)
    for index, request in enumerate(requests):
        alone = query_states(tiny_lm, PromptFormat(), [request])
        torch.testing.assert_close(together.hidden[index], alone.hidden[0], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(together.logsumexp[index], alone.logsumexp[0], rtol=1e-4, atol=1e-4)


def test_decisions_after_a_lead_are_those_of_the_question_alone_and_come_in_order(tiny_lm: FrozenLM) -> None:
    prompt = PromptFormat(lead="number")
    told: list[int] = []
    chains = [
        Example(question=f"Take {n} and {'go on ' * n}?", calls=(Call(tool="add", result="5"), Call(tool="double")))
        for n in (9, 1, 4)
    ]
    found = DecisionStates.join(decisions(tiny_lm, prompt, chains, ["add", "double"], advance=told.append))
    assert found.examples.tolist() == [0, 0, 1, 1, 2, 2]
    assert found.labels.tolist() == [0, 1] * 3
    assert found.results.tolist() == [0, 1] * 3
    assert sum(told) == 3
    led = query_states(tiny_lm, prompt, [chain.question for chain in chains])
    torch.testing.assert_close(found.where(found.results == 0).hidden, led.hidden, rtol=1e-4, atol=1e-4)


def test_a_call_without_a_position_is_reported(tiny_lm: FrozenLM) -> None:
    first = Example(answer="5 is it.", calls=(Call(tool="add", result="5", start=0),))
    answer = "The answer is 5"
    calls = (Call(tool="double", result="", start=13), Call(tool="add", result="5", start=14))
    both = Example(question="Q?", answer=answer, calls=calls)
    for example in (first, both):
        with pytest.raises(ExampleError, match="Example 2 calls 'add' where no text precedes the call"):
            passed(tiny_lm, [CHAIN, example])
        skipped: dict[int, str] = {}
        found = passed(tiny_lm, [CHAIN, example, WORDED], skipped=skipped.__setitem__)
        assert list(skipped) == [1]
        assert set(found.examples.tolist()) == {0, 2}


@pytest.mark.parametrize("kept", [False, True])
def test_states_that_are_not_numbers_are_refused(build_lm: BuildLM, tmp_path: Path, kept: bool) -> None:
    lm = build_lm(tied=False)
    with torch.no_grad():
        lm.model.get_input_embeddings().weight[lm.encode("?").ids] = torch.nan
    cache = FeatureCache(lm, tmp_path) if kept else None
    with pytest.raises(HeadError, match="tiny-llama-0 is not a finite number"):
        query_states(lm, PromptFormat(), ["Tell me.", "What?"], cache=cache)
    with pytest.raises(HeadError, match="tiny-llama-0 is not a finite number"):
        passed(lm, [WORDED], cache=cache)
    assert not list(tmp_path.rglob("*.safetensors"))
