"""`toolken bench`: speed, memory, backends, single calls, exported checkpoints and reports."""

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toolken.cli.application import BackendOption, LmOption, backend_of, bench, command_line, err, out
from toolken.cli.outputs import check_cache, check_checkpoint, check_outputs
from toolken.errors import ToolkenError

if TYPE_CHECKING:
    from rich.table import Table


@bench.command()
def knowledge(
    facts: Annotated[int, typer.Option(min=1000, help="Facts to load.")] = 1_000_000,
    lookups: Annotated[int, typer.Option(min=10, help="Lookups to time.")] = 2_000,
) -> None:
    """Measure the knowledge base on SQLite: loading, lookups with and without the index, memory."""
    from toolken.benchmarks.measurements.knowledge import measure

    measure(facts=facts, lookups=lookups)


@bench.command()
def speed(
    data: Annotated[Path, typer.Option(help="Folder with the data of the set, or the parent folder of several sets.")],
    name: Annotated[str, typer.Option("--set", help="kamel or gsm8k-xl.")] = "kamel",
    examples: Annotated[int, typer.Option(min=1, help="Training examples.")] = 1170,
    lm: LmOption = None,
) -> None:
    """Compare time and memory of a fit with the forward pass alone and a published trainer, in one run."""
    check_cache()
    import random

    from rich.table import Table

    from toolken.benchmarks.measurements.fit_speed import measure
    from toolken.benchmarks.selection.comparisons import comparisons
    from toolken.benchmarks.sets.registry import folder_of, read_dataset
    from toolken.training.lm import FrozenLM

    dataset = read_dataset(name, folder_of(name, data))
    *_, comparison = (one for one in comparisons(dataset) if one.split in ("supervised", "dev"))
    chosen = random.Random(0).sample(comparison.train, min(examples, len(comparison.train)))
    table = Table(title=f"Cost of a fit, {name}")
    for heading in ("what", "value", "unit", "times the fit"):
        table.add_column(heading)
    with err.status(f"Fitting {len(chosen)} examples several times, for some minutes"):
        for line in measure(FrozenLM.from_pretrained(lm), name, comparison, chosen):
            table.add_row(line.what, f"{line.value:.3f}", line.unit, f"{line.ratio:.4f}")
            err.print(f"[dim]{line.what}: {line.value:.3f} {line.unit}[/]")
    out.print(table)


@bench.command()
def start(
    runs: Annotated[int, typer.Option(min=1, help="Number of processes to start.")] = 5,
    lm: LmOption = None,
) -> None:
    """Measure the time from the start of a process until the LM is ready."""
    from toolken.benchmarks.measurements.startup import measure, start_table

    out.print(start_table(measure(lm, runs=runs)))


@bench.command()
def agent(lm: LmOption = None, backend: BackendOption = "transformers") -> None:
    """Measure the decoder: against transformers' generate, with prefix reuse, in batches, with many tools."""
    check_cache()
    from toolken.benchmarks.measurements.speed import measure
    from toolken.training.lm import FrozenLM

    measure(FrozenLM.from_pretrained(lm, backend=backend_of(backend)), out)


@bench.command()
def scale(
    data: Annotated[Path, typer.Option(help="Folder with the data of VirtualHome, or its parent folder.")],
    tools: Annotated[int, typer.Option(min=1000, help="Tools of the head.")] = 100_000,
    read: Annotated[
        int, typer.Option(min=8, help="Descriptions that the LM reads for the measurement of its speed.")
    ] = 128,
    lm: LmOption = None,
) -> None:
    """Measure 100,000 tools: reading, fitting, saving, deciding, subsets, memory, as ratios in one run."""
    check_cache()
    from rich.table import Table

    from toolken.benchmarks.measurements.scale import measure
    from toolken.benchmarks.sets.registry import folder_of
    from toolken.benchmarks.sets.virtualhome import action_names
    from toolken.cli.display import progress_bar
    from toolken.training.lm import FrozenLM

    names = action_names(folder_of("virtualhome", data))
    table = Table(title=f"{tools} tools")
    for heading in ("what", "value", "unit", "ratio", "to"):
        table.add_column(heading, justify="right" if heading in ("value", "ratio") else "left")
    with progress_bar(err) as progress:
        for line in measure(FrozenLM.from_pretrained(lm), names, tools=tools, read=read, progress=progress):
            table.add_row(line.what, f"{line.value:.4g}", line.unit, f"{line.ratio:.4g}", line.beside)
    out.print(table)


@bench.command()
def backends(
    data: Annotated[Path, typer.Option(help="Folder with the data of KAMEL, or its parent folder.")],
    examples: Annotated[int, typer.Option(min=1, help="Training examples of each tool.")] = 5,
    lm: LmOption = None,
) -> None:
    """Compare transformers and llama.cpp: hidden states, and the tools that one head chooses on both."""
    check_cache()
    from toolken.benchmarks.measurements.backends import agreement
    from toolken.benchmarks.sets.registry import folder_of, read_dataset
    from toolken.cli.display import progress_bar
    from toolken.training.lm import FrozenLM

    with progress_bar(err) as progress:
        other = FrozenLM.from_pretrained(lm, backend="llama.cpp")
        found = agreement(
            FrozenLM.from_pretrained(lm),
            other,
            read_dataset("kamel", folder_of("kamel", data)),
            examples_per_tool=examples,
            progress=progress,
        )
        lines = [(one.what, one.value, one.low, one.high, one.n) for one in found]
    out.print(_shares("transformers and llama.cpp", lines))


@bench.command()
def calls(
    data: Annotated[Path, typer.Option(help="Folder with the data of the set, or the parent folder of several sets.")],
    name: Annotated[str, typer.Option("--set", help="kamel, funcqa or metatool.")] = "kamel",
    no_tool: Annotated[Path | None, typer.Option(help="metatool: JSON lines with questions that need no tool.")] = None,
    split: Annotated[str, typer.Option(help="test or dev.")] = "test",
    limit: Annotated[
        int | None, typer.Option(min=1, help="Number of questions, counted from the first; default: all.")
    ] = None,
    lm: LmOption = None,
    backend: BackendOption = "transformers",
) -> None:
    """Measure single calls: exact subjects (kamel), valid arguments (funcqa), call or no call (metatool)."""
    check_cache()
    from toolken.benchmarks.end_to_end import calls
    from toolken.benchmarks.sets.registry import folder_of
    from toolken.cli.display import progress_bar
    from toolken.training.lm import FrozenLM

    if name not in ("kamel", "funcqa", "metatool"):
        raise ToolkenError(f"{name!r} has no measurement of single calls: use kamel, funcqa or metatool.")
    if name == "metatool" and no_tool is None:
        raise ToolkenError("The set metatool needs --no-tool: a file with questions that need no tool.")
    data = folder_of(name, data)
    with progress_bar(err) as progress:
        loaded = FrozenLM.from_pretrained(lm, backend=backend_of(backend))
        if name == "kamel":
            found = calls.copied_subjects(loaded, data, split=split, limit=limit, progress=progress)
        elif name == "funcqa":
            found = calls.valid_arithmetic(loaded, data, progress=progress)
        else:
            assert no_tool is not None
            found = calls.call_or_no_call(loaded, data, no_tool, split=split, limit=limit, progress=progress)
        lines = [(one.what, one.value, one.low, one.high, one.n) for one in found]
    out.print(_shares(f"{name}, {split}: calls", lines))


@bench.command()
def export(
    data: Annotated[Path, typer.Option(help="Folder with the data of KAMEL and GSM8K-XL.")],
    names: Annotated[list[str] | None, typer.Option("--set", help="kamel or gsm8k-xl; may be repeated.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Number of dev examples of each set, counted from the last.")] = 300,
    examples: Annotated[
        int, typer.Option(min=1, help="Training examples: per tool (kamel), or in tenths of all (gsm8k-xl).")
    ] = 5,
    out_folder: Annotated[Path | None, typer.Option("--out", help="Folder to keep the checkpoints in.")] = None,
    lm: LmOption = None,
) -> None:
    """Compare an exported checkpoint with the decoder: equal next tokens by kind of step, and the cost of export."""
    check_cache()
    from toolken.benchmarks.measurements.export import SETS, measure
    from toolken.cli.display import progress_bar
    from toolken.training.lm import FrozenLM

    for name in names or SETS:
        if name not in SETS:
            raise ToolkenError(f"There is no dev set {name!r} to compare on: use {' or '.join(SETS)}.")
        if out_folder is not None:
            check_checkpoint(out_folder / name)
    for name in names or SETS:
        with progress_bar(err) as progress:
            loaded = FrozenLM.from_pretrained(lm)
            found = measure(loaded, name, data, limit=limit, examples=examples, keep=out_folder, progress=progress)
            lines = [(one.what, one.value, one.low, one.high, one.n) for one in found.shares]
        out.print(_shares(f"{name}, dev: the next token of decoder and checkpoint", lines, "steps"))
        for line in found.notes:
            out.print(line, highlight=False)


def _shares(title: str, lines: Sequence[tuple[str, float, float, float, int]], counted: str = "questions") -> "Table":
    """Return a table of shares with their 95 % bootstrap intervals."""
    from rich.table import Table

    table = Table(title=title)
    for heading in ("what", "share", "95 % interval", counted):
        table.add_column(heading)
    for what, value, low, high, count in lines:
        table.add_row(what, f"{value:.4f}", f"{low:.4f} to {high:.4f}", str(count))
    return table


@bench.command()
def report(
    files: Annotated[list[Path], typer.Argument(help="Files that other `bench` commands wrote with --json.")],
    out_file: Annotated[Path | None, typer.Option("--out", help="Markdown file to write; default: print it.")] = None,
    plot: Annotated[
        Path | None, typer.Option(help="File name of the plots, written as PNG and SVG and shown on the page.")
    ] = None,
) -> None:
    """Write Markdown tables of measured rows, with the commands that measured them."""
    from toolken.benchmarks.end_to_end.plots import draw_end_to_end
    from toolken.benchmarks.end_to_end.report import page as end_to_end_page
    from toolken.benchmarks.function_calling.plots import draw_calls
    from toolken.benchmarks.function_calling.report import page as function_calling_page
    from toolken.benchmarks.selection.plots import draw_rows
    from toolken.benchmarks.selection.report import page
    from toolken.benchmarks.selection.rows import Row, read_rows
    from toolken.errors import DataFormatError
    from toolken.training.head.atomic_file import replace_file

    found = read_rows(files)
    modes = {row.mode for row in found}
    if plot is not None and len(modes) > 1:
        raise DataFormatError("The rows are of several modes: write one page per mode, or omit --plot.")
    check_outputs(file=out_file, picture=plot, benchmarks=list(dict.fromkeys(row.benchmark for row in found)))
    pictures = ""
    if plot is not None:
        draw_by_mode = {"selection": draw_rows, "end-to-end": draw_end_to_end, "function-calling": draw_calls}
        (mode,) = modes
        pictures = _pictures(draw_by_mode[mode](found, plot), out_file)
    pages_by_mode: dict[str, Callable[[Sequence[Row], str], str]] = {
        "selection": page,
        "end-to-end": end_to_end_page,
        "function-calling": partial(function_calling_page, pictures=pictures),
    }
    pages = [
        write([row for row in found if row.mode == mode], command_line())
        for mode, write in pages_by_mode.items()
        if mode in modes
    ]
    if modes != {"function-calling"}:
        pages.append(pictures)
    text = "\n".join(filter(None, pages))
    if out_file is None:
        out.print(text, markup=False, highlight=False, soft_wrap=True)
        return
    try:
        replace_file(out_file, text.encode())
    except OSError as error:
        raise DataFormatError(f"The report cannot be written to {str(out_file)!r}: {error}.") from error


def _pictures(files: Sequence[Path], page: Path | None) -> str:
    """Return Markdown that shows pictures, with paths relative to the page."""
    folder = page.parent if page is not None else Path()
    links = {file.stem: os.path.relpath(file, folder) for file in files if file.suffix == ".png"}
    return "\n\n".join(["## Pictures", *(f"![{name}]({Path(link).as_posix()})" for name, link in links.items())]) + "\n"
