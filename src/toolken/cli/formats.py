"""The option `--format`: how conversations are written."""

from typing import TYPE_CHECKING, Annotated, cast

import typer

from toolken.errors import ToolkenError

if TYPE_CHECKING:
    from toolken.training.prompts.conversation_format import FormatName

FormatOption = Annotated[
    str | None,
    typer.Option(
        "--format",
        help="How conversations are written: chat (the LM's chat template), question (questions and answers), auto "
        "(chat where the LM has a template); default: auto, or the format of --head.",
    ),
]


def format_of(name: str | None) -> "FormatName | None":
    """Return the format of a name; None stays None.

    Raises
    ------
    ToolkenError
        If no format has this name.
    """
    from toolken.training.prompts.conversation_format import FORMAT_NAMES

    if name is not None and name not in FORMAT_NAMES:
        raise ToolkenError(f"There is no format {name!r}: use {', '.join(FORMAT_NAMES[:-1])} or {FORMAT_NAMES[-1]}.")
    return cast("FormatName | None", name)
