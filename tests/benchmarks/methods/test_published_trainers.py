"""The reference trainers take the published steps, from the LM or from its cached states alike."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from toolken import Call, Example, FrozenLM, PromptFormat, ToolSpec
from toolken.benchmarks.methods.published_priors import PRESETS as PRIORS
from toolken.benchmarks.methods.published_trainers import PRESETS, SCHEDULES, TrainingStep, rerun, train_reference
from toolken.errors import ExampleError, HeadError
from toolken.training.features.decision_states import NO_CALL, DecisionStates, decisions

BuildLM = Callable[..., FrozenLM]

EVERYWHERE = PromptFormat(everywhere=True)
CHAINED = Example(question="Add and tell.", calls=(Call(tool="add", result="5"), Call(tool="weather", result="fine")))


def drawn_points(examples: int = 30, tools: int = 3, size: int = 6) -> DecisionStates:
    """Return random decisions in random order: per example one call and two vocabulary tokens."""
    random = torch.Generator().manual_seed(0)
    mixed = torch.randperm(3 * examples, generator=random)
    centres = 2 * torch.randn(tools + 1, size, generator=random)
    labels = torch.where(mixed % 3 == 0, (mixed // 3) % tools, NO_CALL)
    hidden = centres[labels] + torch.randn(len(mixed), size, generator=random)
    sums = 3 + torch.rand(len(mixed), generator=random)
    return DecisionStates(hidden, sums, labels, mixed // 3, torch.zeros_like(mixed))


def drawn_prior(tools: int, size: int) -> torch.Tensor:
    """Return a random prior."""
    return 0.1 * torch.randn(tools, size, generator=torch.Generator().manual_seed(7), dtype=torch.float64)


def last(steps: Sequence[TrainingStep]) -> torch.Tensor:
    """Return the output embeddings after the last step."""
    return steps[-1].rows


def test_the_presets_have_the_published_settings() -> None:
    toolkengpt, figure, code = PRESETS.values()
    assert (toolkengpt.prior, toolkengpt.init, toolkengpt.regulariser) == (None, "random", "none")
    assert (figure.prior, figure.init, figure.regulariser) == (PRIORS["paper-figure"], "prior", "squared")
    assert (code.prior, code.init, code.regulariser) == (PRIORS["released-code"], "prior", "norm")
    assert code.strength == 1e-2
    assert figure.strength > 0
    assert {preset.lr for preset in PRESETS.values()} == {1e-3}
    assert {name: (one.lr, one.epochs, one.words) for name, one in SCHEDULES.items()} == {
        "gsm8k-xl": (1e-3, 10, True),
        "funcqa": (1e-4, 10, True),
        "virtualhome": (1e-3, 10, False),
        "kamel": (1e-3, 20, True),
    }


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("prompt", [PromptFormat(), EVERYWHERE], ids=["places", "everywhere"])
def test_training_from_cached_states_gives_what_running_the_lm_again_gives(
    name: str, prompt: PromptFormat, tiny_lm: FrozenLM, specs: list[ToolSpec], examples: list[Example]
) -> None:
    names, preset = [spec.name for spec in specs], PRESETS[name]
    prior = drawn_prior(3, tiny_lm.hidden_size)
    read = [*examples, CHAINED]
    steps = list(rerun(tiny_lm, prompt, read, names, preset, prior, seed=3, epochs=3, lr=1e-2))
    points = DecisionStates.join(decisions(tiny_lm, prompt, read, names))
    cached = train_reference(points, 3, preset, prior, seed=3, epochs=3, lr=1e-2)
    assert len(steps) == steps[0].total == 3 * len(read)
    assert steps[-1].loss < steps[0].loss
    torch.testing.assert_close(cached, last(steps), rtol=1e-3, atol=1e-4)


def test_calls_alone_are_learnt_alike_by_both(
    tiny_lm: FrozenLM, specs: list[ToolSpec], examples: list[Example]
) -> None:
    names, preset = [spec.name for spec in specs], PRESETS["toolkengpt"]
    steps = list(rerun(tiny_lm, EVERYWHERE, examples, names, preset, epochs=2, words=False))
    points = DecisionStates.join(decisions(tiny_lm, EVERYWHERE, examples, names)).calls()
    assert len(steps) == 2 * sum(bool(example.calls) for example in examples)
    torch.testing.assert_close(train_reference(points, 3, preset, epochs=2), last(steps), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("batch", [1, 4])
def test_the_steps_are_those_of_autograd_and_pytorchs_adam(name: str, batch: int) -> None:
    points, preset, prior = drawn_points(), replace(PRESETS[name], strength=1e-2), drawn_prior(3, 6)
    found = train_reference(points, 3, preset, prior, seed=1, epochs=2, lr=1e-2, batch=batch)
    rows = train_reference(points, 3, preset, prior, seed=1, epochs=0).requires_grad_()
    optimiser, random = torch.optim.Adam([rows], lr=1e-2), torch.Generator().manual_seed(1)
    for _ in range(2):
        for chosen in torch.randperm(30, generator=random).split(batch):
            mask = torch.isin(points.examples, chosen)
            # The vocabulary is one class whose logit is the logsumexp of all next-token logits.
            logits = torch.cat([points.logsumexp[mask, None], points.hidden[mask] @ rows.T], dim=1)
            loss = torch.nn.functional.cross_entropy(logits, points.labels[mask] + 1)
            if preset.regulariser == "squared":
                loss = loss + 1e-2 * (rows - prior.float()).pow(2).sum()
            elif preset.regulariser == "norm":
                loss = loss + 1e-2 * torch.norm(rows - prior.float())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    torch.testing.assert_close(found, rows.detach(), rtol=1e-3, atol=1e-4)


def test_rows_begin_as_published() -> None:
    points, prior = DecisionStates.none(576), drawn_prior(50, 576)
    random = train_reference(points, 50, PRESETS["toolkengpt"])
    assert random.dtype == torch.float32
    assert float(random.abs().max()) <= 576**-0.5
    assert float(random.norm(dim=1).mean()) == pytest.approx(0.577, abs=0.01)
    for name in ("tokenlearning-figure", "tokenlearning-code"):
        assert torch.equal(train_reference(points, 50, PRESETS[name], prior), prior.float())


def test_the_result_depends_on_the_seed_alone_and_leaves_the_prior_as_it_is() -> None:
    points, prior = drawn_points(), drawn_prior(3, 6)
    for preset in PRESETS.values():
        before = prior.clone()
        first, second, other = (train_reference(points, 3, preset, prior, seed=seed, epochs=2) for seed in (0, 0, 1))
        assert torch.equal(first, second)
        assert not torch.equal(first, other)
        assert torch.equal(prior, before)


def test_training_learns_which_tool_is_called_and_when_none_is() -> None:
    points = drawn_points(examples=60)
    rows = train_reference(points, 3, PRESETS["toolkengpt"], epochs=60, lr=1e-2)
    logits = torch.cat([points.logsumexp[:, None], points.hidden @ rows.T], dim=1)
    assert ((logits.argmax(1) - 1) == points.labels).float().mean() > 0.9


@pytest.mark.parametrize("name", ["tokenlearning-figure", "tokenlearning-code"])
def test_the_regularisers_hold_rows_near_the_prior_by_their_strength(name: str) -> None:
    points, prior = drawn_points(), drawn_prior(3, 6)
    published = PRESETS[name]
    distances = [
        float((train_reference(points, 3, replace(published, strength=strength), prior, epochs=20) - prior).norm())
        for strength in (0.0, 1e-2, 10.0)
    ]
    assert distances[0] > distances[1] > 5 * distances[2]


def test_progress_counts_examples() -> None:
    done: list[int] = []
    train_reference(drawn_points(), 3, PRESETS["toolkengpt"], epochs=2, batch=8, advance=done.append)
    assert sum(done) == 60


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prior": None}, r"shape \(3, 6\), not none"),
        ({"prior": torch.zeros(3, 5)}, r"one of shape \(3, 5\)"),
        ({"tools": 2, "prior": torch.zeros(2, 6)}, "outside the 2 tools"),
        ({"batch": 0}, "0 examples"),
        (
            {
                "points": DecisionStates(
                    *(part / 0 for part in (torch.ones(1, 6), torch.ones(1))), *[torch.zeros(1).long()] * 3
                )
            },
            "not a finite number",
        ),
    ],
)
def test_what_cannot_be_trained_on_is_refused(change: dict[str, Any], message: str) -> None:
    arguments = {"points": drawn_points(), "tools": 3, "preset": PRESETS["tokenlearning-code"]}
    with pytest.raises(HeadError, match=message):
        train_reference(**{**arguments, "prior": drawn_prior(3, 6), **change})


def test_an_example_beyond_the_context_is_refused(build_lm: BuildLM) -> None:
    lm = build_lm(context=64)
    long = Example(question="very " * 100, calls=(Call(tool="add"),))
    with pytest.raises(ExampleError, match="Example 2"):
        next(rerun(lm, PromptFormat(), [CHAINED, long], ["add", "weather"], PRESETS["toolkengpt"]))
