"""Fitting turns descriptions and examples into a head, the same one every time."""

import re
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from toolken import Call, Example, FrozenLM, PromptFormat, ToolkenHead, ToolSpec, fit
from toolken.errors import ExampleError, FingerprintError, HeadError, ToolkenError, ToolSpecError
from toolken.training.estimation.refinement import Correction
from toolken.training.estimation.settings import ClosedFormSettings
from toolken.training.features.decision_states import NO_CALL, DecisionStates, decisions
from toolken.training.features.example_features import ExampleFeatures, extract_features
from toolken.training.features.feature_cache import FeatureCache

BuildLM = Callable[..., FrozenLM]

#: The module of the function, whose name in the package is the function's, and the one with the bounds.
FIT, MODULE = sys.modules[fit.__module__], sys.modules[ExampleFeatures.__module__]

pytestmark = pytest.mark.usefixtures("tiny_background")


@pytest.fixture
def gate_points(monkeypatch: pytest.MonkeyPatch) -> int:
    """Keep few decisions for the gate."""
    monkeypatch.setattr(MODULE, "CALL_POINTS", 5)
    monkeypatch.setattr(MODULE, "NO_CALL_POINTS", 5)
    return 5


def assert_finite(head: ToolkenHead, lm: FrozenLM) -> None:
    """Check that a head has a finite row for each tool."""
    assert head.output_embeddings.shape == (len(head.specs), lm.hidden_size)
    assert bool(torch.isfinite(head.output_embeddings).all() & torch.isfinite(head.biases).all())


def test_descriptions_alone_give_a_head(tiny_lm: FrozenLM, specs: list[ToolSpec]) -> None:
    head = fit(tiny_lm, specs)
    assert_finite(head, tiny_lm)
    assert head.names == ["add", "weather", "capital"]
    assert head.statistics.total == 0
    # The request closest to a description is the description itself.
    assert torch.equal(head.decide(head.forms["query"]).scores.argmax(1), torch.arange(3))


def test_a_fitted_head_classifies_its_own_examples(
    tiny_lm: FrozenLM, specs: list[ToolSpec], examples: list[Example]
) -> None:
    head = fit(tiny_lm, specs, examples)
    assert_finite(head, tiny_lm)
    assert head.statistics.counts.tolist() == [4, 4, 4]
    calls = DecisionStates.join(decisions(tiny_lm, PromptFormat(), examples, head.names)).calls()
    right = head.decide(calls.hidden).scores.argmax(1) == calls.labels
    assert float(right.double().mean()) > 0.9


def test_a_single_tool_and_a_single_example_are_enough(
    tiny_lm: FrozenLM, specs: list[ToolSpec], examples: list[Example]
) -> None:
    assert_finite(fit(tiny_lm, specs[:1]), tiny_lm)
    assert_finite(fit(tiny_lm, specs[:1], examples[:1]), tiny_lm)


@pytest.mark.parametrize("kind", ["calls only", "words only", "chains", "running text", "duplicates"])
def test_every_kind_of_example_gives_a_head(
    tiny_lm: FrozenLM, specs: list[ToolSpec], examples: list[Example], kind: str
) -> None:
    call = Call(tool="add", args={"numbers": [1, 2]}, result="3")
    chosen = {
        "calls only": [example for example in examples if example.calls],
        "words only": [example for example in examples if not example.calls],
        "chains": [Example(question=f"What is {i}?", calls=(call,) * (i % 3 + 1)) for i in range(6)],
        "running text": [Example(answer="1 and 2 make 3.", calls=(call.model_copy(update={"start": 13}),))],
        "duplicates": examples[:1] * 20,
    }[kind]
    assert_finite(fit(tiny_lm, specs, chosen), tiny_lm)


def test_fitting_again_gives_the_same_head(
    tiny_lm: FrozenLM, specs: list[ToolSpec], examples: list[Example], gate_points: int
) -> None:
    one, other = fit(tiny_lm, specs, examples, seed=7), fit(tiny_lm, specs, examples, seed=7)
    assert torch.equal(one.output_embeddings, other.output_embeddings)
    assert torch.equal(one.biases, other.biases)
    assert torch.equal(one.gate.opening.weight, other.gate.opening.weight)
    assert one.gate.opening.bias == other.gate.opening.bias


def test_the_order_of_the_examples_does_not_matter(
    tiny_lm: FrozenLM, specs: list[ToolSpec], examples: list[Example]
) -> None:
    one, other = fit(tiny_lm, specs, examples), fit(tiny_lm, specs, examples[::-1])
    torch.testing.assert_close(one.output_embeddings, other.output_embeddings, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(one.gate.opening.weight, other.gate.opening.weight, rtol=1e-2, atol=1e-2)


def test_the_gate_is_fitted_on_a_bounded_sample(
    tiny_lm: FrozenLM, specs: list[ToolSpec], examples: list[Example], gate_points: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[DecisionStates, float]] = []
    own = FIT.fit_gate

    def watched(points: DecisionStates, *rest: object, no_call_weight: float, **options: object) -> object:
        seen.append((points, no_call_weight))
        return own(points, *rest, no_call_weight=no_call_weight, **options)

    monkeypatch.setattr(FIT, "fit_gate", watched)
    monkeypatch.setattr(MODULE, "GROUP", 4)
    head = fit(tiny_lm, specs, examples * 3)
    ((points, no_call_weight),) = seen
    assert int((points.labels != NO_CALL).sum()) == gate_points
    assert int((points.labels == NO_CALL).sum()) == gate_points
    words = sum(not example.calls for example in examples) * 3
    # Calls are thinned as well: words have to outweigh them as they do among all decisions.
    ends = 36  # no call follows the result of these calls
    assert no_call_weight == pytest.approx((words + ends) / 36)
    assert head.statistics.total == 36


def test_in_running_text_the_gate_sees_more_calls_than_the_choice_of_settings(
    tiny_lm: FrozenLM, specs: list[ToolSpec], gate_points: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, DecisionStates] = {}
    own_gate, own_choice = FIT.fit_gate, FIT.tuned
    monkeypatch.setattr(FIT, "fit_gate", lambda points, *a, **k: seen.update(gate=points) or own_gate(points, *a, **k))
    monkeypatch.setattr(
        FIT, "tuned", lambda whole, calls, *a, **k: seen.update(choice=calls) or own_choice(whole, calls, *a, **k)
    )
    examples = [
        Example(
            question=f"Tom has {n} apples and buys {n}.",
            answer=f"He has {n} + {n} = {2 * n} apples now.",
            calls=(Call(tool="add", args={"numbers": [n, n]}, result=str(2 * n), start=len(f"He has {n} + {n} = ")),),
        )
        for n in range(2, 11)
    ]
    fit(tiny_lm, specs, examples, prompt=PromptFormat(everywhere=True))
    assert int((seen["gate"].labels != NO_CALL).sum()) == 9
    assert int((seen["gate"].labels == NO_CALL).sum()) == gate_points
    assert len(seen["choice"].labels) == gate_points
    assert len(set(seen["choice"].examples.tolist())) == gate_points


def test_the_grouping_of_the_examples_does_not_matter(
    tiny_lm: FrozenLM, specs: list[ToolSpec], examples: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = fit(tiny_lm, specs, examples)
    monkeypatch.setattr(MODULE, "GROUP", 2)
    other = fit(tiny_lm, specs, examples)
    torch.testing.assert_close(one.output_embeddings, other.output_embeddings, rtol=1e-3, atol=1e-3)
    for name in one.names:
        state = one.forms["query"][0].float()
        assert one.few_shot_for(name, state) == other.few_shot_for(name, state)


def test_a_tool_without_a_description_is_named_in_a_warning(tiny_lm: FrozenLM, specs: list[ToolSpec]) -> None:
    nameless = ToolSpec(name="find_price")
    with pytest.warns(UserWarning, match="'find_price' has no description") as caught:
        head = fit(tiny_lm, [*specs, nameless])
    assert caught[0].filename == __file__
    assert_finite(head, tiny_lm)


def test_described_tools_give_no_warning(tiny_lm: FrozenLM, specs: list[ToolSpec], examples: list[Example]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(tiny_lm, specs, examples)


def test_two_tools_of_one_description_or_name_are_refused(tiny_lm: FrozenLM, specs: list[ToolSpec]) -> None:
    twin = ToolSpec(name="sum", description=f" {specs[0].description.upper()}")
    with pytest.raises(ToolSpecError, match="'add' and 'sum' have one description"):
        fit(tiny_lm, [*specs, twin])
    with pytest.raises(ToolSpecError, match="Two tools are called 'add'"):
        fit(tiny_lm, [*specs, specs[0]])
    with pytest.raises(ToolSpecError, match="at least one"):
        fit(tiny_lm, [])


def test_an_example_of_an_unknown_tool_is_named_before_the_lm_runs(
    tiny_lm: FrozenLM, specs: list[ToolSpec], examples: list[Example], tiny_background: Path
) -> None:
    stranger = Example(question="Q", calls=(Call(tool="divide"),))
    with pytest.raises(ExampleError, match="Example 3 calls 'divide', which is not among the 3 tools"):
        fit(tiny_lm, specs, [*examples[:2], stranger])
    assert not tiny_background.exists()


def test_examples_longer_than_the_context_are_counted_and_left_out(
    build_lm: BuildLM, specs: list[ToolSpec], examples: list[Example]
) -> None:
    lm = build_lm(context=128)
    long = Example(question="very " * 100 + "long?", calls=(Call(tool="capital", args={"country": "x"}, result="1"),))
    with pytest.warns(UserWarning, match=r"1 of 2 examples are longer than the 128 tokens.*example 2.*'capital'"):
        head = fit(lm, specs, [examples[0], long])
    assert head.statistics.total == 1
    with pytest.raises(ExampleError, match="1 of 1 examples are longer than the 128 tokens"):
        fit(lm, specs, [long])


def test_progress_counts_all_examples(tiny_lm: FrozenLM, specs: list[ToolSpec], examples: list[Example]) -> None:
    totals: dict[str, int] = {}
    done: dict[str, int] = {}

    def progress(label: str, total: int) -> Callable[[int], None]:
        totals[label] = total

        def advance(count: int) -> None:
            done[label] = done.get(label, 0) + count

        return advance

    fit(tiny_lm, specs, examples, progress=progress)
    assert done == totals
    assert totals["Reading examples"] == len(examples)


def test_a_format_with_decisions_everywhere_can_be_fitted(
    tiny_lm: FrozenLM, specs: list[ToolSpec], examples: list[Example]
) -> None:
    answer = "The answer is a sum: 5."
    call = Call(tool="add", args={"numbers": [2, 3]}, result="5", start=answer.index("5"))
    natural = [Example(question=f"What is {i}?", answer=answer, calls=(call,)) for i in range(4)]
    prompt = PromptFormat(everywhere=True)
    head = fit(tiny_lm, specs, [*examples, *natural], prompt=prompt)
    assert head.prompt == prompt
    assert_finite(head, tiny_lm)


def test_validation_examples_choose_the_settings_and_are_not_learned(
    tiny_lm: FrozenLM, specs: list[ToolSpec], examples: list[Example]
) -> None:
    chosen = fit(tiny_lm, specs, examples, validation=examples[:8])
    assert chosen.statistics.total == 12
    assert_finite(chosen, tiny_lm)
    assert chosen.temperature >= 1
    with pytest.raises(ExampleError, match="'divide'"):
        fit(tiny_lm, specs, examples, validation=[Example(question="Q", calls=(Call(tool="divide"),))])


def test_a_correction_is_saved_and_leaves_with_its_tool(
    tiny_lm: FrozenLM, specs: list[ToolSpec], examples: list[Example], tmp_path: Path
) -> None:
    head = fit(tiny_lm, specs, examples)
    plain = head.output_embeddings.clone()
    correction = Correction(("add", "capital"), torch.ones(2, 32).double(), torch.ones(2).double())
    head = replace(head, estimate=replace(head.estimate, correction=correction))
    torch.testing.assert_close(head.output_embeddings - plain, torch.tensor([[1.0], [0.0], [1.0]]).expand(3, 32))
    head.save_pretrained(tmp_path)
    read = ToolkenHead.from_pretrained(tmp_path)
    assert torch.equal(read.output_embeddings, head.output_embeddings)
    read = read.without_tools(["add"])
    assert read.correction is not None
    assert read.correction.names == ("capital",)
    assert read.without_tools(["capital"]).correction is None


def test_fixed_settings_stay(tiny_lm: FrozenLM, specs: list[ToolSpec], examples: list[Example]) -> None:
    settings = ClosedFormSettings(kappa=3.0)
    assert fit(tiny_lm, specs, examples, settings=settings).settings == settings


def test_a_head_can_be_fitted_with_a_prior_of_other_vectors(tiny_lm: FrozenLM, specs: list[ToolSpec]) -> None:
    vectors = torch.randn(len(specs), tiny_lm.hidden_size, generator=torch.Generator().manual_seed(0))
    head = fit(tiny_lm, specs, prior=vectors)
    assert torch.equal(head.forms["given"], vectors)
    assert_finite(head, tiny_lm)
    with pytest.raises(HeadError, match="not known for new tools"):
        head.with_tools([ToolSpec(name="boil", description="Boils water in a kettle.")], tiny_lm)
    with pytest.raises(HeadError, match=r"\(3, 32\)"):
        fit(tiny_lm, specs, prior=vectors[:2])


@pytest.mark.parametrize(
    ("given", "cure"),
    [
        ("examples.jsonl", "read_examples"),
        (Path("examples.jsonl"), "read_examples"),
        ({"question": "What is 1 plus 1?"}, "a list of `Example`"),
        (Example(question="Why?", answer="So."), "a list of `Example`"),
        (5, "a list of `Example`"),
        ([{"question": "What is 1 plus 1?"}], "Example.model_validate"),
        ([("What is 1 plus 1?", "add")], "type tuple"),
        (("What is 1 plus 1?", "add"), "type str"),
        (["What is 1 plus 1?"], "type str"),
    ],
)
@pytest.mark.parametrize("name", ["examples", "validation"])
def test_other_objects_than_examples_are_refused_with_a_cure(
    tiny_lm: FrozenLM, specs: list[ToolSpec], name: str, given: Any, cure: str
) -> None:
    with pytest.raises(ExampleError, match=re.escape(cure)) as caught:
        fit(tiny_lm, specs, **{name: given})
    assert f"`{name}`" in str(caught.value)


@pytest.mark.parametrize(("lm", "cure"), [("SmolLM2", "FrozenLM.from_pretrained('SmolLM2')"), (None, "NoneType")])
def test_other_objects_than_an_lm_are_refused_with_a_cure(specs: list[ToolSpec], lm: Any, cure: str) -> None:
    with pytest.raises(ToolkenError, match=re.escape(cure)):
        fit(lm, specs)


def test_examples_and_validation_of_generators_count(
    tiny_lm: FrozenLM, specs: list[ToolSpec], examples: list[Example]
) -> None:
    listed = fit(tiny_lm, specs, examples, validation=examples[:2])
    assert fit(tiny_lm, specs, examples).provenance.metrics != listed.provenance.metrics
    drawn = fit(tiny_lm, iter(specs), iter(examples), validation=iter(examples[:2]))
    assert drawn.provenance == listed.provenance
    assert torch.equal(drawn.output_embeddings, listed.output_embeddings)


def test_features_of_another_lm_or_format_are_refused(
    tiny_lm: FrozenLM, build_lm: BuildLM, specs: list[ToolSpec], examples: list[Example], tmp_path: Path
) -> None:
    other, prompt, names = build_lm(seed=1), PromptFormat(), [spec.name for spec in specs]
    with pytest.raises(FingerprintError, match="feature cache holds the states of the LM 'tiny-llama-1'"):
        fit(tiny_lm, specs, examples, cache=FeatureCache(other, tmp_path))
    own = extract_features(tiny_lm, prompt, examples, names)
    strangers = {
        "by another LM": extract_features(other, prompt, examples, names),
        "in another prompt format": extract_features(tiny_lm, PromptFormat(opening=" It is"), examples, names),
    }
    for reason, stranger in strangers.items():
        with pytest.raises(FingerprintError, match=reason):
            fit(tiny_lm, specs, stranger)
        with pytest.raises(FingerprintError, match=reason):
            own.join(stranger)
    unknown = ExampleFeatures.nothing(names, tiny_lm.hidden_size)
    unknown.join(own)
    assert unknown.examples == len(examples)
    assert_finite(fit(tiny_lm, specs, unknown), tiny_lm)
    with pytest.raises(FingerprintError):
        unknown.join(strangers["by another LM"])


def test_examples_with_a_call_without_a_position_are_counted_and_left_out(
    tiny_lm: FrozenLM, specs: list[ToolSpec], examples: list[Example]
) -> None:
    first = Example(answer="Oslo is a city.", calls=(Call(tool="capital", result="Oslo", start=0),))
    weather = [one for one in examples if one.calls and one.calls[0].tool == "weather"]
    with pytest.warns(UserWarning, match=r"1 of 5 examples call a tool where no text.*example 1.*'capital'"):
        head = fit(tiny_lm, specs, [first, *weather])
    assert head.provenance.examples == 4
    with pytest.raises(ExampleError, match="1 of 1 examples call a tool where no text"):
        fit(tiny_lm, specs, [first])
