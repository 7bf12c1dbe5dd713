"""`collector_paused`: no garbage collection while many long-lived objects are made."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Iterator[None]:
    """Turn the garbage collector off inside the block.

    Importing torch and transformers makes several hundred thousand objects, none of them garbage, which the collector
    would traverse repeatedly.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
