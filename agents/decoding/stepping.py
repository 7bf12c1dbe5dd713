"""`Stepping`: runs a turn's tokens through the LM, with a timeout and cancellation."""

import threading
import time
from collections.abc import Sequence

import torch

from toolken.agents.decoding.batching import BatchedDecoding
from toolken.training.lm import Session


class CancelledTurnError(Exception):
    """The caller cancelled the turn; raised only inside the thread that decodes it."""


class Stepping:
    """Runs tokens through the LM, alone or batched with other turns, until the timeout or a cancellation.

    Parameters
    ----------
    batch
        Turns decoded in the same batch, if any.
    timeout
        Seconds that the turn may take from now on.
    cancelled
        Set to cancel the turn.
    """

    def __init__(
        self,
        batch: BatchedDecoding | None = None,
        timeout: float | None = None,
        cancelled: threading.Event | None = None,
    ) -> None:
        self._decoding = batch
        self._timeout = timeout
        self._begun = time.monotonic()
        self._cancelled = cancelled

    def feed(self, session: Session, ids: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Append tokens to a text and return hidden state and next-token logits after the last one.

        Raises
        ------
        TimeoutError
            If the turn takes longer than it may.
        CancelledTurnError
            If the turn was cancelled.
        PromptTooLongError
            If the text would no longer fit the LM's context.
        """
        if self._cancelled is not None and self._cancelled.is_set():
            raise CancelledTurnError
        if self._timeout is not None and time.monotonic() - self._begun > self._timeout:
            raise TimeoutError(
                f"The answer was not finished within {self._timeout:g} seconds: allow more time or fewer tokens."
            )
        return session.feed(ids) if self._decoding is None else self._decoding.feed(session, ids)
