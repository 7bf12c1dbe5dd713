"""The `toolken` command."""

import json
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer
from rich.console import Console

from toolken.errors import ToolkenError

if TYPE_CHECKING:
    from rich.table import Table

    from toolken.training.lm import Engine

app = typer.Typer(
    help="Tools as tokens for frozen language models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
bench = typer.Typer(help="Measure on published benchmark data.", no_args_is_help=True)
app.add_typer(bench, name="bench")

# stdout is for results, so that they can be piped; everything about the way there goes to stderr.
out = Console()
err = Console(stderr=True)

LmOption = Annotated[
    str | None, typer.Option("--lm", help="Folder, GGUF file or hub id of a causal LM; default: the embedded one.")
]
EngineOption = Annotated[
    str,
    typer.Option("--engine", help="What runs the LM: transformers, or llama.cpp (GGUF files, the embedded LM)."),
]


def _engine(name: str) -> "Engine":
    """Return an engine's name as one that there is."""
    from toolken.training.lm import Engine

    if name not in get_args(Engine):
        raise ToolkenError(f"There is no engine {name!r}: say {' or '.join(get_args(Engine))}.")
    return cast("Engine", name)


@app.command()
def setup(lm: LmOption = None) -> None:
    """Convert the embedded LM and read the background requests, so that everything later starts fast."""
    from toolken.agents.display import progress_bar
    from toolken.training.background import background
    from toolken.training.lm import FrozenLM
    from toolken.training.prompt import PromptFormat

    with progress_bar(err) as progress:
        loaded = FrozenLM.from_pretrained(lm)
        background(loaded, PromptFormat(), started=lambda total: progress("Reading background requests", total))
    err.print(f"Ready: {loaded.name}")


@app.command()
def demo(lm: LmOption = None, engine: EngineOption = "transformers") -> None:
    """Fit a head on the project's own data, then answer questions with real tools."""
    from toolken.agents.demo import ENOUGH, run_demo

    if run_demo(lm, out, engine=_engine(engine)) < ENOUGH:
        raise typer.Exit(1)


@app.command()
def ask(
    question: Annotated[str, typer.Argument(help="What you want to know.")],
    head: Annotated[
        Path | None, typer.Option(help="Folder of a fitted head; default: the demo's, fitted at first use.")
    ] = None,
    tools: Annotated[
        list[str] | None,
        typer.Option(help="calculator, knowledge, household, or module:attribute of your tools; default: the demo's."),
    ] = None,
    lm: LmOption = None,
    engine: EngineOption = "transformers",
) -> None:
    """Answer one question, calling tools where their toolkens win."""
    from toolken.agents.demo import demo_agent, show_answer
    from toolken.agents.display import progress_bar

    with progress_bar(err) as progress:
        agent = demo_agent(lm, head, tools, progress, engine=_engine(engine))
    show_answer(agent, question, out)


@app.command()
def fit(
    tools: Annotated[
        list[str],
        typer.Option(help="calculator, knowledge, household, module:attribute, or a JSON file; may be repeated."),
    ],
    out_folder: Annotated[Path, typer.Option("--out", help="Folder to write the head to.")],
    examples: Annotated[
        Path | None, typer.Option(help="JSON lines of examples; without it, descriptions alone are used.")
    ] = None,
    lm: LmOption = None,
    engine: EngineOption = "transformers",
) -> None:
    """Fit a head for tools, from examples and descriptions, and save it."""
    from toolken.agents.display import progress_bar
    from toolken.training.examples import check_examples, read_examples
    from toolken.training.fit import fit as fit_head
    from toolken.training.lm import FrozenLM
    from toolken.training.tool_sources import read_tool_specs

    specs = read_tool_specs(tools)
    read = read_examples(examples) if examples else []
    check_examples(read, [spec.name for spec in specs])
    with progress_bar(err) as progress:
        loaded = FrozenLM.from_pretrained(lm, engine=_engine(engine))
        head = fit_head(loaded, specs, read, progress=progress)
        head.save_pretrained(out_folder)
    err.print(f"Fitted {len(specs)} tools on {len(read)} examples; the head is in {out_folder}.")


@app.command()
def tools(
    sources: Annotated[
        list[str] | None,
        typer.Argument(help="calculator, knowledge, household, module:attribute or a JSON file; default: all shipped."),
    ] = None,
    schemas: Annotated[bool, typer.Option("--schemas", help="Show the argument schemas as well.")] = False,
) -> None:
    """List tools with their descriptions and arguments."""
    from rich.table import Table

    from toolken.training.tool_sources import read_tool_specs, shipped_families

    for source in sources or list(shipped_families()):
        table = Table(title=source, show_lines=schemas)
        for heading in ("tool", "description", "arguments"):
            table.add_column(heading)
        for spec in read_tool_specs([source]):
            arguments = json.dumps(spec.parameters, indent=1) if schemas else ", ".join(spec.arguments)
            table.add_row(spec.name, spec.description, arguments)
        out.print(table)


@app.command()
def trace(
    file: Annotated[Path, typer.Argument(help="A trace file of `toolken bench ... --mode end-to-end`.")],
    question: Annotated[int | None, typer.Option(help="Number of a question; default: list all.")] = None,
) -> None:
    """Show how questions of a benchmark were answered: words, calls with arguments and results, scores."""
    from toolken.agents.benchmarks.show_trace import list_traces, show_trace
    from toolken.agents.benchmarks.traces import read_traces
    from toolken.errors import DataFormatError

    found = read_traces(file)
    if question is None:
        list_traces(found, out)
        return
    chosen = [one for one in found if one.number == question]
    if not chosen:
        numbers = [one.number for one in found]
        raise DataFormatError(
            f"{str(file)!r} has no question {question}: give a number from {min(numbers)} to {max(numbers)}."
        )
    for one in chosen:
        show_trace(one, out)


@bench.command()
def knowledge(
    facts: Annotated[int, typer.Option(min=1000, help="Facts to load.")] = 1_000_000,
    lookups: Annotated[int, typer.Option(min=10, help="Lookups to time.")] = 2_000,
) -> None:
    """Speed and memory of the knowledge base on SQLite: loading, lookups with and without the index."""
    from toolken.tools.knowledge.benchmark import measure

    measure(facts=facts, lookups=lookups)


@bench.command()
def speed(
    data: Annotated[Path, typer.Option(help="Folder with the data.")],
    name: Annotated[str, typer.Option("--set", help="kamel or gsm8k-xl.")] = "kamel",
    examples: Annotated[int, typer.Option(min=1, help="Training examples.")] = 1170,
    lm: LmOption = None,
) -> None:
    """Time and memory of a fit beside the bare forward pass and a published trainer, as ratios in one run."""
    import random

    from rich.table import Table

    from toolken.training.benchmarks.comparisons import comparisons
    from toolken.training.benchmarks.datasets import read_dataset
    from toolken.training.benchmarks.fit_speed import measure
    from toolken.training.lm import FrozenLM

    *_, comparison = (one for one in comparisons(read_dataset(name, data)) if one.split in ("supervised", "dev"))
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
    runs: Annotated[int, typer.Option(min=1, help="Fresh processes to start.")] = 5,
    lm: LmOption = None,
) -> None:
    """Time from the start of a process until the LM is ready."""
    from toolken.training.benchmarks.start import measure, start_table

    out.print(start_table(measure(lm, runs=runs)))


@bench.command()
def agent(lm: LmOption = None, engine: EngineOption = "transformers") -> None:
    """Speed of the decoder: beside transformers' generate, with prefix reuse, in batches, with many tools."""
    from toolken.agents.benchmarks.speed import measure
    from toolken.training.lm import FrozenLM

    measure(FrozenLM.from_pretrained(lm, engine=_engine(engine)), out)


@bench.command()
def engines(
    data: Annotated[Path, typer.Option(help="Folder with the data of KAMEL.")],
    examples: Annotated[int, typer.Option(min=1, help="Training examples of each tool.")] = 5,
    lm: LmOption = None,
) -> None:
    """The same LM on transformers and on llama.cpp: hidden states, and the tools that the same head chooses."""
    from toolken.agents.display import progress_bar
    from toolken.training.benchmarks.datasets import read_dataset
    from toolken.training.benchmarks.engines import agreement
    from toolken.training.lm import FrozenLM

    with progress_bar(err) as progress:
        other = FrozenLM.from_pretrained(lm, engine="llama.cpp")
        found = agreement(
            FrozenLM.from_pretrained(lm),
            other,
            read_dataset("kamel", data),
            examples_per_tool=examples,
            progress=progress,
        )
        lines = [(one.what, one.value, one.low, one.high, one.n) for one in found]
    out.print(_shares("transformers and llama.cpp", lines))


@bench.command()
def calls(
    data: Annotated[Path, typer.Option(help="Folder with the data.")],
    name: Annotated[str, typer.Option("--set", help="kamel, funcqa or metatool.")] = "kamel",
    no_tool: Annotated[
        Path | None, typer.Option(help="metatool: JSON lines with a question each that needs no tool.")
    ] = None,
    split: Annotated[str, typer.Option(help="test, or dev to choose settings on.")] = "test",
    limit: Annotated[int | None, typer.Option(min=1, help="Questions, the first ones.")] = None,
    lm: LmOption = None,
    engine: EngineOption = "transformers",
) -> None:
    """Calls by themselves: exact subjects (kamel), valid arguments (funcqa), call or no call (metatool)."""
    from toolken.agents.benchmarks import calls
    from toolken.agents.display import progress_bar
    from toolken.training.lm import FrozenLM

    if name not in ("kamel", "funcqa", "metatool"):
        raise ToolkenError(f"{name!r} has no calls to measure by themselves: say kamel, funcqa or metatool.")
    if name == "metatool" and no_tool is None:
        raise ToolkenError("With metatool goes --no-tool: a file with questions that need no tool.")
    with progress_bar(err) as progress:
        loaded = FrozenLM.from_pretrained(lm, engine=_engine(engine))
        if name == "kamel":
            found = calls.copied_subjects(loaded, data, split=split, limit=limit, progress=progress)
        elif name == "funcqa":
            found = calls.valid_arithmetic(loaded, data, progress=progress)
        else:
            assert no_tool is not None
            found = calls.call_or_no_call(loaded, data, no_tool, split=split, limit=limit, progress=progress)
        lines = [(one.what, one.value, one.low, one.high, one.n) for one in found]
    out.print(_shares(f"{name}, {split}: calls", lines))


def _shares(title: str, lines: Sequence[tuple[str, float, float, float, int]]) -> "Table":
    """Return a table of shares with their 95 % bootstrap intervals."""
    from rich.table import Table

    table = Table(title=title)
    for heading in ("what", "share", "95 % interval", "questions"):
        table.add_column(heading)
    for what, value, low, high, count in lines:
        table.add_row(what, f"{value:.4f}", f"{low:.4f} to {high:.4f}", str(count))
    return table


@bench.command()
def report(
    files: Annotated[list[Path], typer.Argument(help="Files that the other commands wrote with --json.")],
    out_file: Annotated[Path | None, typer.Option("--out", help="Markdown file to write; default: print it.")] = None,
) -> None:
    """Turn rows into a page of Markdown tables, with the command lines that measured them."""
    from toolken.agents.benchmarks.report import page as end_to_end_page
    from toolken.training.atomic_file import replace_file
    from toolken.training.benchmarks.report import page
    from toolken.training.benchmarks.rows import read_rows

    found = read_rows(files)
    pages = [
        write([row for row in found if row.mode == mode], _command_line())
        for mode, write in (("selection", page), ("end-to-end", end_to_end_page))
        if any(row.mode == mode for row in found)
    ]
    text = "\n".join(pages)
    if out_file is None:
        out.print(text, markup=False, highlight=False, soft_wrap=True)
    else:
        replace_file(out_file, text.encode())


def _selection(name: str) -> Callable[..., None]:
    """Return the command that compares the methods on a data set."""

    def command(
        data: Annotated[Path, typer.Option(help="Folder with the data.")],
        json_file: Annotated[Path | None, typer.Option("--json", help="File to write the rows to.")] = None,
        plot: Annotated[Path | None, typer.Option(help="File to draw the figures to, as PNG and as SVG.")] = None,
        test: Annotated[Path | None, typer.Option(help="Test file in place of the data's own.")] = None,
        methods: Annotated[list[str] | None, typer.Option("--method", help="Method; may be repeated.")] = None,
        examples: Annotated[
            list[str] | None, typer.Option(help="Training examples a tool, or `all`; may be repeated.")
        ] = None,
        seeds: Annotated[
            int | None, typer.Option(min=1, help="Random choices of the examples; default: 5, end to end 1.")
        ] = None,
        lm: LmOption = None,
        mode: Annotated[
            str, typer.Option(help="selection, or end-to-end: from the question to the final answer.")
        ] = "selection",
        limit: Annotated[int, typer.Option(min=1, help="End to end: questions of each test, the first ones.")] = 200,
        traces: Annotated[Path | None, typer.Option(help="End to end: folder of the trace files.")] = None,
    ) -> None:
        if mode == "end-to-end":
            if test is not None:
                raise ToolkenError("--test is for the selection mode: put the file into the --data folder instead.")
            counts = tuple(_count(text) for text in examples) if examples else None
            _end_to_end(name, data, lm, methods, limit, seeds or 1, counts, traces, json_file, plot)
            return
        if mode != "selection":
            raise ToolkenError(f"There is no mode {mode!r}: say selection or end-to-end.")
        from toolken.agents.display import progress_bar
        from toolken.errors import HeadError
        from toolken.training.benchmarks.datasets import read_dataset
        from toolken.training.benchmarks.plots import draw_rows
        from toolken.training.benchmarks.rows import write_rows
        from toolken.training.benchmarks.selection import SEEDS, run
        from toolken.training.benchmarks.tables import rich_tables
        from toolken.training.lm import FrozenLM
        from toolken.training.teacher import SentenceEncoder

        command_line = _command_line()
        dataset = read_dataset(name, data, test_file=test)
        for line in dataset.report():
            err.print(line, highlight=False)
        try:
            encoder = SentenceEncoder()
        except HeadError as error:
            encoder = None
            err.print(f"Without the teacher and the retriever: {_plain(str(error))}")
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
                rows.append(row.model_copy(update={"command": command_line}))
                if json_file and row.seed is None:
                    write_rows(json_file, rows)
        for table in rich_tables(rows):
            out.print(table)
        if plot:
            draw_rows(rows, plot)

    command.__doc__ = f"Compare the methods on {name}: the tool chosen at given positions, and where any is called."
    return command


def _end_to_end(
    name: str,
    data: Path,
    lm: str | None,
    methods: list[str] | None,
    limit: int | None,
    seeds: int,
    examples: tuple[int | None, ...] | None,
    traces: Path | None,
    json_file: Path | None,
    plot: Path | None,
) -> None:
    """Run a benchmark end to end and print its tables."""
    from toolken.agents.benchmarks.end_to_end import Options, run
    from toolken.agents.benchmarks.figures import rows, tables
    from toolken.agents.display import progress_bar
    from toolken.errors import HeadError
    from toolken.training.benchmarks.rows import write_rows
    from toolken.training.lm import FrozenLM
    from toolken.training.lm.embedded import cache_folder
    from toolken.training.teacher import SentenceEncoder

    command_line = _command_line()
    try:
        encoder = SentenceEncoder()
    except HeadError as error:
        encoder = None
        err.print(f"Without the retriever: {_plain(str(error))}")
    folder = traces or cache_folder() / "traces"
    with progress_bar(err) as progress:
        loaded = FrozenLM.from_pretrained(lm)
        options = Options(tuple(methods) if methods else None, limit, seeds, examples, encoder, progress)
        found = []
        for outcomes in run(loaded, name, data, options, traces=folder, say=lambda line: err.print(_plain(line))):
            found = [row.model_copy(update={"command": command_line}) for row in rows(outcomes)]
            if json_file:
                write_rows(json_file, found)
    for table in tables(found):
        out.print(table)
    err.print(f"The traces are in {folder}: `toolken trace FILE --question N` shows one.", highlight=False)
    if plot:
        from toolken.agents.benchmarks.plots import draw_end_to_end

        draw_end_to_end(found, plot)


def _command_line() -> str:
    return shlex.join(["toolken", *sys.argv[1:]])


def _count(text: str) -> int | None:
    """Read a number of examples."""
    if text == "all":
        return None
    if not text.isdecimal():
        raise ToolkenError(f"{text!r} is no number of examples: give a whole number, or `all`.")
    return int(text)


for _name in ("kamel", "stq", "metatool", "gsm8k-xl", "funcqa", "virtualhome"):
    bench.command(_name)(_selection(_name))


def main() -> None:
    """Run the command; a `ToolkenError` becomes one sentence on stderr and exit code 2."""
    try:
        app()
    except ToolkenError as error:
        err.print(f"[bold red]Error:[/] {_plain(str(error))}", soft_wrap=True, highlight=False)
        sys.exit(2)
    except KeyboardInterrupt:
        err.print("Interrupted.")
        sys.exit(130)


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(" ".join(text.split()))


if __name__ == "__main__":
    main()
