"""The batch of an LM's texts by its former name."""

from typing import Any

from toolken.training.lm.frozen import FrozenLM


def BatchSession(lm: FrozenLM) -> Any:  # noqa: N802
    """Begin a batch of an LM's texts."""
    return lm.start_batch()
