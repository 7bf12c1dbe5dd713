"""Commands that fit and use heads: `setup`, `demo`, `ask`, `fit`, `export`, `tools` and `trace`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toolken.cli.application import BackendOption, LmOption, app, backend_of, err, out
from toolken.cli.formats import FormatOption, format_of
from toolken.cli.outputs import check_cache, check_checkpoint, check_outputs
from toolken.errors import ToolkenError

if TYPE_CHECKING:
    from toolken.training.head.toolken_head import ToolkenHead
    from toolken.training.tool_spec import ToolSpec


@app.command()
def setup(
    lm: LmOption = None,
    clear_cache: Annotated[
        bool, typer.Option("--clear-cache", help="First delete the cached conversions of all GGUF files.")
    ] = False,
) -> None:
    """Convert the embedded LM and read the background requests once, so that later commands start fast."""
    from toolken.cli.display import progress_bar
    from toolken.training.features.background import background
    from toolken.training.lm import FrozenLM
    from toolken.training.lm.embedded import cache_folder
    from toolken.training.lm.gguf_conversion import clear_conversions
    from toolken.training.prompts.prompt_format import PromptFormat

    check_cache()
    if clear_cache:
        freed = clear_conversions(cache_folder() / "models")
        err.print(f"Deleted the cached conversions of GGUF files: {freed / 1e6:.0f} MB.", highlight=False)
    with progress_bar(err) as progress:
        loaded = FrozenLM.from_pretrained(lm)
        background(loaded, PromptFormat(), started=lambda total: progress("Reading background requests", total))
    err.print(f"Ready: {loaded.name}")


@app.command()
def demo(lm: LmOption = None, backend: BackendOption = "transformers") -> None:
    """Answer requests with twenty everyday tools, then ask the same LM with their schemas in its prompt."""
    check_cache()
    from toolken.cli.demo import run_demo

    run_demo(lm, out, backend=backend_of(backend))


@app.command()
def ask(
    question: Annotated[str, typer.Argument(help="The question.")],
    head: Annotated[
        Path | None,
        typer.Option(help="Folder of a fitted head; default: one for the shipped tools, fitted at first use."),
    ] = None,
    tools: Annotated[
        list[str] | None,
        typer.Option(
            help="calculator, knowledge, household, or module:attribute of your tools; default: arithmetic and facts."
        ),
    ] = None,
    lm: LmOption = None,
    backend: BackendOption = "transformers",
    form: FormatOption = None,
) -> None:
    """Answer a question, calling tools where their toolkens win."""
    if not question.strip():
        raise ToolkenError('The question is empty: ask something, such as "What is 2 plus 3?".')
    check_cache()
    from toolken.cli.ask import ask_agent, show_answer
    from toolken.cli.display import progress_bar

    with progress_bar(err) as progress:
        agent = ask_agent(lm, head, tools, progress, backend=backend_of(backend), form=format_of(form))
    show_answer(agent, question, out)


@app.command()
def fit(
    tools: Annotated[
        list[str],
        typer.Option(help="calculator, knowledge, household, module:attribute, or a JSON file; may be repeated."),
    ],
    out_folder: Annotated[Path, typer.Option("--out", help="Folder to write the head to.")],
    examples: Annotated[
        list[str] | None,
        typer.Option(
            help="JSON lines of examples; default: fit on descriptions alone. May be repeated. With ray also Parquet "
            "files, folders and URLs."
        ),
    ] = None,
    lm: LmOption = None,
    backend: Annotated[
        str,
        typer.Option(
            "--backend",
            help="Library that runs the LM: transformers, llama.cpp (for GGUF files and the embedded LM), or ray "
            "(transformers on the workers of the cluster RAY_ADDRESS, or of one on this machine).",
        ),
    ] = "transformers",
    workers: Annotated[int, typer.Option(min=1, help="ray: number of processes that read examples.")] = 2,
    threads: Annotated[int, typer.Option(min=1, help="ray: threads of each process.")] = 1,
    form: FormatOption = None,
) -> None:
    """Fit a head for tools on descriptions and examples, and save it."""
    from toolken.cli.display import progress_bar
    from toolken.training.examples import read_examples
    from toolken.training.fit import fit as fit_head
    from toolken.training.lm import FrozenLM
    from toolken.training.tool_sources import read_tool_specs

    check_outputs(folder=out_folder)
    check_cache()
    specs = read_tool_specs(tools)
    chosen = format_of(form)
    if backend == "ray":
        if chosen not in (None, "question"):
            raise ToolkenError(
                f"The backend 'ray' reads examples as questions and answers, not in the format {chosen!r}: omit "
                "--format or --backend."
            )
        if not examples:
            raise ToolkenError("The backend 'ray' reads examples: name files with --examples, or omit --backend.")
        _fit_on_ray(specs, examples, out_folder, lm, workers, threads)
        return
    read = [example for path in examples or () for example in read_examples(path, specs)]
    with progress_bar(err) as progress:
        loaded = FrozenLM.from_pretrained(lm, backend=backend_of(backend))
        head = fit_head(loaded, specs, read, prompt=chosen, progress=progress)
        head.save_pretrained(out_folder)
    _report_fit(head, len(read), out_folder)


def _fit_on_ray(
    specs: "list[ToolSpec]", paths: list[str], out_folder: Path, lm: str | None, workers: int, threads: int
) -> None:
    import time

    from toolken.cli.display import progress_bar
    from toolken.training.features.distributed import extract_on_ray
    from toolken.training.fit import fit as fit_head
    from toolken.training.lm import FrozenLM
    from toolken.training.prompts.prompt_format import PromptFormat

    with progress_bar(err) as progress:
        loaded, prompt = FrozenLM.from_pretrained(lm), PromptFormat()
        begun = time.perf_counter()
        reading = extract_on_ray(
            loaded,
            prompt,
            paths,
            specs,
            workers=workers,
            threads=threads,
            started=lambda total: progress("Reading examples on the cluster", total),
        )
        spent = time.perf_counter() - begun
        head = fit_head(loaded, specs, reading, prompt=prompt, progress=progress)
        head.save_pretrained(out_folder)
    _report_fit(head, reading.examples, out_folder)
    hours, share = reading.seconds / 3600, reading.examples / 1e6
    err.print(
        f"Reading took {spent:.1f} s with {workers} workers, {reading.seconds / spent:.2f} processors busy: "
        f"{hours / share:.1f} processor-hours per million such examples, {hours / reading.tokens * 1e9:.0f} per "
        f"billion tokens ({reading.tokens / reading.examples:.0f} tokens per example).",
        highlight=False,
        soft_wrap=True,
    )


def _report_fit(head: "ToolkenHead", examples: int, folder: Path) -> None:
    err.print(
        f"Fitted {len(head.specs)} tools on {examples} examples; the head is in {folder}.",
        highlight=False,
        soft_wrap=True,
    )
    accuracy = head.provenance.metrics.get("selection.accuracy")
    if accuracy is not None:
        err.print(f"Leave-one-out accuracy of the chosen tool: {accuracy:.3f}.", highlight=False)


@app.command()
def export(
    head: Annotated[Path, typer.Argument(help="Folder of a head.")],
    out_folder: Annotated[Path, typer.Option("--out", help="Folder to write the checkpoint to.")],
    examples: Annotated[
        list[str] | None,
        typer.Option(help="JSON lines of the head's examples, for calls in running text; may be repeated."),
    ] = None,
    lm: LmOption = None,
) -> None:
    """Write a head and its LM as a Hugging Face checkpoint, which servers run without this library."""
    from toolken.cli.display import progress_bar
    from toolken.training.examples import read_examples
    from toolken.training.export import export as export_head
    from toolken.training.head.toolken_head import ToolkenHead
    from toolken.training.lm import FrozenLM

    check_checkpoint(out_folder)
    check_cache()
    fitted = ToolkenHead.from_pretrained(head)
    read = [example for path in examples or () for example in read_examples(path, fitted.specs)]
    with progress_bar(err) as progress:
        loaded = FrozenLM.from_pretrained(lm or fitted.lm_name)
        export_head(fitted, loaded, out_folder, examples=read, progress=progress)
    err.print(f"Exported {len(fitted.specs)} tools; the checkpoint is in {out_folder}.", highlight=False)
    err.print(f"Serve it: transformers serve {out_folder}", highlight=False, soft_wrap=True)


@app.command()
def tools(
    sources: Annotated[
        list[str] | None,
        typer.Argument(help="calculator, knowledge, household, module:attribute or a JSON file; default: all shipped."),
    ] = None,
    more: Annotated[
        list[str] | None, typer.Option("--tools", help="The same as an argument, as in `fit`; may be repeated.")
    ] = None,
    schemas: Annotated[bool, typer.Option("--schemas", help="Show the JSON schemas of the arguments.")] = False,
) -> None:
    """List tools with their descriptions and arguments."""
    from rich.table import Table
    from rich.text import Text

    from toolken.training.tool_sources import read_tool_specs, shipped_families

    for source in [*(sources or ()), *(more or ())] or shipped_families():
        table = Table(title=Text(source), show_lines=schemas)
        for heading in ("tool", "description", "arguments"):
            table.add_column(heading)
        for spec in read_tool_specs([source]):
            arguments = json.dumps(spec.parameters, indent=1) if schemas else ", ".join(spec.arguments)
            table.add_row(Text(spec.name), Text(spec.description), Text(arguments))
        out.print(table)


@app.command()
def trace(
    file: Annotated[
        Path,
        typer.Argument(help="A trace file of a benchmark."),
    ],
    question: Annotated[int | None, typer.Option(help="Number of a question; default: list all questions.")] = None,
) -> None:
    """Show how benchmark questions were answered: text, calls with arguments and results, scores."""
    from toolken.benchmarks.end_to_end.show_trace import list_traces, show_trace
    from toolken.benchmarks.end_to_end.traces import read_traces
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
