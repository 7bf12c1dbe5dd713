"""Frozen language models: hidden states, word logits and stepping, behind one interface."""

from toolken.training.lm.collector import collector_paused

# The first import of torch is half of a start.
with collector_paused():
    from toolken.training.lm.frozen import Encoding, FrozenLM, States
    from toolken.training.lm.session import Session

__all__ = ["Encoding", "FrozenLM", "Session", "States"]
