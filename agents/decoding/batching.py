"""`BatchedDecoding`: turns in several threads share the forward passes of the LM."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from typing import Any, TypeVar

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import get_config_list

from toolken.training.lm import FrozenLM, Session, State

#: Turns per batch, unless `max_concurrency` is set.
MAX_BATCH = 32

#: Seconds for which the first turns of a batch wait for another one to join.
PATIENCE = 0.5

# A separate pool for asynchronous calls: the event loop has few threads, which other code needs.
_THREADS = ThreadPoolExecutor(max_workers=MAX_BATCH, thread_name_prefix="toolken")

Result = TypeVar("Result")


class BatchedDecoding:
    """Collects the next tokens of all turns that joined, and runs the LM once when each turn has passed its tokens.

    A turn is part of the batch while it is inside `joined`. The thread that passes the last tokens runs the LM for all.

    Parameters
    ----------
    lm
        The LM of all turns.
    expected
        Turns that are about to join. The first ones wait for them, but not for long: a turn that is answered from a
        cache never joins.
    """

    def __init__(self, lm: FrozenLM, expected: int = 0) -> None:
        self._batch = lm.start_batch()
        self._expected = expected
        self._members = 0
        self._waiting: list[_Piece] = []
        self._changed = threading.Condition()

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Join while the block runs; the other turns wait for the tokens of this one."""
        with self._changed:
            self._members += 1
            self._expected -= 1
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._members -= 1
                self._run_if_complete()

    def feed(self, session: Session, ids: Sequence[int]) -> State:
        """Append tokens to a text as `Session.feed` does, in one forward pass with those of all other turns.

        Raises
        ------
        PromptTooLongError
            If the text would no longer fit the LM's context.
        """
        session.check_room(len(ids))
        piece = _Piece(session, list(ids))
        with self._changed:
            self._waiting.append(piece)
            self._run_if_complete()
            while piece.state is None and piece.error is None:
                expected = self._expected
                notified = self._changed.wait(PATIENCE if expected > 0 else None)
                if not notified and expected == self._expected:
                    self._expected = 0
                    self._run_if_complete()
        if piece.error is not None:
            raise piece.error
        assert piece.state is not None
        return piece.state

    def _run_if_complete(self) -> None:
        if not self._waiting or len(self._waiting) < self._members or self._expected > 0:
            return
        pieces, self._waiting = self._waiting, []
        try:
            states = self._batch.feed([(piece.session, piece.ids) for piece in pieces])
            for piece, state in zip(pieces, states, strict=True):
                piece.state = state
        except BaseException as error:
            for piece in pieces:
                piece.error = error
        self._changed.notify_all()


@dataclass
class _Piece:
    """The tokens of one turn, and the state after them."""

    session: Session
    ids: list[int]
    state: State | None = None
    error: BaseException | None = None


_CURRENT: ContextVar[BatchedDecoding | None] = ContextVar("toolken_batch", default=None)


@contextmanager
def batched_decoding(lm: FrozenLM, configs: Sequence[RunnableConfig]) -> Iterator[None]:
    """Decode turns that start inside the block, in threads that inherit its context, as one batch.

    Parameters
    ----------
    configs
        The configs of the turns.
    """
    most = configs[0].get("max_concurrency") or MAX_BATCH if configs else 0
    token = _CURRENT.set(BatchedDecoding(lm, min(most, len(configs))))
    try:
        yield
    finally:
        _CURRENT.reset(token)


@contextmanager
def claimed_batch() -> Iterator[BatchedDecoding | None]:
    """Yield the batch of the context, if there is one, for the one turn that is decoded in the block.

    Inside the block the context has none: a model that a callback of this turn calls must not wait for this turn.
    """
    token = _CURRENT.set(None)
    try:
        yield token.old_value if isinstance(token.old_value, BatchedDecoding) else None
    finally:
        _CURRENT.reset(token)


def joined(batch: BatchedDecoding | None) -> AbstractContextManager[None]:
    """Join a batch while a block runs, if there is one."""
    return nullcontext() if batch is None else batch.joined()


async def in_a_thread(work: Callable[..., Result], *arguments: Any) -> Result:
    """Run a function in a thread that inherits the context."""
    context = copy_context()
    return await asyncio.get_running_loop().run_in_executor(_THREADS, lambda: context.run(work, *arguments))


def batch_configs(config: RunnableConfig | list[RunnableConfig] | None, count: int) -> list[RunnableConfig]:
    """Return one config per input, with a `max_concurrency` of at most a batch."""
    configs = get_config_list(config, count) if count else []
    for one in configs:
        one["max_concurrency"] = one.get("max_concurrency") or MAX_BATCH
    return configs
