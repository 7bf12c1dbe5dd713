"""`toolken bench function-calling`: toolkens beside the same LM with the tools' schemas in its prompt."""

import time
from pathlib import Path
from typing import Annotated

import typer

from toolken.cli.application import LmOption, bench, command_line, err, out, plain
from toolken.cli.outputs import check_cache, check_outputs


@bench.command("function-calling")
def function_calling(
    name: Annotated[
        str,
        typer.Option(
            "--set",
            help="bfcl, acebench or seal-tools (in --data), conversations or safety (part of toolken), or a folder in "
            "the form of any of them.",
        ),
    ],
    data: Annotated[Path | None, typer.Option(help="Parent folder of the published sets.")] = None,
    split: Annotated[str, typer.Option(help="test, or dev to choose settings on.")] = "test",
    categories: Annotated[
        list[str] | None, typer.Option("--category", help="Category of the set; may be repeated.")
    ] = None,
    methods: Annotated[list[str] | None, typer.Option("--method", help="Method; may be repeated.")] = None,
    tools: Annotated[
        list[int] | None,
        typer.Option("--tools", min=1, help="Add tools of other records up to this number; may be repeated."),
    ] = None,
    examples: Annotated[int, typer.Option(min=1, help="Examples per tool of the method toolken-k.")] = 3,
    limit: Annotated[int | None, typer.Option(min=1, help="Records per category, counted from the first.")] = None,
    lm: LmOption = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="File to write the rows to.")] = None,
    plot: Annotated[Path | None, typer.Option(help="File name of the pictures, written as PNG and SVG.")] = None,
    traces: Annotated[Path | None, typer.Option(help="Folder for the trace files.")] = None,
) -> None:
    """Measure function calling: right tools, exact calls, declined requests, seconds and tokens by number of tools."""
    begun = time.monotonic()
    from toolken.benchmarks.end_to_end.estimate import duration
    from toolken.benchmarks.end_to_end.run import run_trials
    from toolken.benchmarks.function_calling.call_sets import read_call_set
    from toolken.benchmarks.function_calling.figures import rows
    from toolken.benchmarks.function_calling.report import tables
    from toolken.benchmarks.function_calling.trials import CallOptions, plan
    from toolken.benchmarks.selection.rows import write_rows
    from toolken.cli.display import progress_bar
    from toolken.errors import DataFormatError, HeadError
    from toolken.training.lm import FrozenLM
    from toolken.training.lm.embedded import cache_folder
    from toolken.training.prior.teacher import SentenceEncoder

    if split not in ("dev", "test"):
        raise DataFormatError(f"There is no split {split!r}: use test or dev.")
    folder = traces or cache_folder() / "traces"
    check_outputs(file=json_file, picture=plot, folder=folder)
    check_cache()
    call_set = read_call_set(name, data)
    typed = command_line()
    encoder = None
    if not methods or "retriever" in methods:
        try:
            encoder = SentenceEncoder()
        except HeadError as error:
            err.print(f"Without the retriever: {plain(str(error))}")
    options = CallOptions(
        methods=tuple(methods) if methods else None,
        limit=limit,
        tools=tuple(tools or (0,)),
        split=split,
        categories=tuple(categories) if categories else None,
        examples=examples,
        encoder=encoder,
    )
    with progress_bar(err) as progress:
        loaded = FrozenLM.from_pretrained(lm)
        planned = plan(loaded, call_set, options)
        for note in planned.notes:
            err.print(plain(note), highlight=False)
        found = []
        say = lambda line: err.print(plain(line))  # noqa: E731
        for outcomes in run_trials(loaded, planned.trials, traces=folder, progress=progress, say=say):
            found = [row.model_copy(update={"command": typed}) for row in rows(outcomes)]
            if json_file:
                write_rows(json_file, found)
    for table in tables(found):
        out.print(table)
    err.print(f"It took {duration(time.monotonic() - begun)}.")
    err.print(f"The traces are in {folder}: `toolken trace FILE --question N` shows one.", highlight=False)
    if plot:
        from toolken.benchmarks.function_calling.plots import draw_calls

        draw_calls(found, plot)
