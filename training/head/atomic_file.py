"""Writing a file in one step: a kill at any moment leaves the old file or the new one."""

import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

#: Seconds after which a partial file counts as left over from a killed process, not as one that is being written.
ABANDONED = 3600.0


def replace_file(path: Path, content: bytes) -> None:
    """Write a file in one step: write it beside its place, flush it to the disk, then rename it."""
    with partial_file(path.parent, path.name) as partial:
        partial.write_bytes(content)
        put_in_place(partial, path)


@contextmanager
def partial_file(folder: Path, name: str) -> Iterator[Path]:
    """Yield a path in a folder to write a file at, for `put_in_place`; remove the file if it was not put in place."""
    partial = folder / f".{name}-{uuid.uuid4().hex}"
    try:
        yield partial
    finally:
        partial.unlink(missing_ok=True)


def put_in_place(partial: Path, path: Path) -> None:
    """Flush a file to the disk and rename it to its place in the same folder, with the mode of a new file.

    safetensors writes through a temporary file that only its owner may read (mode 600). A new file's mode is read from
    one, since the umask itself can only be read by changing it, which other threads would see.
    """
    with partial_file(path.parent, path.name) as fresh:
        fresh.touch()
        partial.chmod(fresh.stat().st_mode & 0o777)
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(path)


def remove_abandoned(folder: Path, name: str) -> None:
    """Remove partial files of killed processes; `name` is how the files' names begin."""
    # safetensors writes a temporary file next to its path.
    for partial in (*folder.glob(f".{name}*-{'[0-9a-f]' * 32}"), *folder.glob(".tmp??????")):
        with suppress(OSError):
            if time.time() - partial.stat().st_mtime > ABANDONED:
                partial.unlink()
