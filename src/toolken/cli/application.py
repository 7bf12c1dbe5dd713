"""The `toolken` application, its two consoles, and the options that several commands share."""

import io
import shlex
import sys
from typing import TYPE_CHECKING, Annotated, TextIO, cast, get_args

import typer
from rich.console import Console
from rich.markup import escape

from toolken import __version__
from toolken.errors import ToolkenError

if TYPE_CHECKING:
    from toolken.training.lm import Backend

#: Short and long name of the help option; the commands inherit them.
HELP = {"help_option_names": ["-h", "--help"]}

app = typer.Typer(
    help="Tools as tokens for frozen language models.",
    context_settings=HELP,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
bench = typer.Typer(help="Run benchmarks on published data.", no_args_is_help=True, context_settings=HELP)
app.add_typer(bench, name="bench")

# Results go to stdout, so that they can be piped; progress and messages go to stderr.
out = Console()
err = Console(stderr=True)

LmOption = Annotated[
    str | None,
    typer.Option("--lm", help="Folder, GGUF file or Hugging Face hub id of a causal LM; default: the embedded LM."),
]
BackendOption = Annotated[
    str,
    typer.Option(
        "--backend", help="Library that runs the LM: transformers, or llama.cpp (for GGUF files and the embedded LM)."
    ),
]


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"toolken {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Tools as tokens for frozen language models."""


def backend_of(name: str) -> "Backend":
    """Return the backend of a name.

    Raises
    ------
    ToolkenError
        If no backend has this name.
    """
    from toolken.training.lm import Backend

    if name not in get_args(Backend):
        raise ToolkenError(f"There is no backend {name!r}: use {' or '.join(get_args(Backend))}.")
    return cast("Backend", name)


def command_line() -> str:
    """Return the running command line, quoted for a shell."""
    return shlex.join(["toolken", *sys.argv[1:]])


def plain(text: str) -> str:
    """Return a message on one line, with rich markup escaped."""
    return escape(" ".join(text.split()))


def replace_unencodable(*streams: TextIO) -> None:
    """Make streams replace characters that their encoding lacks, such as arrows on an ASCII terminal."""
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper) and stream.encoding.lower().replace("-", "") != "utf8":
            stream.reconfigure(errors="replace")
