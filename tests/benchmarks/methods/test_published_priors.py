"""Published priors equal the averaged embeddings and states they name; controls keep the norm and lose the meaning."""

from collections.abc import Callable

import pytest
import torch

from toolken import FrozenLM, ToolSpec
from toolken.benchmarks.methods.published_priors import (
    PRESETS,
    PublishedPrior,
    Scale,
    Source,
    prior_text,
    published_prior,
    random_same_norm,
    shuffled,
)
from toolken.errors import HeadError

BuildLM = Callable[..., FrozenLM]


@pytest.fixture(scope="module")
def untied(build_lm: BuildLM) -> FrozenLM:
    """A tiny LM whose input and output embedding matrices differ."""
    return build_lm(tied=False)


@pytest.fixture(scope="module")
def prior(untied: FrozenLM) -> torch.Tensor:
    """Return a prior of seven tools."""
    specs = [ToolSpec(name=name, description=f"Find the {name} of a city.") for name in "abcdefg"]
    return published_prior(untied, specs, source="output-rows", text="description")


@pytest.mark.parametrize("source", ["embedding-rows", "output-rows"])
def test_rows_of_the_word_matrices_are_averaged_over_the_texts_tokens(
    source: Source, untied: FrozenLM, specs: list[ToolSpec]
) -> None:
    found = published_prior(untied, specs, source=source, text="description")
    assert found.shape == (3, untied.hidden_size)
    assert found.dtype == torch.float64
    model = untied.model
    matrix = (model.model.embed_tokens if source == "embedding-rows" else model.lm_head).weight.double()
    for row, spec in zip(found, specs, strict=True):
        torch.testing.assert_close(row, matrix[untied.encode(spec.description).ids].mean(0))


@pytest.mark.parametrize("source", ["hidden-mean", "hidden-last"])
def test_hidden_states_are_those_of_the_text_alone(source: Source, untied: FrozenLM, specs: list[ToolSpec]) -> None:
    found = published_prior(untied, specs, source=source, text="description")
    for row, spec in zip(found, specs, strict=True):
        ids = torch.tensor([untied.encode(spec.description).ids])
        states = untied.model.model(input_ids=ids).last_hidden_state[0].double()
        torch.testing.assert_close(row, states.mean(0) if source == "hidden-mean" else states[-1], rtol=1e-4, atol=1e-4)


def test_the_presets_are_the_figures_and_the_released_codes(untied: FrozenLM, specs: list[ToolSpec]) -> None:
    assert {
        "paper-figure": PublishedPrior("output-rows", "description", "none"),
        "released-code": PublishedPrior("hidden-mean", "name", "released"),
    } == PRESETS
    preset = PRESETS["released-code"]
    found = published_prior(untied, specs, source=preset.source, text=preset.text, scale=preset.scale)
    # The published row norm, 1 / sqrt(5120).
    torch.testing.assert_close(found.norm(dim=1), torch.full((3,), 0.013975, dtype=torch.float64), rtol=1e-4, atol=0)
    plain = published_prior(untied, specs, source="hidden-mean", text="name")
    torch.testing.assert_close(torch.cosine_similarity(found, plain), torch.ones(3, dtype=torch.float64))


@pytest.mark.parametrize(("scale", "length"), [("unit", 1.0), (2.5, 2.5)])
def test_rows_are_made_as_long_as_asked(scale: Scale, length: float, untied: FrozenLM, specs: list[ToolSpec]) -> None:
    found = published_prior(untied, specs, source="hidden-last", text="all", scale=scale)
    torch.testing.assert_close(found.norm(dim=1), torch.full((3,), length, dtype=torch.float64))


def test_rows_can_be_made_as_long_as_words_are(untied: FrozenLM, specs: list[ToolSpec]) -> None:
    found = published_prior(untied, specs, source="embedding-rows", text="name", scale="output")
    words = untied.model.lm_head.weight.norm(dim=1).mean().double()
    torch.testing.assert_close(found.norm(dim=1), words.expand(3))


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan")])
def test_a_length_that_is_none_is_refused(scale: float, untied: FrozenLM, specs: list[ToolSpec]) -> None:
    with pytest.raises(HeadError, match="give a positive number"):
        published_prior(untied, specs, source="output-rows", text="name", scale=scale)


def test_each_text_says_what_it_is_named_for() -> None:
    city = {"type": "string", "description": "Where to look"}
    schema = {"type": "object", "properties": {"cityName": city, "day": {"type": "integer"}}}
    spec = ToolSpec(name="<get_weather>", description="Tell the weather.", parameters=schema)
    assert prior_text(spec, "name") == "get_weather"
    assert prior_text(spec, "description") == "Tell the weather."
    assert prior_text(spec, "arguments") == "city name: Where to look; day"
    assert prior_text(spec, "all") == "get weather. Tell the weather. city name: Where to look; day"


def test_the_names_words_stand_in_where_a_tool_has_no_such_text() -> None:
    spec = ToolSpec(name="get_weather")
    assert [prior_text(spec, text) for text in ("description", "arguments", "all")] == ["get weather"] * 3


class _NarrowEmbedding(torch.nn.Module):
    """A token embedding projected to the model's width, as in some architectures."""

    def __init__(self, inner: torch.nn.Module, words: int) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(words, 8))
        self.inner = inner

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        embedded: torch.Tensor = self.inner(ids)
        return embedded


def test_word_embeddings_of_another_width_are_refused_and_the_other_sources_serve(
    build_lm: BuildLM, specs: list[ToolSpec]
) -> None:
    lm = build_lm(tied=False, seed=5)
    lm.model.set_input_embeddings(_NarrowEmbedding(lm.model.get_input_embeddings(), lm.vocab_size))
    with pytest.raises(HeadError, match="8 wide and its hidden states 32"):
        published_prior(lm, specs, source="embedding-rows", text="name")
    for source in ("output-rows", "hidden-mean"):
        found = published_prior(lm, specs, source=source, text="name")  # type: ignore[arg-type]
        assert found.shape == (3, 32)


def test_random_rows_keep_the_norms_and_nothing_else(prior: torch.Tensor) -> None:
    control = random_same_norm(prior, seed=0)
    torch.testing.assert_close(control.norm(dim=1), prior.norm(dim=1))
    assert float(torch.cosine_similarity(control, prior).abs().max()) < 0.8
    assert torch.equal(control, random_same_norm(prior, seed=0))
    assert not torch.equal(control, random_same_norm(prior, seed=1))


def test_shuffled_rows_are_the_same_rows_and_none_stays_with_its_tool(prior: torch.Tensor) -> None:
    for seed in range(20):
        control = shuffled(prior, seed)
        assert not bool((control == prior).all(1).any())
        assert sorted(control.tolist()) == sorted(prior.tolist())
        assert torch.equal(control, shuffled(prior, seed))
    assert not torch.equal(shuffled(prior, 0), shuffled(prior, 1))


def test_one_tool_has_no_other_tools_row(prior: torch.Tensor) -> None:
    with pytest.raises(HeadError, match="at least two"):
        shuffled(prior[:1], seed=0)
