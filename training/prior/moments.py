"""`BackgroundMoments`: mean and covariance of an LM's background states, shared by all heads of that LM."""

import hashlib
import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakValueDictionary

import torch

from toolken.errors import HeadError
from toolken.training.features.background import (
    Background,
    background,
    background_fingerprint,
    cached_background,
)
from toolken.training.lm import FrozenLM
from toolken.training.prior.geometry import PriorGeometry
from toolken.training.prompts.conversation_format import ConversationFormat

_log = logging.getLogger("toolken")
#: The moments that some head of this process uses, by fingerprint.
_shared: "WeakValueDictionary[str, BackgroundMoments]" = WeakValueDictionary()
_lock = threading.RLock()


class BackgroundMoments:
    """Mean and covariance of the background states of an LM and a prompt format: the metric of its heads.

    At d = 4096 the covariance takes 134 MB, and all heads of an LM have the same one, so a saved head only names it by
    its fingerprint. The states it is computed from are one file per LM in the cache folder, which is read when the
    moments are first needed. Where the file is missing, the LM that was given to `use` reads the
    background again (about a minute). Only a head that was fitted with unlabelled requests stores separate moments.

    Attributes
    ----------
    fingerprint
        Identifies the LM, the prompt format and the texts of the background.
    own
        Whether a head has to be saved with these moments, since no LM can compute them from the shipped texts.
    """

    def __init__(
        self, fingerprint: str, moments: tuple[torch.Tensor, torch.Tensor] | None = None, *, own: bool = False
    ) -> None:
        self.fingerprint, self.own = fingerprint, own
        self._moments = moments
        self._lm: tuple[FrozenLM, ConversationFormat] | None = None
        self._geometries: dict[float, PriorGeometry] = {}

    @classmethod
    def of(
        cls, shared: Background, lm_fingerprint: str, prompt: ConversationFormat, unlabelled: Sequence[str] = ()
    ) -> "BackgroundMoments":
        """Return the moments of a background, which has been joined by some unlabelled requests."""
        fingerprint = background_fingerprint(lm_fingerprint, prompt)
        if unlabelled:
            fingerprint += f"+{hashlib.sha256(repr(list(unlabelled)).encode()).hexdigest()[:16]}"
        return cls.shared(fingerprint, (shared.mean, shared.covariance), own=bool(unlabelled))

    @classmethod
    def shared(
        cls, fingerprint: str, moments: tuple[torch.Tensor, torch.Tensor] | None = None, *, own: bool = False
    ) -> "BackgroundMoments":
        """Return the moments with a fingerprint, the same object while any head uses it."""
        with _lock:
            found = _shared.get(fingerprint)
            if found is None:
                found = _shared[fingerprint] = cls(fingerprint, moments, own=own)
            return found

    def use(self, lm: FrozenLM, prompt: ConversationFormat) -> None:
        """Name the LM that reads the background again if its file is missing; nothing is read before that."""
        if self._moments is None and self._lm is None:
            self._lm = (lm, prompt)

    @property
    def mean(self) -> torch.Tensor:
        """Mean state, `(d,) float64`."""
        return self._found()[0]

    @property
    def covariance(self) -> torch.Tensor:
        """Covariance of the states, `(d, d) float64`."""
        return self._found()[1]

    def geometry(self, shrinkage: float) -> PriorGeometry:
        """Return the metric that follows from the moments at a shrinkage."""
        with _lock:
            if shrinkage not in self._geometries:
                self._geometries[shrinkage] = PriorGeometry.shrunk_by(self.mean, self.covariance, shrinkage)
            return self._geometries[shrinkage]

    def _found(self) -> tuple[torch.Tensor, torch.Tensor]:
        with _lock:
            if self._moments is None:
                known = cached_background(self.fingerprint) or self._read_again()
                self._moments, self._lm = (known.mean, known.covariance), None
            return self._moments

    def _read_again(self) -> Background:
        if self._lm is None:
            raise HeadError(
                f"The background {self.fingerprint!r} of this head's LM is not in the cache folder: load the head with "
                "its LM (`ToolkenHead.from_pretrained(FOLDER, lm)`), which then reads it again."
            )
        lm, prompt = self._lm
        expected = background_fingerprint(lm.fingerprint, prompt)
        if expected != self.fingerprint:
            raise HeadError(
                f"The head was fitted with the background {self.fingerprint!r}, and this version of toolken reads "
                f"{expected!r}: fit the head again, or copy the background's file into the cache folder."
            )

        def started(count: int) -> Callable[[int], None]:
            _log.warning("Reading %d background texts with %s, once for this LM (about a minute).", count, lm.name)
            return lambda _: None

        return background(lm, prompt, started=started)

    def __deepcopy__(self, memo: dict[int, Any]) -> "BackgroundMoments":
        return self  # nothing of it changes, and an LM in it must not be copied

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickled, (self.fingerprint, self._moments if self.own else None, self.own)


def _unpickled(fingerprint: str, moments: tuple[torch.Tensor, torch.Tensor] | None, own: bool) -> BackgroundMoments:
    return BackgroundMoments.shared(fingerprint, moments, own=own)
