"""Published data sets by name: `read_dataset` reads any of them from any folder in the same file formats."""

from pathlib import Path
from typing import Protocol

from toolken.benchmarks.sets.dataset import Dataset, Evaluation, leave_out
from toolken.benchmarks.sets.funcqa import read_funcqa
from toolken.benchmarks.sets.gsm8k_xl import read_gsm8k_xl
from toolken.benchmarks.sets.kamel import read_kamel
from toolken.benchmarks.sets.metatool import read_metatool
from toolken.benchmarks.sets.simpletoolquestions import read_simpletoolquestions
from toolken.benchmarks.sets.virtualhome import read_virtualhome
from toolken.errors import DataFormatError

__all__ = ["NAMES", "Dataset", "Evaluation", "folder_of", "leave_out", "read_dataset"]


class _Reader(Protocol):
    def __call__(self, folder: str | Path, *, test_file: Path | None = None) -> Dataset: ...


_READERS: dict[str, _Reader] = {
    "kamel": read_kamel,
    "stq": read_simpletoolquestions,
    "metatool": read_metatool,
    "gsm8k-xl": read_gsm8k_xl,
    "funcqa": read_funcqa,
    "virtualhome": read_virtualhome,
}
NAMES = tuple(_READERS)
#: Folders whose names differ from the data set's.
_FOLDERS = {"stq": "simpletoolquestions"}


def folder_of(name: str, data: Path) -> Path:
    """Return the folder of a data set, given that folder or its parent."""
    inside = data / _FOLDERS.get(name, name)
    return inside if inside.is_dir() else data


def read_dataset(name: str, folder: str | Path, *, test_file: str | Path | None = None) -> Dataset:
    """Read a data set.

    Parameters
    ----------
    name
        One of `NAMES`.
    folder
        The folder with its files. Training, dev and test files may be missing; the data set reports which.
    test_file
        Replaces the data set's test and dev files; it has the form of one of them.

    Returns
    -------
    Dataset
        With these tests: kamel one per number of tools ("10", "20", "30", "234"); stq "dev"; metatool "test" and
        "multi-tool"; gsm8k-xl "dev" and "test"; funcqa "one-hop", "multi-hop" and "dev"; virtualhome "dev" and "test".
        A `test_file` becomes "test", except that kamel names it by the number of tools, and metatool ("test" or
        "multi-tool") and funcqa ("one-hop", "multi-hop" or "test") name it by its form.

    Raises
    ------
    DataFormatError
        If the name is unknown, a file is broken or has no usable record, or there is no test; the message names file
        and line.
    """
    if name not in _READERS:
        raise DataFormatError(f"There is no data set called {name!r}: choose one of {', '.join(NAMES)}.")
    if not Path(folder).is_dir():
        raise DataFormatError(f"There is no folder {str(folder)!r}: give the folder with the {name} data as --data.")
    return _READERS[name](folder, test_file=None if test_file is None else Path(test_file).absolute())
