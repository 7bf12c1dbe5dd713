"""`Lockstep`: turns that are written in several threads at once share each run of the LM."""

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

#: Turns that are written at once, unless `max_concurrency` says otherwise.
MAX_BATCH = 32

#: Seconds for which the first turns of a batch wait for the next one to take part.
PATIENCE = 0.5

# Threads of its own for asynchronous calls: the event loop's are few, and others need them too.
_THREADS = ThreadPoolExecutor(max_workers=MAX_BATCH, thread_name_prefix="toolken")

Result = TypeVar("Result")


class Lockstep:
    """Collects the next tokens of all the turns that take part, and runs the LM once when each has given its own.

    A turn takes part while it is inside `taking_part`; whoever gives the last piece runs the LM for all.

    Parameters
    ----------
    lm
        The LM of all the turns.
    expected
        Turns that are about to take part. The first ones wait for them, but not for long: a turn that is answered from
        a cache never comes.
    """

    def __init__(self, lm: FrozenLM, expected: int = 0) -> None:
        self._batch = lm.start_batch()
        self._expected = expected
        self._members = 0
        self._waiting: list[_Piece] = []
        self._changed = threading.Condition()

    @contextmanager
    def taking_part(self) -> Iterator[None]:
        """Take part while the block runs; the others wait for this turn's next tokens."""
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
        """Append tokens to a text, as `Session.feed` does, together with those of all the other turns.

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
                told = self._changed.wait(PATIENCE if expected > 0 else None)
                if not told and expected == self._expected:
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
    """Tokens of one turn, and what the LM made of them."""

    session: Session
    ids: list[int]
    state: State | None = None
    error: BaseException | None = None


_CURRENT: ContextVar[Lockstep | None] = ContextVar("toolken_lockstep", default=None)


@contextmanager
def in_lockstep(lm: FrozenLM, configs: Sequence[RunnableConfig]) -> Iterator[None]:
    """Let the turns that are begun inside the block, in threads that inherit its context, be written together.

    Parameters
    ----------
    configs
        Those of the turns.
    """
    most = configs[0].get("max_concurrency") or MAX_BATCH if configs else 0
    token = _CURRENT.set(Lockstep(lm, min(most, len(configs))))
    try:
        yield
    finally:
        _CURRENT.reset(token)


@contextmanager
def claimed() -> Iterator[Lockstep | None]:
    """Give the lockstep of the context, if there is one, to the one turn that is written in the block.

    Inside the block there is none: a model that is asked by a callback of this turn must not wait for it.
    """
    token = _CURRENT.set(None)
    try:
        yield token.old_value if isinstance(token.old_value, Lockstep) else None
    finally:
        _CURRENT.reset(token)


def taking_part(lockstep: Lockstep | None) -> AbstractContextManager[None]:
    """Take part in a lockstep while a block runs, if there is one."""
    return nullcontext() if lockstep is None else lockstep.taking_part()


async def in_a_thread(work: Callable[..., Result], *arguments: Any) -> Result:
    """Do some work in a thread that inherits the context."""
    context = copy_context()
    return await asyncio.get_running_loop().run_in_executor(_THREADS, lambda: context.run(work, *arguments))


def at_once(config: RunnableConfig | list[RunnableConfig] | None, count: int) -> list[RunnableConfig]:
    """Return a config for each of some inputs, with as many of them at once as a batch takes."""
    configs = get_config_list(config, count) if count else []
    for one in configs:
        one["max_concurrency"] = one.get("max_concurrency") or MAX_BATCH
    return configs
