"""The project's own Llama forward pass gives transformers' results (batches to the last bit), or declines."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from toolken import FrozenLM
from toolken.training.lm.pytorch.llama import Llama

BuildLM = Callable[..., FrozenLM]
DTYPES = [torch.float32, torch.bfloat16]


def save(lm: FrozenLM, folder: Path, **changes: Any) -> Path:
    """Write the LM's model as a checkpoint, with changes to its configuration."""
    lm.model.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
    return folder


@pytest.fixture(params=DTYPES, ids=str)
def pair(request: pytest.FixtureRequest, build_lm: BuildLM, tmp_path: Path) -> tuple[FrozenLM, FrozenLM]:
    """The same LM run by transformers and by `Llama`."""
    lm = build_lm()
    lm.tokenizer.save_pretrained(tmp_path)
    theirs = FrozenLM.from_pretrained(save(lm, tmp_path), dtype=request.param)
    llama = Llama.from_folder(tmp_path, request.param)
    assert llama is not None
    return theirs, FrozenLM(llama, lm.tokenizer, lm.name)


def _assert_equal(one: torch.Tensor, other: torch.Tensor) -> None:
    assert torch.equal(one, other)


@torch.no_grad()
def assert_equal_runs(
    pair: tuple[FrozenLM, FrozenLM], caches: tuple[Any, Any], shape: tuple[int, int], **options: torch.Tensor
) -> None:
    """Check that both LMs give equal states at every position of the same random tokens, and cache the same."""
    ids = torch.randint(5, 300, shape, generator=torch.Generator().manual_seed(sum(shape)))
    select = torch.arange(ids.numel())
    found = [
        lm.forward(ids, select, past_key_values=cache, use_cache=cache is not None, **options)
        for lm, cache in zip(pair, caches, strict=True)
    ]
    # On some processors a single row's products are summed in an order that hangs on where the weights lie.
    same = torch.testing.assert_close if shape[0] == 1 else _assert_equal
    same(found[0][0], found[1][0])
    same(found[0][1], found[1][1])
    assert found[0][1].dtype == found[1][1].dtype == pair[0].dtype


def new_caches(pair: tuple[FrozenLM, FrozenLM]) -> tuple[Any, Any]:
    from transformers import DynamicCache

    return DynamicCache(config=pair[0].config), DynamicCache(config=pair[1].config)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (3, 40), (5, 1)])
def test_texts_without_a_cache(pair: tuple[FrozenLM, FrozenLM], shape: tuple[int, int]) -> None:
    assert_equal_runs(pair, (None, None), shape)


def test_a_text_that_grows(pair: tuple[FrozenLM, FrozenLM]) -> None:
    caches = new_caches(pair)
    for length in (12, 1, 1, 5, 1):
        assert_equal_runs(pair, caches, (1, length))


def test_texts_with_a_shared_beginning(pair: tuple[FrozenLM, FrozenLM]) -> None:
    caches = new_caches(pair)
    assert_equal_runs(pair, caches, (1, 20))
    for cache in caches:
        cache.batch_repeat_interleave(3)
    assert_equal_runs(pair, caches, (3, 9))
    assert_equal_runs(pair, caches, (3, 1))


def test_texts_of_different_lengths_beside_each_other(pair: tuple[FrozenLM, FrozenLM]) -> None:
    caches = new_caches(pair)
    filled = torch.ones(3, 17, dtype=torch.long)
    filled[1, :2] = filled[2, :6] = 0
    for begin, end in ((0, 10), (10, 14), (14, 15), (15, 17)):
        mask = filled[:, :end]
        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, begin:]
        assert_equal_runs(pair, caches, (3, end - begin), attention_mask=mask, position_ids=positions)


def test_a_frozen_lm_is_the_same_on_both(pair: tuple[FrozenLM, FrozenLM]) -> None:
    theirs, own = pair
    assert own.fingerprint == theirs.fingerprint
    assert own.stop_ids == theirs.stop_ids
    assert (own.max_length, own.hidden_size, own.vocab_size) == (512, 32, theirs.vocab_size)
    beginning = "Question: What is the weather in the city of the user's question? "
    texts = [own.encode(beginning + text).ids for text in ("Fine", "What is 12 plus 30?", "a b c d")]
    positions = [[len(ids) - 2, len(ids) - 1] for ids in texts]
    found, expected = dict(own.hidden_states(texts, positions)), dict(theirs.hidden_states(texts, positions))
    for index in range(len(texts)):
        assert torch.equal(found[index].hidden, expected[index].hidden)
        assert torch.equal(found[index].logsumexp, expected[index].logsumexp)


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_act": "gelu"},
        {"attention_bias": True},
        {"mlp_bias": True},
        {"tie_word_embeddings": False},
        {"model_type": "mistral"},
        {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}},
        {"quantization_config": {"quant_method": "gptq", "bits": 4}},
    ],
    ids=str,
)
def test_other_checkpoints_are_declined(build_lm: BuildLM, tmp_path: Path, changes: dict[str, Any]) -> None:
    assert Llama.from_folder(save(build_lm(), tmp_path, **changes), torch.float32) is None


def test_a_missing_weight_is_an_error(build_lm: BuildLM, tmp_path: Path) -> None:
    folder = save(build_lm(), tmp_path, num_hidden_layers=3)
    with pytest.raises(KeyError, match=r"model\.layers\.2"):
        Llama.from_folder(folder, torch.float32)
