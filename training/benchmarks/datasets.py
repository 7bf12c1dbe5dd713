"""The published data sets by name: `read_dataset` reads any of them, from any folder in the same file formats."""

from pathlib import Path

from toolken.training.benchmarks.data_files import Dataset, Evaluation

__all__ = ["NAMES", "Dataset", "Evaluation", "read_dataset"]

NAMES = ("kamel", "stq", "metatool", "gsm8k-xl", "funcqa", "virtualhome")


def read_dataset(name: str, folder: str | Path, *, test_file: str | Path | None = None) -> Dataset:
    """Read a data set.

    Parameters
    ----------
    name
        One of `NAMES`.
    folder
        The folder with its files.
    test_file
        Read instead of the set's test and dev files, in the form of any of them.

    Returns
    -------
    Dataset
        With these tests: kamel one for each number of tools ("10", "20", "30", "234"); stq "dev"; metatool "test" and
        "multi-tool"; gsm8k-xl "dev" and "test"; funcqa "dev", "one-hop" and "multi-hop"; virtualhome "dev" and "test".

    Raises
    ------
    DataFormatError
        If the name is unknown, or a file is missing, broken or without one usable record; file and line are named.
    """
    raise NotImplementedError
