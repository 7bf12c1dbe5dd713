"""`toolken pretrain`: learn a prior for an LM, so that tools work by their descriptions."""

from pathlib import Path
from typing import Annotated

import typer

from toolken.cli.application import LmOption, app, bench, err, out
from toolken.cli.outputs import check_cache, check_outputs


@app.command()
def pretrain(
    folder: Annotated[Path, typer.Option("--out", help="Folder for the prior.")],
    data: Annotated[
        list[Path] | None,
        typer.Option(help="Folder or file of corpora; may be repeated. Default: the corpus that comes with toolken."),
    ] = None,
    lm: LmOption = None,
    work: Annotated[
        Path | None,
        typer.Option(help="Folder for what the LM has read, which an interrupted run continues. Default: OUT/work."),
    ] = None,
    dtype: Annotated[str | None, typer.Option(help="Number format of the weights, such as bfloat16.")] = None,
    device: Annotated[str | None, typer.Option(help="Device, such as cuda.")] = None,
    steps: Annotated[int, typer.Option(min=0, help="Steps of contrastive learning.")] = 200,
    seed: Annotated[int, typer.Option(help="Seed of batches and samples.")] = 0,
) -> None:
    """Learn a prior for an LM from corpora of tools and requests, once for all tools that will ever be bound."""
    check_cache()
    check_outputs(folder=folder)
    from rich.table import Table

    from toolken.cli.display import progress_bar
    from toolken.training.corpus import shipped_corpus
    from toolken.training.lm import FrozenLM
    from toolken.training.pretraining.pretrain import pretrain as learn

    sources = data or [shipped_corpus()]
    with progress_bar(err) as progress:
        loaded = FrozenLM.from_pretrained(lm, dtype=dtype, device=device)
        prior = learn(
            loaded,
            sources,
            folder / "work" if work is None else work,
            steps=steps,
            seed=seed,
            progress=progress,
        )
    prior.save_pretrained(folder)
    table = Table(title="On the dev domains")
    table.add_column("what")
    table.add_column("share", justify="right")
    table.add_row("threshold of P(call)", f"{prior.threshold:.3f}")
    for what, value in prior.card["dev"].items():
        table.add_row(what, f"{value:.3f}" if isinstance(value, float) else str(value))
    out.print(table)
    err.print(f"Saved to {folder}: give it as `prior` to the chat model or the agent.", highlight=False)


@bench.command("pretraining-corpora")
def pretraining_corpora(
    data: Annotated[Path, typer.Option(help="Parent folder of the published sets.")],
    folder: Annotated[Path, typer.Option("--out", help="Folder for the corpora.")],
) -> None:
    """Write the tools of MetaTool and Seal-Tools that priors learn from as corpora."""
    check_outputs(folder=folder)
    from toolken.benchmarks.pretraining_corpora import write_corpora

    for name, (tools, requests) in write_corpora(data, folder).items():
        out.print(f"{name}: {tools} tools, {requests} requests", highlight=False)
