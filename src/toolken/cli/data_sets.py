"""`toolken bench NAME`: comparison of methods on published data sets."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toolken.cli.application import LmOption, bench, command_line, err, out, plain
from toolken.cli.outputs import check_cache, check_outputs
from toolken.errors import ToolkenError

if TYPE_CHECKING:
    from toolken.benchmarks.end_to_end.run import Options

#: Parameters that only the end-to-end mode has, with their options.
_END_TO_END = {"limit": "--limit", "sizes": "--tools", "splits": "--split", "traces": "--traces"}
#: Sets with a fixed number of examples end to end, and those without random choices.
_FIXED_EXAMPLES, _NOTHING_DRAWN = ("gsm8k-xl", "funcqa", "virtualhome"), ("virtualhome",)


def _selection(name: str) -> Callable[..., None]:
    """Return the command that compares methods on a data set."""

    def command(
        context: typer.Context,
        data: Annotated[
            Path, typer.Option(help="Folder with the data of the set, or the parent folder of several sets.")
        ],
        json_file: Annotated[Path | None, typer.Option("--json", help="File to write the rows to.")] = None,
        plot: Annotated[Path | None, typer.Option(help="File name of the plots, written as PNG and SVG.")] = None,
        test: Annotated[Path | None, typer.Option(help="Test file to use instead of the published one.")] = None,
        methods: Annotated[list[str] | None, typer.Option("--method", help="Method; may be repeated.")] = None,
        examples: Annotated[
            list[str] | None, typer.Option(help="Training examples per tool, or `all`; may be repeated.")
        ] = None,
        seeds: Annotated[
            int | None, typer.Option(min=1, help="Number of random choices of the examples; default: 5, end to end 1.")
        ] = None,
        lm: LmOption = None,
        mode: Annotated[
            str, typer.Option(help="selection, or end-to-end: from the question to the final answer.")
        ] = "selection",
        limit: Annotated[
            int, typer.Option(min=1, help="End to end: questions of each test, counted from the first.")
        ] = 200,
        sizes: Annotated[
            list[int] | None,
            typer.Option("--tools", help="End to end: tests with this number of tools; may be repeated."),
        ] = None,
        splits: Annotated[
            list[str] | None, typer.Option("--split", help="End to end: tests of this split; may be repeated.")
        ] = None,
        traces: Annotated[Path | None, typer.Option(help="End to end: folder for the trace files.")] = None,
    ) -> None:
        from toolken.benchmarks.sets.registry import folder_of

        data = folder_of(name, data)
        if mode == "end-to-end":
            if test is not None:
                raise ToolkenError("--test is for the selection mode: put the file into the --data folder instead.")
            if examples and name in _FIXED_EXAMPLES:
                raise ToolkenError(
                    f"--examples has no effect on {name} end to end, where their number is fixed: omit it."
                )
            if (seeds or 1) > 1 and name in _NOTHING_DRAWN:
                raise ToolkenError(f"--seeds has no effect on {name} end to end, where nothing is random: omit it.")
            from toolken.benchmarks.end_to_end.run import Options

            options = Options(
                methods=tuple(methods) if methods else None,
                limit=limit,
                seeds=seeds or 1,
                examples=tuple(_count(text) for text in examples) if examples else None,
                sizes=tuple(sizes) if sizes else None,
                splits=tuple(splits) if splits else None,
            )
            _end_to_end({name: data}, lm, options, traces, json_file, plot)
            return
        if mode != "selection":
            raise ToolkenError(f"There is no mode {mode!r}: use selection or end-to-end.")
        _refuse_end_to_end_options(context, name)
        check_outputs(file=json_file, picture=plot)
        check_cache()
        from toolken.benchmarks.selection.plots import draw_rows
        from toolken.benchmarks.selection.rows import write_rows
        from toolken.benchmarks.selection.run import SEEDS, run
        from toolken.benchmarks.selection.tables import rich_tables
        from toolken.benchmarks.sets.registry import read_dataset
        from toolken.cli.display import progress_bar
        from toolken.errors import HeadError
        from toolken.training.lm import FrozenLM
        from toolken.training.prior.teacher import SentenceEncoder

        typed = command_line()
        dataset = read_dataset(name, data, test_file=test)
        for line in dataset.report():
            err.print(line, highlight=False)
        try:
            encoder = SentenceEncoder()
        except HeadError as error:
            encoder = None
            err.print(f"Without the teacher and the retriever: {plain(str(error))}")
        with progress_bar(err) as progress:
            loaded = FrozenLM.from_pretrained(lm)
            found = run(
                loaded,
                dataset,
                methods=methods,
                examples_per_tool=[_count(text) for text in examples] if examples else None,
                seeds=seeds or SEEDS,
                encoder=encoder,
                progress=progress,
            )
            rows = []
            for row in found:
                rows.append(row.model_copy(update={"command": typed}))
                if json_file and row.seed is None:
                    write_rows(json_file, rows)
        for table in rich_tables(rows):
            out.print(table)
        if plot:
            draw_rows(rows, plot)

    command.__doc__ = f"Compare methods on {name}: which tool they choose at given positions, and when they call one."
    return command


@bench.command()
def end_to_end(
    data: Annotated[Path, typer.Option(help="Parent folder of the data of each set.")],
    json_file: Annotated[Path | None, typer.Option("--json", help="File to write the rows to.")] = None,
    plot: Annotated[Path | None, typer.Option(help="File name of the plots, written as PNG and SVG.")] = None,
    methods: Annotated[list[str] | None, typer.Option("--method", help="Method; may be repeated.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Number of random choices of the examples.")] = 1,
    lm: LmOption = None,
    limit: Annotated[int, typer.Option(min=1, help="Questions of each test, counted from the first.")] = 10,
    traces: Annotated[Path | None, typer.Option(help="Folder for the trace files.")] = None,
) -> None:
    """Compare all methods on four sets, from the question to the final answer, running the tools."""
    from toolken.benchmarks.end_to_end.run import BENCHMARKS, Options
    from toolken.benchmarks.sets.registry import folder_of

    options = Options(methods=tuple(methods) if methods else None, limit=limit, seeds=seeds)
    _end_to_end({name: folder_of(name, data) for name in BENCHMARKS}, lm, options, traces, json_file, plot)


def _end_to_end(
    folders: dict[str, Path],
    lm: str | None,
    options: "Options",
    traces: Path | None,
    json_file: Path | None,
    plot: Path | None,
) -> None:
    """Run benchmarks end to end and print their tables."""
    begun = time.monotonic()
    from toolken.benchmarks.end_to_end.estimate import duration
    from toolken.benchmarks.end_to_end.figures import rows, tables
    from toolken.benchmarks.end_to_end.run import run
    from toolken.benchmarks.selection.rows import write_rows
    from toolken.cli.display import progress_bar
    from toolken.errors import HeadError
    from toolken.training.lm import FrozenLM
    from toolken.training.lm.embedded import cache_folder
    from toolken.training.prior.teacher import SentenceEncoder

    folder = traces or cache_folder() / "traces"
    check_outputs(file=json_file, picture=plot, folder=folder, benchmarks=list(folders))
    check_cache()
    typed = command_line()
    try:
        encoder = SentenceEncoder()
    except HeadError as error:
        encoder = None
        err.print(f"Without the retriever: {plain(str(error))}")
    with progress_bar(err) as progress:
        loaded = FrozenLM.from_pretrained(lm)
        options = replace(options, encoder=encoder, progress=progress)
        found = []
        for outcomes in run(loaded, folders, options, traces=folder, say=lambda line: err.print(plain(line))):
            found = [row.model_copy(update={"command": typed}) for row in rows(outcomes)]
            if json_file:
                write_rows(json_file, found)
    for table in tables(found):
        out.print(table)
    err.print(f"It took {duration(time.monotonic() - begun)}.")
    err.print(f"The traces are in {folder}: `toolken trace FILE --question N` shows one.", highlight=False)
    if plot:
        from toolken.benchmarks.end_to_end.plots import draw_end_to_end

        draw_end_to_end(found, plot)


def _refuse_end_to_end_options(context: typer.Context, name: str) -> None:
    """Refuse options that the selection mode would ignore.

    Raises
    ------
    ToolkenError
        If an option of the end-to-end mode is given.
    """
    from toolken.benchmarks.end_to_end.run import BENCHMARKS

    for parameter, option in _END_TO_END.items():
        source = context.get_parameter_source(parameter)
        if source is None or source.name == "DEFAULT":
            continue
        if name in BENCHMARKS:
            raise ToolkenError(f"{option} is for the end-to-end mode: add --mode end-to-end, or omit it.")
        raise ToolkenError(f"{option} is for the end-to-end mode, which {name} does not have: omit it.")


def _count(text: str) -> int | None:
    """Parse a number of examples; None means all."""
    if text == "all":
        return None
    if not text.isdecimal():
        raise ToolkenError(f"{text!r} is not a number of examples: give a whole number or `all`.")
    return int(text)


for _name in ("kamel", "stq", "metatool", "gsm8k-xl", "funcqa", "virtualhome"):
    bench.command(_name)(_selection(_name))
