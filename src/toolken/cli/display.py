"""Progress bars on the terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


@contextmanager
def progress_bar(console: Console) -> Iterator[Callable[[str, int], Callable[[int], None]]]:
    """Show progress bars while the block runs; the yielded function starts one with a label and a total."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    bars = Progress(*columns, console=console)

    def begin(label: str, total: int) -> Callable[[int], None]:
        if not total:
            return lambda _: None
        bars.start()  # at the first bar: work without progress prints nothing
        task = bars.add_task(label, total=total)
        return lambda done: bars.advance(task, done)

    try:
        yield begin
    finally:
        if bars.tasks:
            bars.stop()
