"""What all commands share: the application, its two consoles, and the options that several of them have."""

import shlex
import sys
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer
from rich.console import Console
from rich.markup import escape

from toolken.errors import ToolkenError

if TYPE_CHECKING:
    from toolken.training.lm import Backend

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
BackendOption = Annotated[
    str,
    typer.Option("--backend", help="What runs the LM: transformers, or llama.cpp (GGUF files, the embedded LM)."),
]


def backend_of(name: str) -> "Backend":
    """Return an backend's name as one that there is.

    Raises
    ------
    ToolkenError
        If there is none of this name.
    """
    from toolken.training.lm import Backend

    if name not in get_args(Backend):
        raise ToolkenError(f"There is no backend {name!r}: say {' or '.join(get_args(Backend))}.")
    return cast("Backend", name)


def command_line() -> str:
    """Return the command line that is running, as one would type it."""
    return shlex.join(["toolken", *sys.argv[1:]])


def plain(text: str) -> str:
    """Return a message on one line, none of it markup."""
    return escape(" ".join(text.split()))
