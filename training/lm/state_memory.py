"""`StateMemory`: an LM with a cache for the hidden states of short texts, such as tool descriptions."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from toolken.training.lm.frozen import FrozenLM
from toolken.training.lm.states import States

#: Number of cached texts: about forty megabytes at a hidden size of 576.
REMEMBERED = 16384

_Key = tuple[tuple[int, ...], tuple[int, ...]]


class StateMemory:
    """A `FrozenLM` whose `hidden_states` are cached in memory, on the LM's device; everything else is the LM's own."""

    def __init__(self, lm: FrozenLM) -> None:
        self._lm = lm
        self._states: OrderedDict[_Key, States] = OrderedDict()
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lm, name)

    def hidden_states(
        self,
        sequences: Sequence[Sequence[int]],
        positions: Sequence[Sequence[int]],
        *,
        advance: Callable[[int], None] | None = None,
    ) -> Iterator[tuple[int, States]]:
        """Yield what `FrozenLM.hidden_states` yields; only texts that are not cached go through the LM."""
        keys: list[_Key] = [(tuple(s), tuple(p)) for s, p in zip(sequences, positions, strict=True)]
        with self._lock:
            known = {index: self._states[key] for index, key in enumerate(keys) if key in self._states}
            for index in known:
                self._states.move_to_end(keys[index])
        yield from known.items()
        if advance is not None and known:
            advance(len(known))
        new = [index for index in range(len(keys)) if index not in known]
        asked = ([sequences[i] for i in new], [positions[i] for i in new])
        for at, states in self._lm.hidden_states(*asked, advance=advance) if new else ():
            with self._lock:
                self._states[keys[new[at]]] = states
                while len(self._states) > REMEMBERED:
                    self._states.popitem(last=False)
            yield new[at], states
