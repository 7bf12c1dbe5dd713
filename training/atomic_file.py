"""Writing a file so that a kill at any moment leaves the old one or the new one."""

import os
import uuid
from pathlib import Path


def replace_file(path: Path, content: bytes) -> None:
    """Write a file in one step: beside its place first, flushed to the disk, then renamed."""
    partial = path.parent / f".{path.name}-{uuid.uuid4().hex}"
    try:
        with partial.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
