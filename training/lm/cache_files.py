"""Files in the cache folder, written where it is writable and left out, with one warning, where it is not."""

import warnings
from pathlib import Path

from toolken.training.head.atomic_file import replace_file

#: Folders that a warning has named.
_unwritable: set[Path] = set()


def save_to_cache(path: Path, content: bytes) -> bool:
    """Write a cache file in one step, and return whether that succeeded.

    A folder that cannot be written costs time and no result: it gets one warning per process.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, content)
    except OSError as error:
        if path.parent not in _unwritable:
            _unwritable.add(path.parent)
            warnings.warn(
                f"The cache folder {str(path.parent)!r} cannot be written ({error.strerror or error}), so its content "
                "is computed again in the next process: set TOOLKEN_CACHE to a writable folder with enough space.",
                stacklevel=3,
            )
        return False
    return True


def in_cache(path: Path) -> bool:
    """Return whether a cache file exists and its folder can be searched."""
    try:
        return path.is_file()
    except OSError:
        return False
