"""`Row`: one measured figure with its interval, and how rows are written and read."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from toolken.errors import DataFormatError
from toolken.training.atomic_file import replace_file

#: Resamples of the test questions behind an interval.
RESAMPLES, RESAMPLES_AT_ONCE = 2000, 100


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
        Time to fit once the hidden states are there, which are shared by all methods; the mean over seeds. End to end,
        the time to answer all questions.
    mode
        Whether tools are chosen at given positions, or questions answered end to end.
    settings
        What was chosen on dev questions, or is fixed.
    p_value
        Of the paired test against the row's `beside`: two-sided, exact (McNemar 1947).
    beside
        The method that this one was compared with on the same questions.
    command
        The command line that measured it.
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
    mode: Literal["selection", "end-to-end"] = "selection"
    settings: dict[str, Any] = Field(default_factory=dict)
    p_value: float | None = None
    beside: str | None = None
    command: str = ""


def bootstrap_interval(
    counts: torch.Tensor, statistic: Callable[[torch.Tensor], torch.Tensor], seed: int = 0
) -> tuple[float, float]:
    """Return the 95 % percentile interval of a statistic over resampled questions (Efron 1979).

    Parameters
    ----------
    counts
        What the statistic is computed from, `(seeds, n, c)`: c numbers for each of n questions under each draw of the
        training examples. A resample takes the same questions under every draw.
    statistic
        From `(..., n, c)` to `(...)`; averaged over the seeds.
    """
    generator = torch.Generator().manual_seed(seed)
    size = counts.shape[1]
    values = []
    for _ in range(RESAMPLES // RESAMPLES_AT_ONCE):
        picks = torch.randint(size, (RESAMPLES_AT_ONCE, size), generator=generator)
        values.append(torch.stack([statistic(one[picks]) for one in counts]).double().mean(0))
    low, high = torch.quantile(torch.cat(values), torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return low, high


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write rows as a JSON list, in one step.

    Raises
    ------
    DataFormatError
        If the file cannot be written.
    """
    text = json.dumps([row.model_dump(exclude_defaults=True) for row in rows], indent=1) + "\n"
    try:
        replace_file(path, text.encode())
    except OSError as error:
        raise DataFormatError(f"The rows cannot be written to {str(path)!r}: {error}.") from error


_ROWS = TypeAdapter(list[Row])


def read_rows(paths: Iterable[Path]) -> list[Row]:
    """Read rows that `write_rows` wrote.

    Raises
    ------
    DataFormatError
        If a file is missing or holds anything else.
    """
    rows = []
    for path in paths:
        try:
            rows += _ROWS.validate_json(path.read_bytes())
        except OSError as error:
            raise DataFormatError(f"There is no {str(path)!r}: give a file that `toolken bench` wrote.") from error
        except ValueError as error:
            reason = str(error).split("\n")[0]
            raise DataFormatError(f"{str(path)!r} holds no rows of `toolken bench`: {reason}.") from error
    return rows
