"""Commands on saved heads: `diff`, `merge`, `push` and `pull`."""

from pathlib import Path
from typing import Annotated

import typer

from toolken.cli.application import app, err, out
from toolken.cli.outputs import check_outputs


@app.command()
def diff(
    one: Annotated[Path, typer.Argument(help="Folder of a head.")],
    other: Annotated[Path, typer.Argument(help="Folder of another head.")],
) -> None:
    """Show the differences of two heads: tools, examples, settings, embeddings, decisions. Exit code 1 if any."""
    from rich.table import Table
    from rich.text import Text

    from toolken.training.head.differences import differences
    from toolken.training.head.toolken_head import ToolkenHead

    found = differences(ToolkenHead.from_pretrained(one), ToolkenHead.from_pretrained(other))
    if not found:
        err.print("The heads do not differ.")
        return
    table = Table(title="Differences", show_lines=True)
    table.add_column("what", no_wrap=True)
    for heading in (str(one), str(other)):
        table.add_column(heading, overflow="fold")
    for line in found:
        table.add_row(*map(Text, line))  # tool names may look like markup
    out.print(table)
    raise typer.Exit(1)


@app.command()
def merge(
    folders: Annotated[
        list[Path], typer.Argument(help="Folders of heads of the same LM, fitted on different examples.")
    ],
    out_folder: Annotated[Path, typer.Option("--out", help="Folder to write the merged head to.")],
) -> None:
    """Merge heads into one with the tools and examples of all."""
    from toolken.training.head.merging import merge as merge_heads
    from toolken.training.head.toolken_head import ToolkenHead

    check_outputs(folder=out_folder)
    heads = [ToolkenHead.from_pretrained(folder) for folder in folders]
    merged = merge_heads(heads)
    version = merged.save_pretrained(out_folder)
    err.print(
        f"Merged {len(heads)} heads: {len(merged.specs)} tools, {merged.provenance.examples} examples; version "
        f"{version[:16]} is in {out_folder}.",
        highlight=False,
    )


@app.command()
def push(
    folder: Annotated[Path, typer.Argument(help="Folder of a head.")],
    repository: Annotated[str, typer.Argument(help="Hub repository OWNER/NAME, or a folder.")],
    revision: Annotated[str | None, typer.Option(help="Branch to push to; default: the main branch.")] = None,
    private: Annotated[bool, typer.Option("--private", help="Create a private repository.")] = False,
    message: Annotated[str | None, typer.Option(help="Commit message.")] = None,
) -> None:
    """Upload a head to a Hugging Face hub repository, tagged with its version, or copy it to a folder."""
    from toolken.training.head.hub import push_head

    pushed = push_head(folder, repository, revision=revision, private=private, message=message)
    err.print(f"Version {pushed.version[:16]} is in {repository}.", highlight=False)


@app.command()
def pull(
    repository: Annotated[str, typer.Argument(help="Hub repository OWNER/NAME, or a folder.")],
    folder: Annotated[Path, typer.Argument(help="Folder to write the head to.")],
    revision: Annotated[
        str | None, typer.Option(help="Branch, tag (a version) or commit; default: the newest commit.")
    ] = None,
) -> None:
    """Download a head from a Hugging Face hub repository, or copy it from a folder, and check its files."""
    from toolken.training.head.hub import pull_head

    check_outputs(folder=folder)
    pulled = pull_head(repository, folder, revision=revision)
    err.print(f"Version {pulled.version[:16]} of {len(pulled.tools)} tools is in {folder}.", highlight=False)
