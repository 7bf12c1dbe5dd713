"""The `toolken` command."""

import sys

from toolken.cli import chat, heads, measurements, operations, pretrain  # noqa: F401
from toolken.cli.application import app, err, plain, replace_unencodable
from toolken.errors import ToolkenError

# The help lists commands in the order of these imports; the data sets come last.
# isort: split
from toolken.cli import data_sets, function_calling  # noqa: F401

__all__ = ["app", "main"]


def main() -> None:
    """Run the command; a `ToolkenError` or a file error becomes one sentence on stderr and exit code 2."""
    replace_unencodable(sys.stdout, sys.stderr)
    try:
        app(prog_name="toolken")
    except ToolkenError as error:
        _fail(str(error))
    except OSError as error:
        if error.filename is None:
            raise  # not about a file
        _fail(_file_error(error))
    except KeyboardInterrupt:
        err.print("Interrupted.")
        sys.exit(130)


def _fail(message: str) -> None:
    err.print(f"[bold red]Error:[/] {plain(message)}", soft_wrap=True, highlight=False)
    sys.exit(2)


def _file_error(error: OSError) -> str:
    """Return a sentence about a file that cannot be read or written."""
    from toolken.cli.outputs import cache_error, in_cache

    if in_cache(error.filename):
        return cache_error(error.strerror or type(error).__name__)
    return f"{str(error.filename)!r} cannot be read or written ({error.strerror}): check the path and its permissions."
