"""Batched turns wait for each other, but not for a turn that does not come."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

from toolken import FrozenLM
from toolken.agents.decoding import batching as module
from toolken.agents.decoding.batching import BatchedDecoding, batch_configs, batched_decoding, claimed_batch


def turn(batch: BatchedDecoding, lm: FrozenLM, token: int, count: int) -> torch.Tensor:
    """Append a token some times, and return the last hidden state."""
    session = lm.start()
    session.feed([token, token])
    with batch.joined():
        for _ in range(count):
            hidden, _ = batch.feed(session, [token])
    return hidden


def alone(lm: FrozenLM, token: int, count: int) -> torch.Tensor:
    """Return the same state without the others."""
    return lm.start().feed([token] * (count + 2))[0]


def test_turns_of_different_lengths_come_to_their_ends(tiny_lm: FrozenLM) -> None:
    counts = [1, 7, 3, 12, 5, 2, 9, 4]
    batch = BatchedDecoding(tiny_lm, len(counts))
    with ThreadPoolExecutor(len(counts)) as threads:
        running = [threads.submit(turn, batch, tiny_lm, 5 + at, count) for at, count in enumerate(counts)]
        for at, (count, done) in enumerate(zip(counts, running, strict=True)):
            torch.testing.assert_close(done.result(60), alone(tiny_lm, 5 + at, count), rtol=1e-4, atol=1e-4)


def test_a_missing_turn_delays_the_batch_only_once(tiny_lm: FrozenLM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.01)
    torch.testing.assert_close(
        turn(BatchedDecoding(tiny_lm, 5), tiny_lm, 5, 4), alone(tiny_lm, 5, 4), rtol=1e-4, atol=1e-4
    )


def test_a_run_that_fails_fails_for_every_turn_in_it_and_no_other(
    tiny_lm: FrozenLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = BatchedDecoding(tiny_lm, 3)
    whole = tiny_lm.forward

    def broken(ids: torch.Tensor, *arguments: Any, **options: Any) -> Any:
        if len(ids) > 1:
            raise MemoryError("too much")
        return whole(ids, *arguments, **options)

    monkeypatch.setattr(tiny_lm, "forward", broken)
    with ThreadPoolExecutor(3) as threads:
        running = [threads.submit(turn, batch, tiny_lm, 5 + at, 3) for at in range(3)]
        for done in running:
            with pytest.raises(MemoryError):
                done.result(60)
    monkeypatch.undo()
    assert turn(batch, tiny_lm, 5, 2).isfinite().all()


def test_a_cancelled_turn_does_not_delay_the_others(tiny_lm: FrozenLM) -> None:
    batch = BatchedDecoding(tiny_lm, 2)

    def leave() -> None:
        with batch.joined():
            raise ValueError("not today")

    with ThreadPoolExecutor(2) as threads:
        staying = threads.submit(turn, batch, tiny_lm, 5, 3)
        leaving = threads.submit(leave)
        assert staying.result(60).isfinite().all()
        with pytest.raises(ValueError, match="not today"):
            leaving.result(60)


def test_batched_decoding_is_local_to_its_context(tiny_lm: FrozenLM) -> None:
    seen: list[bool] = []
    with batched_decoding(tiny_lm, batch_configs(None, 3)):
        other = threading.Thread(target=lambda: seen.append(_has_one()))
        other.start()
        other.join()
        with claimed_batch() as own:
            assert own is not None
            assert not _has_one()
        assert _has_one()
    assert not _has_one()
    assert seen == [False]


def _has_one() -> bool:
    with claimed_batch() as batch:
        return batch is not None


def test_max_concurrency_bounds_the_turns_decoded_at_once() -> None:
    assert [one["max_concurrency"] for one in batch_configs({"max_concurrency": 3}, 2)] == [3, 3]
    assert [one["max_concurrency"] for one in batch_configs(None, 2)] == [module.MAX_BATCH] * 2
    assert batch_configs(None, 0) == []
