"""Frozen language models: hidden states, next-token logits and stepping, behind one interface."""

from toolken.training.lm.pytorch.collector import collector_paused

# The first import of torch is half of a start.
with collector_paused():
    from toolken.training.lm.frozen import Backend, Encoding, FrozenLM
    from toolken.training.lm.session import Batch, Session, State
    from toolken.training.lm.states import States

__all__ = ["Backend", "Batch", "Encoding", "FrozenLM", "Session", "State", "States"]
