"""`Row`: one measured figure with its interval, and files of rows."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from toolken.errors import DataFormatError
from toolken.training.head.atomic_file import replace_file

#: Bootstrap resamples of the test questions per interval, and per batch.
RESAMPLES, RESAMPLES_AT_ONCE = 2000, 100


class Row(BaseModel):
    """One figure of a benchmark.

    Attributes
    ----------
    benchmark, split, method, metric
        What was measured, on which data, and with which method.
    tools
        Number of tools to choose among.
    examples_per_tool
        Training examples per tool; None for all.
    seed
        Seed of the sample of examples; None for the mean over seeds.
    value, low, high
        The figure and its 95 % bootstrap interval over the test questions.
    n
        Number of test questions.
    seconds
        Time to fit from cached hidden states, which all methods share, averaged over seeds. End to end, the time to
        answer all questions.
    mode
        Whether tools are selected at given positions, questions answered end to end, or calls of any tools measured.
    settings
        Settings chosen on dev questions, or fixed.
    p_value
        Two-sided p-value of the exact paired test against `beside` (McNemar 1947).
    beside
        The method that `p_value` compares with on the same questions.
    command
        Command line that measured the figure.
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
    mode: Literal["selection", "end-to-end", "function-calling"] = "selection"
    settings: dict[str, Any] = Field(default_factory=dict)
    p_value: float | None = None
    beside: str | None = None
    command: str = ""


def bootstrap_interval(
    counts: torch.Tensor,
    statistic: Callable[[torch.Tensor], torch.Tensor],
    seed: int = 0,
    *,
    around: float | None = None,
) -> tuple[float, float]:
    """Return the 95 % percentile interval of a statistic over resampled questions (Efron 1979).

    Parameters
    ----------
    counts
        Input of the statistic, `(seeds, n, c)`: c numbers per question and sample of the training examples. A
        resample takes the same questions for every seed.
    statistic
        Maps `(..., n, c)` to `(...)`; averaged over the seeds.
    around
        The figure, for a statistic between 0 and 1 with an upward bootstrap bias. A calibration error sums absolute
        differences per bin, which resampling inflates, so that percentiles lie above the figure; a small figure lies
        below all of them. Both bounds are shifted by the difference between the figure and the mean of the resamples,
        and clamped to [0, 1]. By default the bounds are not shifted.
    """
    generator = torch.Generator().manual_seed(seed)
    size = counts.shape[1]
    values = []
    for _ in range(RESAMPLES // RESAMPLES_AT_ONCE):
        picks = torch.randint(size, (RESAMPLES_AT_ONCE, size), generator=generator)
        values.append(torch.stack([statistic(one[picks]) for one in counts]).double().mean(0))
    resampled = torch.cat(values)
    low, high = torch.quantile(resampled, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    if around is None:
        return low, high
    shift = around - float(resampled.mean())
    # If all resamples are equal, rounding must not put a bound on the wrong side of the figure.
    return max(0.0, min(low + shift, around)), min(1.0, max(high + shift, around))


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write rows as a JSON list, atomically.

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
        If a file is missing or contains anything else, or if two files have different figures for one table cell, for
        example from different LMs or numbers of questions.
    """
    rows: list[Row] = []
    cells: dict[tuple[object, ...], tuple[Row, Path]] = {}
    for path in paths:
        try:
            read = _ROWS.validate_json(path.read_bytes())
        except OSError as error:
            raise DataFormatError(f"There is no {str(path)!r}: give a file that `toolken bench` wrote.") from error
        except ValueError as error:
            reason = str(error).split("\n")[0]
            raise DataFormatError(f"{str(path)!r} holds no rows of `toolken bench`: {reason}.") from error
        for row in read:
            # On dev questions each candidate setting has a row, and records may have their own tools or as many.
            tried = str(row.settings) if row.split.startswith("dev: ") or row.mode == "function-calling" else ""
            test = (row.mode, row.benchmark, row.split, row.tools)
            key = (*test, row.method, row.examples_per_tool, row.seed, row.metric, tried)
            other, where = cells.setdefault(key, (row, path))
            if where != path and (other.value, other.n) != (row.value, row.n):
                raise DataFormatError(
                    f"{str(where)!r} and {str(path)!r} have different figures for {row.metric} of {row.method} on "
                    f"{row.benchmark}, {row.split}: give files of one LM and of the same questions."
                )
        rows += read
    return rows
