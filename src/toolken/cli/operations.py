"""Commands on saved heads: compared, merged, pushed to a repository and pulled from one."""

from pathlib import Path
from typing import Annotated

import typer

from toolken.cli.application import app, err, out


@app.command()
def diff(
    one: Annotated[Path, typer.Argument(help="Folder of a head.")],
    other: Annotated[Path, typer.Argument(help="Folder of another head.")],
) -> None:
    """Show in what two heads differ: tools, examples, settings, rows, decisions. Exit code 1 where they do."""
    from rich.table import Table
    from rich.text import Text

    from toolken.training.head.differences import differences
    from toolken.training.head.toolken_head import ToolkenHead

    found = differences(ToolkenHead.from_pretrained(one), ToolkenHead.from_pretrained(other))
    if not found:
        err.print("The heads do not differ.")
        return
    table = Table(title="Differences", show_lines=True)
    for heading in ("what", str(one), str(other)):
        table.add_column(heading, overflow="fold")
    for line in found:
        table.add_row(*map(Text, line))  # names of tools may look like markup
    out.print(table)
    raise typer.Exit(1)


@app.command()
def merge(
    folders: Annotated[list[Path], typer.Argument(help="Folders of heads of one LM, fitted on different examples.")],
    out_folder: Annotated[Path, typer.Option("--out", help="Folder to write the merged head to.")],
) -> None:
    """Make one head of several, with the tools and the examples of all."""
    from toolken.training.head.merging import merge as merge_heads
    from toolken.training.head.toolken_head import ToolkenHead

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
    revision: Annotated[str | None, typer.Option(help="Branch to push to; default: the main one.")] = None,
    private: Annotated[bool, typer.Option("--private", help="Create a private repository.")] = False,
    message: Annotated[str | None, typer.Option(help="Message of the commit.")] = None,
) -> None:
    """Put a head into a repository of the Hugging Face hub, tagged with its version, or into a folder."""
    from toolken.training.head.hub import push_head

    pushed = push_head(folder, repository, revision=revision, private=private, message=message)
    err.print(f"Version {pushed.version[:16]} is in {repository}.", highlight=False)


@app.command()
def pull(
    repository: Annotated[str, typer.Argument(help="Hub repository OWNER/NAME, or a folder.")],
    folder: Annotated[Path, typer.Argument(help="Folder to write the head to.")],
    revision: Annotated[
        str | None, typer.Option(help="Branch, tag (a version) or commit; default: the newest.")
    ] = None,
) -> None:
    """Fetch a head from a repository of the Hugging Face hub, or from a folder, after checking its files."""
    from toolken.training.head.hub import pull_head

    pulled = pull_head(repository, folder, revision=revision)
    err.print(f"Version {pulled.version[:16]} of {len(pulled.tools)} tools is in {folder}.", highlight=False)
