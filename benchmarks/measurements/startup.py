"""Time of a new process until an LM is ready, in processor and wall-clock seconds per stage."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from rich.table import Table

from toolken.errors import LMNotFoundError
from toolken.training.lm.embedded import EMBEDDED, embedded_folder

#: Program of the new process; it reports its stages, and the parent process reads the wall clock.
PROGRAM = """
import json, sys, time

def report(stage):
    print(json.dumps([stage, time.process_time()]), flush=True)

from toolken.training.lm import FrozenLM
report("import")
lm = FrozenLM.from_pretrained(*sys.argv[1:])
report("load")
lm.start().feed(lm.encode("The capital of France is").ids)
report("first text")
"""


@dataclass(frozen=True)
class Stage:
    """Seconds from the start of a process to the end of a stage.

    `processor` counts user and system time of all threads, `wall` elapsed time.
    """

    name: str
    processor: float
    wall: float


def measure(lm: str | Path | None = None, *, runs: int = 5) -> list[list[Stage]]:
    """Start new processes, one after another, that load an LM and prefill a first text.

    Parameters
    ----------
    lm
        Folder, GGUF file or hub id; by default the embedded LM, which is converted before the clock starts.
    runs
        Number of processes.

    Returns
    -------
    starts
        The stages of each process: import, load, first text.

    Raises
    ------
    LMNotFoundError
        If the LM cannot be loaded.
    """
    if lm is None or str(lm) == EMBEDDED:
        embedded_folder()
    return [_start([] if lm is None else [str(lm)]) for _ in range(runs)]


def start_table(starts: Sequence[Sequence[Stage]]) -> Table:
    """Return a table of the minimum and median seconds until the end of each stage."""
    table = Table(title=f"Seconds from a new process to the end of a stage, {len(starts)} starts")
    table.add_column("until")
    for column in ("processor, minimum", "processor, median", "wall, minimum", "wall, median"):
        table.add_column(column, justify="right")
    for stages in zip(*starts, strict=True):
        processor, wall = [one.processor for one in stages], [one.wall for one in stages]
        figures = (min(processor), median(processor), min(wall), median(wall))
        table.add_row(stages[0].name, *(f"{figure:.2f}" for figure in figures))
    return table


def _start(arguments: list[str]) -> list[Stage]:
    stages = []
    with tempfile.TemporaryFile("w+") as errors:
        started = time.perf_counter()
        with subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *arguments], stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process:
            for line in process.stdout or ():
                wall = time.perf_counter() - started
                name, processor = json.loads(line)
                stages.append(Stage(name, processor, wall))
        errors.seek(0)
        last_line = errors.read().strip().split("\n")[-1]
    if process.returncode:
        name, _, sentence = last_line.partition(": ")
        raise LMNotFoundError(
            sentence if name.endswith(LMNotFoundError.__name__) else f"A new process failed: {last_line}"
        )
    return stages
