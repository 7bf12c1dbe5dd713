"""How long a new process takes until an LM is ready: processor and wall-clock seconds, stage by stage."""

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

#: What a new process does, and the stages it reports; the wall clock is read by whoever started it.
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
    """How far one new process had come, counted from its beginning.

    `processor` are the seconds of all its threads in user and system mode, `wall` those that passed.
    """

    name: str
    processor: float
    wall: float


def measure(lm: str | Path | None = None, *, runs: int = 5) -> list[list[Stage]]:
    """Start new processes one after another that load an LM and read a first text.

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
    """Return a table of the least and the median seconds from the beginning to the end of each stage."""
    table = Table(title=f"Seconds from a new process to the end of a stage, {len(starts)} starts")
    table.add_column("until")
    for column in ("processor, least", "processor, median", "wall, least", "wall, median"):
        table.add_column(column, justify="right")
    for stages in zip(*starts, strict=True):
        processor, wall = [one.processor for one in stages], [one.wall for one in stages]
        figures = (min(processor), median(processor), min(wall), median(wall))
        table.add_row(stages[0].name, *(f"{figure:.2f}" for figure in figures))
    return table


def _start(arguments: list[str]) -> list[Stage]:
    stages = []
    with tempfile.TemporaryFile("w+") as errors:
        begun = time.perf_counter()
        with subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *arguments], stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process:
            for line in process.stdout or ():
                wall = time.perf_counter() - begun
                name, processor = json.loads(line)
                stages.append(Stage(name, processor, wall))
        errors.seek(0)
        said = errors.read().strip().split("\n")[-1]
    if process.returncode:
        name, _, sentence = said.partition(": ")
        raise LMNotFoundError(sentence if name.endswith(LMNotFoundError.__name__) else f"A start ended with: {said}")
    return stages
