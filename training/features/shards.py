"""Shards: examples in JSON lines or Parquet, from files, folders or URLs, streamed in order."""

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from toolken.errors import BackendError, ExampleError
from toolken.training.examples import Example, by_name, check_calls, parse_example

if TYPE_CHECKING:
    from toolken.training.tool_spec import ToolSpec

#: Rows of a Parquet file per batch in memory.
ROWS = 1024
#: Prefixes of file names that are skipped, by the convention of Hadoop and Spark.
HIDDEN = (".", "_")


def read_shards(paths: Sequence[str], tools: "Iterable[str | ToolSpec]" = ()) -> Iterator[Example]:
    """Yield the examples of files in the given order; the files of a folder are sorted by name.

    Paths and URLs (`s3://`, `gs://`, `hdfs://`) are resolved by pyarrow, as in Ray. Files named `*.parquet` are read as
    Parquet, all others as JSON lines. The columns of a Parquet file are the keys of the JSON objects; `calls` is a list
    of structs, or a string of JSON.

    Parameters
    ----------
    paths
        The files, folders and URLs.
    tools
        The tools that the examples may call, as specs or names. If there are any, other calls are errors, and so are
        arguments that the schema of a spec refuses.

    Raises
    ------
    BackendError
        If pyarrow is not installed.
    ExampleError
        If a file cannot be read, or a line or row is malformed or has a wrong call; the message names it.
    """
    known = by_name(tools)
    for path in paths:
        for system, file in _files(path):
            with _readable(file):
                for where, example in _parquet(system, file) if file.endswith(".parquet") else _lines(system, file):
                    if known:
                        check_calls(example, known, where)
                    yield example


def count_examples(paths: Sequence[str]) -> int:
    """Return the number of lines and rows of files, including empty lines."""
    total = 0
    for path in paths:
        for system, file in _files(path):
            with _readable(file):
                if file.endswith(".parquet"):
                    with system.open_input_file(file) as opened:
                        total += _pyarrow().parquet.ParquetFile(opened).metadata.num_rows
                else:
                    with system.open_input_stream(file) as stream:
                        total += sum(block.count(b"\n") for block in iter(lambda: stream.read(2**20), b""))
    return total


def _lines(system: Any, file: str) -> Iterator[tuple[str, Example]]:
    with system.open_input_stream(file) as stream:
        for number, line in enumerate(io.TextIOWrapper(stream, encoding="utf-8-sig"), start=1):
            if line.strip():
                where = f"{file}, line {number}"
                yield where, parse_example(line, where)


def _parquet(system: Any, file: str) -> Iterator[tuple[str, Example]]:
    with system.open_input_file(file) as opened:
        number = 0
        for batch in _pyarrow().parquet.ParquetFile(opened).iter_batches(ROWS):
            for row in batch.to_pylist():
                number += 1
                where = f"{file}, row {number}"
                yield where, _from_row(row, where)


def _from_row(row: dict[str, Any], where: str) -> Example:
    """Convert a row to an example; Parquet fills the missing fields of a struct with None."""
    try:
        calls = row.get("calls")
        listed = json.loads(calls) if isinstance(calls, str) else [_present(call) for call in calls or ()]
        record = _present({"question": row.get("question"), "answer": row.get("answer")})
        return Example.model_validate(record | {"calls": listed})
    except (ValidationError, ValueError, TypeError, AttributeError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise ExampleError(f"{where} is not an example: {reason}; fix or remove it.") from error


def _present(record: dict[str, Any]) -> dict[str, Any]:
    found = {key: value for key, value in record.items() if value is not None}
    if isinstance(found.get("args"), dict):
        found["args"] = _present(found["args"])
    return found


def _files(path: str) -> list[tuple[Any, str]]:
    """Return the files at a path or URL, each with its file system."""
    filesystems = _pyarrow().fs
    with _readable(path):
        system, place = (
            filesystems.FileSystem.from_uri(path) if "://" in path else (filesystems.LocalFileSystem(), path)
        )
        kind = system.get_file_info(place).type
        if kind == filesystems.FileType.NotFound:
            raise ExampleError(f"The examples {path!r} cannot be read: there is no such file or folder.")
        if kind == filesystems.FileType.File:
            return [(system, place)]
        listed = system.get_file_info(filesystems.FileSelector(place, recursive=True))
        files = [one.path for one in listed if one.is_file and not one.base_name.startswith(HIDDEN)]
        return [(system, file) for file in sorted(files)]


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.fs
        import pyarrow.parquet
    except ImportError as error:
        raise BackendError("Shards need pyarrow, which is not installed: run `pip install toolken[ray]`.") from error
    return pyarrow


@contextmanager
def _readable(path: str) -> Iterator[None]:
    """Raise the errors of file systems and file formats as `ExampleError`."""
    try:
        yield
    except (OSError, ValueError, KeyError) as error:  # pyarrow's errors are subclasses of these
        reason = str(error).strip().split("\n")[0][:300]
        raise ExampleError(f"The examples {path!r} cannot be read: {reason}.") from error
