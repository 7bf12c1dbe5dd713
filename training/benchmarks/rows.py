"""`Row`: one measured figure with its interval, and how rows are written and shown."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict
from rich.table import Table

from toolken.errors import DataFormatError
from toolken.training.atomic_file import replace_file

#: Resamples of the test questions behind an interval.
RESAMPLES = 2000


class Row(BaseModel):
    """One figure of a benchmark.

    Attributes
    ----------
    benchmark, split, method, metric
        What was measured, on what, and how.
    tools
        Number of tools to choose among.
    examples_per_tool
        Training examples of each tool; None for all there are.
    seed
        Of the choice of examples; None for the mean over seeds.
    value, low, high
        The figure and its 95 % bootstrap interval over the test questions.
    n
        Number of test questions.
    seconds
        Time to fit: the run of the LM over the training data and the closed form.
    """

    model_config = ConfigDict(frozen=True)

    benchmark: str
    split: str
    method: str
    tools: int
    examples_per_tool: int | None
    seed: int | None
    metric: str
    value: float
    low: float
    high: float
    n: int
    seconds: float


def bootstrap_interval(correct: torch.Tensor, seed: int = 0) -> tuple[float, float]:
    """Return the 95 % interval of the mean of `correct`, `(n,)` or `(seeds, n)`, over resampled questions."""
    per_question = correct.to(torch.float64).reshape(-1, correct.shape[-1]).mean(0)
    random = torch.Generator().manual_seed(seed)
    picks = torch.randint(len(per_question), (RESAMPLES, len(per_question)), generator=random)
    means = per_question[picks].mean(1)
    low, high = torch.quantile(means, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return low, high


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write rows as a JSON list, in one step.

    Raises
    ------
    DataFormatError
        If the file cannot be written.
    """
    text = json.dumps([row.model_dump() for row in rows], indent=1) + "\n"
    try:
        replace_file(path, text.encode())
    except OSError as error:
        raise DataFormatError(f"The rows cannot be written to {str(path)!r}: {error}.") from error


def rows_table(title: str, rows: Sequence[Row]) -> Table:
    """Return a table of the means over seeds."""
    table = Table(title=title)
    for heading in ("split", "method", "tools", "examples a tool", "metric"):
        table.add_column(heading)
    for heading in ("value", "95 % interval", "n", "seconds to fit"):
        table.add_column(heading, justify="right")
    for row in rows:
        if row.seed is None:
            table.add_row(
                row.split,
                row.method,
                str(row.tools),
                "all" if row.examples_per_tool is None else str(row.examples_per_tool),
                row.metric,
                f"{row.value:.3f}",
                f"{row.low:.3f} to {row.high:.3f}",
                str(row.n),
                f"{row.seconds:.1f}",
            )
    return table
