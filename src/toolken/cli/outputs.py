"""Checks, before a long run, that its outputs and the cache folder can be written."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from toolken.errors import OutputError


def check_outputs(
    *,
    file: Path | None = None,
    picture: Path | None = None,
    folder: Path | None = None,
    benchmarks: Sequence[str] = (),
) -> None:
    """Check that files and folders can be written, without creating or changing any.

    Parameters
    ----------
    file
        A file in an existing folder.
    picture
        Name of a picture; its suffix is replaced by that of each image format.
    folder
        A folder; the command creates it if it does not exist.
    benchmarks
        Names of the benchmarks, if each gets a separate picture.

    Raises
    ------
    OutputError
        If one of them cannot be written, or a picture is requested and matplotlib is not installed.
    """
    if file is not None:
        _check(file, _check_file)
    if picture is not None:
        _check(picture, lambda path: _check_picture(path, benchmarks))
    if folder is not None:
        _check(folder, _check_folder)


def _check(path: Path, check: Callable[[Path], None]) -> None:
    try:
        check(path)
    except OSError as error:
        raise OutputError(f"{str(path)!r} cannot be written ({error.strerror}): name another one.") from error


def _check_file(path: Path) -> None:
    folder = path.parent
    if path.is_dir():
        raise OutputError(f"{str(path)!r} is a folder: name a file.")
    if not folder.exists():
        raise OutputError(f"There is no folder {str(folder)!r} for {str(path)!r}: create it first.")
    if not folder.is_dir():
        raise OutputError(f"{str(folder)!r} is a file, not a folder for {str(path)!r}: name another file.")
    if path.exists() and not path.is_file():
        raise OutputError(f"{str(path)!r} is not a regular file: name another file.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"The folder {str(folder)!r} of {str(path)!r} is write-protected: name a file elsewhere.")
    if path.exists() and not os.access(path, os.W_OK):
        raise OutputError(f"{str(path)!r} is write-protected: name another file.")


def _check_picture(path: Path, benchmarks: Sequence[str]) -> None:
    from toolken.benchmarks.selection.plots import figure_type, picture_files, picture_names

    if path.is_dir():
        raise OutputError(f"{str(path)!r} is a folder: name a file.")
    figure_type()
    for name in picture_names(path, benchmarks):
        for file in picture_files(name):
            _check_file(file)


def _check_folder(path: Path) -> None:
    whole = path.absolute()
    nearest = next(one for one in (whole, *whole.parents) if one.exists())
    if nearest == whole and not nearest.is_dir():
        raise OutputError(f"{str(path)!r} is a file: name a folder.")
    if not nearest.is_dir():
        raise OutputError(f"{str(nearest)!r} is a file and cannot contain {str(path)!r}: name another folder.")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise OutputError(f"{str(nearest)!r} is write-protected, so {str(path)!r} cannot be written: name another.")


def check_cache() -> None:
    """Check that the cache folder can be written.

    Raises
    ------
    OutputError
        If it cannot.
    """
    from toolken.training.lm.embedded import cache_folder

    try:
        _check_folder(cache_folder())
    except OutputError as error:
        raise OutputError(cache_error(str(error).partition(":")[0])) from error
    except OSError as error:
        raise OutputError(cache_error(error.strerror or type(error).__name__)) from error


def in_cache(path: str | bytes | int) -> bool:
    """Return whether a path lies in the cache folder."""
    from toolken.training.lm.embedded import cache_folder

    return isinstance(path, str) and Path(path).absolute().is_relative_to(cache_folder().absolute())


def cache_error(reason: str) -> str:
    """Return the message for a cache folder that cannot be written."""
    from toolken.training.lm.embedded import cache_folder

    return (
        f"The cache folder {str(cache_folder())!r} cannot be written ({reason}): "
        "set the environment variable TOOLKEN_CACHE to a writable folder."
    )


def check_checkpoint(folder: Path) -> None:
    """Check that a checkpoint can be written to a folder.

    Raises
    ------
    OutputError
        If the folder cannot be written.
    ExportError
        If it has other files than those of an exported head.
    """
    from toolken.errors import ExportError
    from toolken.training.export.manifest import MANIFEST

    check_outputs(folder=folder)
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MANIFEST).is_file():
        raise ExportError(f"{str(folder)!r} has files that are not of an exported head: name another folder as --out.")
