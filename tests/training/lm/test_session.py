"""Stepping through a text token by token equals one full pass, also after going back and after forking."""

import gc
import weakref
from collections.abc import Callable, Sequence

import pytest
import torch

from toolken import FrozenLM
from toolken.errors import PromptTooLongError
from toolken.training.lm import Session
from toolken.training.lm.prefix_cache import PrefixCache
from toolken.training.lm.pytorch.batch import TensorBatch
from toolken.training.lm.pytorch.session import TensorSession
from toolken.training.lm.state_memory import StateMemory

BuildLM = Callable[..., FrozenLM]

TEXT = "Question: What is the weather in the city? Answer: The weather is fine, then 42."


@pytest.fixture(params=["llama", "qwen2", "gpt_neox", "gpt2", "mistral"])
def lm(request: pytest.FixtureRequest, build_lm: BuildLM) -> FrozenLM:
    """A tiny LM of each architecture; the one of mistral has a sliding window of 16 tokens."""
    return build_lm(request.param, tied=False)


def assert_state_of(lm: FrozenLM, ids: Sequence[int], got: tuple[torch.Tensor, torch.Tensor]) -> None:
    """Check that a hidden state and logits are those after the last of some tokens."""
    with torch.no_grad():
        output = lm.model(torch.tensor([list(ids)]), output_hidden_states=True)
    torch.testing.assert_close(got[0], output.hidden_states[-1][0, -1], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(got[1], output.logits[0, -1], rtol=1e-4, atol=1e-4)


def test_stepping_equals_one_full_pass(lm: FrozenLM) -> None:
    ids = lm.encode(TEXT).ids
    session = lm.start()
    got = session.feed(ids[:5])
    for index in range(5, len(ids)):
        got = session.feed([ids[index]])
    assert session.ids == ids
    assert_state_of(lm, ids, got)


def test_another_continuation_after_truncation_forgets_the_first(lm: FrozenLM) -> None:
    ids, other = lm.encode(TEXT).ids, lm.encode(" Paris and Rome").ids
    session = lm.start()
    session.feed(ids)
    session.truncate(30)
    assert session.ids == ids[:30]
    assert_state_of(lm, ids[:30] + other, session.feed(other))
    session.truncate(0)
    assert_state_of(lm, other, session.feed(other))


def test_truncating_beyond_the_end_changes_nothing(tiny_lm: FrozenLM) -> None:
    ids = tiny_lm.encode(TEXT).ids
    session = tiny_lm.start()
    session.feed(ids[:20])
    session.truncate(100)
    assert_state_of(tiny_lm, ids, session.feed(ids[20:]))


def test_forks_go_on_independently_of_each_other(lm: FrozenLM) -> None:
    ids, left, right = lm.encode(TEXT).ids, lm.encode(" left way").ids, lm.encode(" right, then left").ids
    first = lm.start()
    first.feed(ids)
    second = first.fork()
    third = second.fork()
    assert_state_of(lm, ids + left, first.feed(left))
    assert_state_of(lm, ids + right, second.feed(right))
    third.truncate(25)
    assert_state_of(lm, ids[:25] + left, third.feed(left))
    assert_state_of(lm, ids + left + right, first.feed(right))
    assert_state_of(lm, ids + right + left, second.feed(left))


def test_a_fork_of_an_empty_session_is_empty(tiny_lm: FrozenLM) -> None:
    ids = tiny_lm.encode(TEXT).ids
    assert_state_of(tiny_lm, ids, tiny_lm.start().fork().feed(ids))


def test_the_common_prefix_is_counted_in_tokens(tiny_lm: FrozenLM) -> None:
    session = tiny_lm.start()
    session.feed([5, 6, 7])
    assert [session.common_prefix(ids) for ids in ([], [5, 6], [5, 6, 7, 8], [5, 9, 7], [9])] == [0, 2, 3, 1, 0]


def test_a_text_that_outgrows_the_context_is_refused_and_the_session_still_works(build_lm: BuildLM) -> None:
    lm = build_lm(context=20)
    ids = lm.encode(TEXT).ids
    session = lm.start()
    session.feed(ids[:18])
    with pytest.raises(PromptTooLongError, match=r"21 tokens.*takes 20"):
        session.feed(ids[18:21])
    assert session.ids == ids[:18]
    assert_state_of(lm, ids[:20], session.feed(ids[18:20]))


def test_feeding_nothing_is_refused(tiny_lm: FrozenLM) -> None:
    with pytest.raises(ValueError, match="at least one token"):
        tiny_lm.start().feed([])


def test_a_run_that_fails_leaves_a_session_that_goes_on(tiny_lm: FrozenLM, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = tiny_lm.encode(TEXT).ids
    session = tiny_lm.start()
    session.feed(ids[:20])
    whole = tiny_lm.forward

    def half(*arguments: object, **options: object) -> None:
        whole(*arguments, **options)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(tiny_lm, "forward", half)
    with pytest.raises(KeyboardInterrupt):
        session.feed(ids[20:25])
    monkeypatch.undo()
    assert session.ids == ids[:20]
    assert_state_of(tiny_lm, ids, session.feed(ids[20:]))


TEXTS = [
    "Question: What is the sum of 12 and 30?",
    "The weather",
    "Paris, then 42. The answer is fine and the city of Paris is 7.",
    "Known: 17, 25",
]


def begun(lm: FrozenLM) -> list[Session]:
    """Return a session of each text."""
    sessions = []
    for text in TEXTS:
        session = lm.start()
        session.feed(lm.encode(text).ids)
        sessions.append(session)
    return sessions


def test_texts_of_a_batch_are_extended_as_each_would_be_alone(lm: FrozenLM) -> None:
    sessions, batch = begun(lm), TensorBatch(lm)
    words = lm.encode(" and the weather in Paris is fine, then 42 and 7 and 30 of 12").ids
    for step, lengths in enumerate([(1, 1, 1, 1), (1, 5, 2, 1), (1, 1, 1, 1), (3, 1, 20, 1), (1, 1, 1, 1)]):
        pieces = [(one, words[step : step + n]) for one, n in zip(sessions, lengths, strict=True)]
        states = batch.feed(pieces)
        for session, state in zip(sessions, states, strict=True):
            assert_state_of(lm, session.ids, state)


def test_texts_join_and_leave_a_batch_at_any_time(lm: FrozenLM) -> None:
    sessions, batch = begun(lm), TensorBatch(lm)
    (token,) = lm.encode(" ").ids[:1]
    for members in ([0, 1], [0, 1, 2, 3], [3, 1, 2, 0], [2, 3], [2], [0, 2, 3], [1], [0, 1, 2, 3]):
        states = batch.feed([(sessions[at], [token, token]) for at in members])
        for at, state in zip(members, states, strict=True):
            assert_state_of(lm, sessions[at].ids, state)
    ids = lm.encode(" left way").ids
    for session in sessions:
        before = list(session.ids)
        twin = session.fork()
        assert_state_of(lm, before + ids, session.feed(ids))
        twin.truncate(len(before) - 3)
        assert_state_of(lm, before[:-3] + ids, twin.feed(ids))


def test_a_batch_runs_the_lm_once_per_step(tiny_lm: FrozenLM, monkeypatch: pytest.MonkeyPatch) -> None:
    sessions, batch = begun(tiny_lm), TensorBatch(tiny_lm)
    runs: list[int] = []
    whole = tiny_lm.forward

    def counted(ids: torch.Tensor, *arguments: object, **options: object) -> object:
        runs.append(len(ids))
        return whole(ids, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(tiny_lm, "forward", counted)
    for _ in range(100):
        batch.feed([(session, [5]) for session in sessions])
    assert runs == [4] * 100


def test_a_text_reuses_the_row_of_a_finished_one(lm: FrozenLM, monkeypatch: pytest.MonkeyPatch) -> None:
    sessions, batch = begun(lm), TensorBatch(lm)
    assembled: list[int] = []
    whole = batch._assemble

    def counted(members: Sequence[TensorSession]) -> None:
        assembled.append(len(members))
        whole(members)

    monkeypatch.setattr(batch, "_assemble", counted)
    words = lm.encode(" and the weather in Paris is fine").ids

    def step(members: list[Session], token: int) -> None:
        for session, state in zip(members, batch.feed([(one, [token]) for one in members]), strict=True):
            assert_state_of(lm, session.ids, state)

    step(sessions, words[0])
    first = list(assembled)
    assert first in ([4], [])  # texts with a sliding window are fed alone
    sessions[1].truncate(len(sessions[1].ids) - 1)  # a short one is used alone, and comes back
    step([sessions[0], *sessions[2:]], words[1])
    step(sessions, words[2])
    other = lm.start()
    other.feed(words[:3])
    sessions[3].truncate(len(sessions[3].ids) - 1)  # another takes the place of one that has left
    members = [*sessions[:3], other]
    for token in words[3:]:
        step(members, token)
    assert assembled == first
    longest = lm.start()
    longest.feed(words * 4)
    step([*sessions[:2], longest], words[0])  # no row is long enough for it
    assert assembled == ([4, 3] if first else [])


def test_a_batch_with_a_text_that_is_too_long_changes_none(build_lm: BuildLM) -> None:
    lm = build_lm(context=64)
    first, second = lm.start(), lm.start()
    first.feed([5] * 10)
    second.feed([6] * 64)
    with pytest.raises(PromptTooLongError):
        TensorBatch(lm).feed([(first, [5]), (second, [6])])
    assert (len(first.ids), len(second.ids)) == (10, 64)


def test_a_batch_that_fails_leaves_texts_that_go_on(tiny_lm: FrozenLM, monkeypatch: pytest.MonkeyPatch) -> None:
    sessions, batch = begun(tiny_lm), TensorBatch(tiny_lm)
    batch.feed([(session, [5]) for session in sessions])

    def broken(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(tiny_lm, "forward", broken)
    with pytest.raises(MemoryError):
        batch.feed([(session, [5]) for session in sessions])
    monkeypatch.undo()
    for session, state in zip(sessions, batch.feed([(session, [7]) for session in sessions]), strict=True):
        assert session.ids[-2:] == [5, 7]
        assert_state_of(tiny_lm, session.ids, state)


def test_a_cached_text_serves_texts_with_the_same_prefix(lm: FrozenLM) -> None:
    cache, ids = PrefixCache(lm), lm.encode(TEXT).ids
    assert cache.prefill(ids[:15]).reused == 0
    for other in (ids, ids[:15] + lm.encode(" Paris").ids, ids[:12], lm.encode("Other").ids, ids):
        reading = cache.prefill(other)
        assert_state_of(lm, other, (reading.hidden, reading.logits))
        assert reading.session.ids == other
    again = cache.prefill(ids)
    assert again.reused == (len(ids) - 1 if again.session.shareable else 0)


def test_tokens_fed_by_one_reader_are_not_seen_by_others(tiny_lm: FrozenLM) -> None:
    cache, ids = PrefixCache(tiny_lm), tiny_lm.encode(TEXT).ids
    first = cache.prefill(ids[:15])
    first.session.feed([5, 6, 7])
    second = cache.prefill(ids)
    assert second.reused == 15
    assert_state_of(tiny_lm, ids, (second.hidden, second.logits))


def test_the_cache_is_bounded_and_evicts_the_oldest_text(tiny_lm: FrozenLM) -> None:
    one = tiny_lm.start()
    one.feed([5])
    cache = PrefixCache(tiny_lm, max_texts=3, max_bytes=100 * one.nbytes)
    texts = [[start] * 20 for start in range(5, 11)]
    for ids in texts:
        cache.prefill(ids)
    assert len(cache) == 3
    assert [cache.prefill([*ids, 4]).reused for ids in texts[-3:]] == [20, 20, 20]
    assert cache.prefill(texts[0]).reused == 0
    cache.prefill([11] * 90)
    assert len(cache) == 1
    assert cache.nbytes == 90 * one.nbytes
    cache.prefill([12] * 200)
    assert cache.nbytes == 0
    cache.clear()
    assert len(cache) == 0


def test_a_continued_text_replaces_its_prefix_in_the_cache(tiny_lm: FrozenLM) -> None:
    cache, ids = PrefixCache(tiny_lm), tiny_lm.encode(TEXT).ids
    for end in (5, 10, 20):
        cache.prefill(ids[:end])
    assert len(cache) == 1
    assert cache.prefill(ids).reused == 20


def test_a_cache_of_size_zero_keeps_nothing(tiny_lm: FrozenLM) -> None:
    cache = PrefixCache(tiny_lm, max_texts=0)
    cache.prefill([5, 6, 7])
    assert cache.prefill([5, 6, 7]).reused == 0


def test_remembered_states_are_those_of_a_run(tiny_lm: FrozenLM, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = StateMemory(tiny_lm)
    texts = [tiny_lm.encode(text).ids for text in TEXTS]
    ends = [[len(ids) - 1] for ids in texts]
    expected = dict(tiny_lm.hidden_states(texts, ends))
    first = dict(memory.hidden_states(texts[:2], ends[:2]))
    seen: list[int] = []
    again = dict(memory.hidden_states(texts, ends, advance=seen.append))
    assert sum(seen) == 4
    for index, states in expected.items():
        torch.testing.assert_close(again[index].hidden, states.hidden, rtol=1e-4, atol=1e-4)
    assert again[0] is first[0]
    monkeypatch.setattr(tiny_lm, "forward", None)
    assert len(dict(memory.hidden_states(texts, ends))) == 4
    assert memory.name == tiny_lm.name


def test_texts_of_a_batch_are_freed_with_their_last_reference(tiny_lm: FrozenLM) -> None:
    sessions, batch = begun(tiny_lm), TensorBatch(tiny_lm)
    batch.feed([(session, [7]) for session in sessions])
    gone, kept = weakref.ref(sessions[0]), sessions[1]
    gone_batch = weakref.ref(batch)
    gc.disable()  # their tensors are not to wait for the search for cycles
    try:
        del sessions
        assert gone() is None
        batch.feed([(kept, [8])])
        assert_state_of(tiny_lm, [*kept.ids, 9], kept.feed([9]))
        del batch
        assert gone_batch() is None
    finally:
        gc.enable()
