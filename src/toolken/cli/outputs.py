"""`check_outputs`: what a command is to write is found impossible before the work, and not after it."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from toolken.errors import DataFormatError


def check_outputs(
    *,
    file: Path | None = None,
    picture: Path | None = None,
    folder: Path | None = None,
    benchmarks: Sequence[str] = (),
) -> None:
    """Make sure that a command can write what it is asked for; nothing is made or changed.

    Parameters
    ----------
    file
        A file, in a folder that is there.
    picture
        Name of the files of a picture; its ending is replaced.
    folder
        A folder, which the command makes where it is not there.
    benchmarks
        Names of the benchmarks that are drawn, where each has a picture of its own.

    Raises
    ------
    DataFormatError
        If one of these cannot be written, or matplotlib is not installed and there is a picture to draw.
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
        raise DataFormatError(f"{str(path)!r} cannot be written ({error.strerror}): name another one.") from error


def _check_file(path: Path) -> None:
    folder = path.parent
    if path.is_dir():
        raise DataFormatError(f"{str(path)!r} is a folder: name a file.")
    if not folder.exists():
        raise DataFormatError(f"There is no folder {str(folder)!r} for {str(path)!r}: make it first.")
    if not folder.is_dir():
        raise DataFormatError(f"{str(folder)!r} is a file and no folder for {str(path)!r}: name another file.")
    if path.exists() and not path.is_file():
        raise DataFormatError(f"{str(path)!r} is no regular file, which could be replaced: name another one.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise DataFormatError(f"The folder {str(folder)!r} of {str(path)!r} is write-protected: name a file elsewhere.")
    if path.exists() and not os.access(path, os.W_OK):
        raise DataFormatError(f"{str(path)!r} is write-protected: name another file.")


def _check_picture(path: Path, benchmarks: Sequence[str]) -> None:
    from toolken.benchmarks.selection.plots import figure_type, picture_files, picture_names

    if path.is_dir():
        raise DataFormatError(f"{str(path)!r} is a folder: name a file.")
    figure_type()
    for name in picture_names(path, benchmarks):
        for file in picture_files(name):
            _check_file(file)


def _check_folder(path: Path) -> None:
    whole = path.absolute()
    nearest = next(one for one in (whole, *whole.parents) if one.exists())
    if nearest == whole and not nearest.is_dir():
        raise DataFormatError(f"{str(path)!r} is a file: name a folder.")
    if not nearest.is_dir():
        raise DataFormatError(f"{str(nearest)!r} is a file and can hold no folder {str(path)!r}: name another folder.")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise DataFormatError(f"{str(nearest)!r} is write-protected, and {str(path)!r} with it: name another folder.")
