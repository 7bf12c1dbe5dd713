"""Pausing the garbage collector while a great many objects are made that stay."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Iterator[None]:
    """Keep the garbage collector from looking for garbage inside the block.

    Importing torch and transformers makes several hundred thousand objects, of which none is garbage; the collector
    would go through them again and again.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
