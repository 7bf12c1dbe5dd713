"""Writing a file so that a kill at any moment leaves the old one or the new one."""

import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

#: Seconds after which half a file is what a killed process left behind, and not what another one is writing.
ABANDONED = 3600.0


def replace_file(path: Path, content: bytes) -> None:
    """Write a file in one step: beside its place first, flushed to the disk, then renamed."""
    with partial_file(path.parent, path.name) as partial:
        partial.write_bytes(content)
        put_in_place(partial, path)


@contextmanager
def partial_file(folder: Path, name: str) -> Iterator[Path]:
    """Yield a path in a folder to write a file at, for `put_in_place`; what is not put in place by then is removed."""
    partial = folder / f".{name}-{uuid.uuid4().hex}"
    try:
        yield partial
    finally:
        partial.unlink(missing_ok=True)


def put_in_place(partial: Path, path: Path) -> None:
    """Flush a file to the disk and rename it to its place in the same folder, in one step."""
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(path)


def remove_abandoned(folder: Path, name: str) -> None:
    """Remove the halves of files that killed processes left beside a place; `name` is the files' beginning."""
    # Tensors are written by safetensors, which puts a temporary file of its own beside the one it was asked for.
    for partial in (*folder.glob(f".{name}*-{'[0-9a-f]' * 32}"), *folder.glob(".tmp??????")):
        with suppress(OSError):
            if time.time() - partial.stat().st_mtime > ABANDONED:
                partial.unlink()
