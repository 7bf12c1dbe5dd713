"""Progress reports: the `Progress` type, and bars on a terminal or in a notebook."""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from rich.console import Console

#: Called with a label and a number of steps before some work begins; returns a function that is called with the number
#: of steps done since its last call.
Progress: TypeAlias = Callable[[str, int], Callable[[int], None]]

_log = logging.getLogger("toolken")


@contextmanager
def progress_bar(console: "Console") -> Iterator[Progress]:
    """Show progress bars on a console while the block runs.

    Yields
    ------
    progress
        Begins a bar; the screen stays untouched until there is one.
    """
    from rich import progress as rich_progress

    bars = rich_progress.Progress(
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(),
        rich_progress.MofNCompleteColumn(),
        rich_progress.TimeElapsedColumn(),
        rich_progress.TextColumn("left"),
        rich_progress.TimeRemainingColumn(),
        console=console,
    )

    def begin(label: str, total: int) -> Callable[[int], None]:
        if not total:
            return lambda _: None
        bars.start()
        task = bars.add_task(label, total=total)
        return lambda done: bars.advance(task, done)

    try:
        yield begin
    finally:
        if bars.tasks:
            bars.stop()


@contextmanager
def default_progress() -> Iterator[Progress]:
    """Report progress where the caller named no way to do so: bars for a human reader, a log record for others.

    Yields
    ------
    progress
        Shows bars if standard error is a terminal or the program is a notebook; else writes each label to the logger
        `toolken` at the level INFO.
    """
    if not shows_bars():
        yield log_progress
        return
    from rich.console import Console

    with progress_bar(Console(stderr=True)) as progress:
        yield progress


def log_progress(label: str, total: int) -> Callable[[int], None]:
    """Begin some work without a bar: log its label and its number of steps."""
    _log.info("%s: %d steps", label, total)
    return lambda _: None


def announce(message: str) -> None:
    """Say in one line what takes a while and has no steps to count."""
    if shows_bars():
        from rich.console import Console

        Console(stderr=True).print(message, style="dim", markup=False, highlight=False)
    else:
        _log.info("%s", message)


def shows_bars() -> bool:
    """Return whether standard error is a terminal, or the program runs in a notebook."""
    return in_notebook() or bool(getattr(sys.stderr, "isatty", lambda: False)())


def in_notebook() -> bool:
    """Return whether the program runs in a Jupyter kernel."""
    shell = sys.modules.get("IPython")
    running = shell.get_ipython() if shell is not None and hasattr(shell, "get_ipython") else None
    return type(running).__name__ == "ZMQInteractiveShell"
