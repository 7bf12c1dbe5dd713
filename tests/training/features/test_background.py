"""The background is computed once per LM and format, and a broken cache costs only time."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save

from toolken import FrozenLM, PromptFormat
from toolken.errors import HeadError
from toolken.training.features import background as module
from toolken.training.features.background import background, tokens_to_prefill
from toolken.training.features.decision_states import NO_CALL

BuildLM = Callable[..., FrozenLM]


def test_a_background_is_read_from_the_cache_the_second_time(
    tiny_lm: FrozenLM, tiny_background: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = background(tiny_lm, PromptFormat())
    monkeypatch.setattr(module, "query_states", None)
    second = background(tiny_lm, PromptFormat())
    assert torch.equal(first.mean, second.mean)
    assert torch.equal(first.covariance, second.covariance)
    assert torch.equal(first.decisions.hidden, second.decisions.hidden)
    assert len(first.requests.labels) == len(second.requests.labels) == 24


def test_tokens_are_unread_until_a_background_is_cached(tiny_lm: FrozenLM, tiny_background: Path) -> None:
    longer = PromptFormat(preamble="Answer the question. " * 50)
    beginning = len(tiny_lm.encode(longer.preamble).ids)
    unread = tokens_to_prefill(tiny_lm, PromptFormat())
    assert unread > 24
    assert unread < tokens_to_prefill(tiny_lm, longer) < unread + 24 * beginning
    background(tiny_lm, PromptFormat())
    assert tokens_to_prefill(tiny_lm, PromptFormat(lead="number")) == 0
    assert tokens_to_prefill(tiny_lm, longer) > unread


@pytest.mark.parametrize("content", [b"", b"rubbish", b"\x08\x00\x00\x00\x00\x00\x00\x00{}      "])
def test_a_broken_cache_is_recomputed(tiny_lm: FrozenLM, tiny_background: Path, content: bytes) -> None:
    first = background(tiny_lm, PromptFormat())
    (path,) = (tiny_background / "background").iterdir()
    path.write_bytes(content)
    assert torch.equal(background(tiny_lm, PromptFormat()).mean, first.mean)
    assert path.stat().st_size > 1000


def test_each_format_has_its_own_background(tiny_lm: FrozenLM, tiny_background: Path) -> None:
    one, other = background(tiny_lm, PromptFormat()), background(tiny_lm, PromptFormat(opening=" It is"))
    assert not torch.allclose(one.mean, other.mean)
    assert len(list((tiny_background / "background").iterdir())) == 2


def test_mean_and_covariance_are_those_of_the_requests(tiny_lm: FrozenLM, tiny_background: Path) -> None:
    found = background(tiny_lm, PromptFormat())
    states = found.requests.hidden.double()
    torch.testing.assert_close(found.mean, states.mean(0))
    torch.testing.assert_close(found.covariance, torch.cov(states.T, correction=0))
    assert set(found.requests.labels.tolist()) == {0}
    assert set(found.no_calls.labels.tolist()) == {NO_CALL}


def test_the_shipped_requests_and_answers_are_many_and_different() -> None:
    requests, plain = module.background_requests(), module.plain_examples()
    assert len(set(requests)) > 1000
    assert len({example.question for example in plain}) == len(plain) > 50
    assert all(example.answer and not example.calls for example in plain)


def test_states_that_are_not_numbers_are_not_kept(build_lm: BuildLM, tiny_background: Path) -> None:
    lm = build_lm()
    with torch.no_grad():
        lm.model.get_input_embeddings().weight[lm.encode("?").ids] = torch.nan
    with pytest.raises(HeadError, match="not a finite number"):
        background(lm, PromptFormat())
    assert not list(tiny_background.rglob("*.safetensors"))


def test_a_cached_background_with_nan_is_recomputed(tiny_lm: FrozenLM, tiny_background: Path) -> None:
    first = background(tiny_lm, PromptFormat())
    (path,) = (tiny_background / "background").iterdir()
    tensors = load_file(path)
    tensors["no_calls.hidden"][0, 0] = torch.inf
    path.write_bytes(save(tensors))
    again = background(tiny_lm, PromptFormat())
    assert torch.equal(again.no_calls.hidden, first.no_calls.hidden)
    assert bool(torch.isfinite(load_file(path)["no_calls.hidden"]).all())


def test_a_cache_folder_that_cannot_be_written_costs_one_warning(
    tiny_lm: FrozenLM, tiny_background: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = background(tiny_lm, PromptFormat())
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TOOLKEN_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="cannot be written") as caught:
        found = [background(tiny_lm, PromptFormat()) for _ in range(2)]
    assert all(torch.equal(one.mean, expected.mean) for one in found)
    assert len(caught) == 1
    assert "\n" not in str(caught[0].message)
