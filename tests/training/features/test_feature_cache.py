"""States are computed once, cached, and never taken from another LM or text."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from toolken import FrozenLM, PromptFormat
from toolken.training.features import feature_cache as module
from toolken.training.features.decision_states import query_states
from toolken.training.features.feature_cache import FeatureCache

TEXTS = [
    "What is a young dog?",
    "What is 1 and 2?",
    "Where is Paris?",
    "A much longer question than the others, is it?",
]


class Counted:
    """Counts the texts that go through an LM."""

    def __init__(self, lm: FrozenLM, monkeypatch: pytest.MonkeyPatch) -> None:
        self.texts = 0
        own = lm.hidden_states

        def watched(sequences: list[list[int]], *rest: object, **options: object) -> object:
            self.texts += len(sequences)
            return own(sequences, *rest, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(lm, "hidden_states", watched)


def test_states_are_those_of_the_lm_and_are_computed_once(
    tiny_lm: FrozenLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = query_states(tiny_lm, PromptFormat(), TEXTS)
    counted = Counted(tiny_lm, monkeypatch)
    for _ in range(2):
        cache = FeatureCache(tiny_lm, tmp_path)
        for _ in range(2):
            found = query_states(tiny_lm, PromptFormat(), TEXTS, cache=cache)
            torch.testing.assert_close(found.hidden, expected.hidden, rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(found.logsumexp, expected.logsumexp, rtol=1e-4, atol=1e-4)
    assert counted.texts == len(TEXTS)


def test_only_new_texts_run_and_progress_counts_all(
    tiny_lm: FrozenLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = FeatureCache(tiny_lm, tmp_path)
    query_states(tiny_lm, PromptFormat(), TEXTS[:3], cache=cache)
    counted = Counted(tiny_lm, monkeypatch)
    done: list[int] = []
    query_states(tiny_lm, PromptFormat(), TEXTS, cache=cache, advance=done.append)
    assert counted.texts == 1
    assert sum(done) == len(TEXTS)


def test_a_run_that_was_killed_goes_on_where_it_stopped(
    tiny_lm: FrozenLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TEXTS_PER_SHARD", 1)

    def kill(_: int, left: list[int] = [2]) -> None:  # noqa: B006
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        query_states(tiny_lm, PromptFormat(), TEXTS, cache=FeatureCache(tiny_lm, tmp_path), advance=kill)
    counted = Counted(tiny_lm, monkeypatch)
    query_states(tiny_lm, PromptFormat(), TEXTS, cache=FeatureCache(tiny_lm, tmp_path))
    assert counted.texts == 2


def test_another_lm_or_format_gets_no_stale_state(build_lm: Callable[..., FrozenLM], tmp_path: Path) -> None:
    one, other = build_lm(seed=0), build_lm(seed=1)
    first = query_states(one, PromptFormat(), TEXTS, cache=FeatureCache(one, tmp_path))
    second = query_states(other, PromptFormat(), TEXTS, cache=FeatureCache(other, tmp_path))
    third = query_states(one, PromptFormat(opening=" It is"), TEXTS, cache=FeatureCache(one, tmp_path))
    assert not torch.allclose(first.hidden, second.hidden)
    assert not torch.allclose(first.hidden, third.hidden)


@pytest.mark.parametrize("content", [b"", b"rubbish", b"\x08\x00\x00\x00\x00\x00\x00\x00{}      "])
def test_a_broken_file_is_named_and_recomputed(tiny_lm: FrozenLM, tmp_path: Path, content: bytes) -> None:
    expected = query_states(tiny_lm, PromptFormat(), TEXTS, cache=FeatureCache(tiny_lm, tmp_path))
    (path,) = tmp_path.glob("*/*.safetensors")
    path.write_bytes(content)
    with pytest.warns(UserWarning, match="is broken: it is removed"):
        cache = FeatureCache(tiny_lm, tmp_path)
    assert torch.equal(query_states(tiny_lm, PromptFormat(), TEXTS, cache=cache).hidden, expected.hidden)


def test_a_folder_that_cannot_be_written_costs_one_warning(tiny_lm: FrozenLM, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    expected = query_states(tiny_lm, PromptFormat(), TEXTS)
    cache = FeatureCache(tiny_lm, tmp_path / "file" / "features")
    with pytest.warns(UserWarning, match="cannot be written") as caught:
        found = [query_states(tiny_lm, PromptFormat(), TEXTS, cache=cache) for _ in range(2)]
    assert all(torch.equal(one.hidden, expected.hidden) for one in found)
    assert len(caught) == 1
