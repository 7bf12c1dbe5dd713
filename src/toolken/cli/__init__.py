"""The `toolken` command."""

import sys

from toolken.cli import heads, measurements, operations  # noqa: F401
from toolken.cli.application import app, err, plain
from toolken.errors import ToolkenError

# Commands stand in the help in the order in which they are imported, and the data sets come last.
# isort: split
from toolken.cli import data_sets  # noqa: F401

__all__ = ["app", "main"]


def main() -> None:
    """Run the command; a `ToolkenError` becomes one sentence on stderr and exit code 2."""
    try:
        app()
    except ToolkenError as error:
        err.print(f"[bold red]Error:[/] {plain(str(error))}", soft_wrap=True, highlight=False)
        sys.exit(2)
    except KeyboardInterrupt:
        err.print("Interrupted.")
        sys.exit(130)
