"""Progress bars of transformers, turned off: the project reports the progress of loads and conversions itself."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def without_progress_bars() -> Iterator[None]:
    """Turn off transformers' progress bars inside the block."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


@contextmanager
def without_gguf_progress_bars() -> Iterator[None]:
    """Turn off transformers' progress bars inside the block, that of its reader of GGUF files included."""
    from transformers import modeling_gguf_pytorch_utils

    # The reader makes its bars with tqdm directly, which no setting of transformers reaches.
    reader: Any = modeling_gguf_pytorch_utils
    bar = reader.tqdm

    def silent(*arguments: Any, **options: Any) -> Any:
        return bar(*arguments, **options | {"disable": True})

    reader.tqdm = silent
    try:
        with without_progress_bars():
            yield
    finally:
        reader.tqdm = bar
