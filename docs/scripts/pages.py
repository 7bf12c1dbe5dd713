"""Generate the pages on errors and the command line from the code. `make pages` runs this."""

import importlib
import inspect
import os
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import toolken
from toolken.errors import ToolkenError

DOCS = Path(__file__).parent.parent
#: Line width of help texts, in characters.
WIDTH = 100


def all_errors() -> list[type[ToolkenError]]:
    """Return the error classes of the project, each after its base class."""
    for module in pkgutil.walk_packages(toolken.__path__, "toolken."):
        if module.name.rpartition(".")[2] == "errors" or "benchmarks" in module.name:
            importlib.import_module(module.name)

    def tree(error: type[ToolkenError]) -> Iterator[type[ToolkenError]]:
        yield error
        for one in sorted(error.__subclasses__(), key=lambda one: (one.__module__, one.__name__)):
            if one.__module__.startswith("toolken."):
                yield from tree(one)

    return list(dict.fromkeys(tree(ToolkenError)))


def cause_and_cure(error: type[ToolkenError]) -> tuple[str, str]:
    """Return the two paragraphs of an error's docstring, each on one line; a missing second one is empty."""
    cause, _, cure = inspect.cleandoc(error.__doc__ or "").partition("\n\n")
    return " ".join(cause.split()), " ".join(cure.split())


def errors_page() -> str:
    """Return the page of errors."""
    lines = [
        "# Errors",
        "",
        "Every deliberate error is a `ToolkenError`, so catching that class catches all of them. Its message says",
        "what was wrong, with which value, and what to do. The `toolken` command prints the message after",
        "`Error:` and exits with code 2. This page is generated from the docstrings of the classes.",
        "",
        "| error | is a | cause | cure |",
        "|---|---|---|---|",
    ]
    for error in all_errors():
        cause, cure = cause_and_cure(error)
        bases = ", ".join(f"`{base.__name__}`" for base in error.__bases__)
        lines.append(f"| `{error.__module__}.{error.__qualname__}` | {bases} | {cause} | {cure} |")
    lines += [
        "",
        "A failing tool does not end the agent: its message becomes the tool's result with status `error`, and the",
        "model continues. An answer that exceeds its `timeout` raises Python's `TimeoutError`; an object that",
        "`with_structured_output` cannot complete raises LangChain's `OutputParserException`.",
        "",
    ]
    return "\n".join(lines)


#: The commands that a newcomer looks for; each is checked against the command line by the tests of the documents.
OVERVIEW = (
    ('toolken ask "QUESTION"', "answer a question with the shipped tools, or with your own"),
    ("toolken demo", "answer requests with twenty everyday tools, beside the same LM with their schemas in its prompt"),
    ("toolken fit --tools ... --examples FILE --out DIR", "fit a head and save it"),
    (
        "toolken export HEAD --out DIR",
        "write a head and its LM as a checkpoint that [servers run](../how-to/serving.md)",
    ),
    ("toolken tools", "list the shipped tools with their descriptions"),
    (
        "toolken bench kamel --data DIR",
        "compare the methods on KAMEL; also `stq`, `metatool`, `gsm8k-xl`, `funcqa`, `virtualhome`",
    ),
    (
        "toolken bench kamel --data DIR --mode end-to-end",
        "from the question to the final answer, running the tools; also `gsm8k-xl`, `funcqa`, `virtualhome`",
    ),
    (
        "toolken bench end-to-end --data DATA",
        "all four sets with all methods, 10 questions of each test: [83 minutes](results-one-run.md) on two cores",
    ),
    (
        "toolken bench function-calling --set safety",
        "function calling beside the same LM with the schemas in its prompt",
    ),
    ("toolken trace FILE", "show how the questions of a benchmark were answered"),
    ("toolken bench report FILE...", "write tables and plots of results"),
    ("toolken bench speed", "measure fits; also `knowledge`, `export`, and `scale` for 100,000 tools"),
    ("toolken diff A B", "compare saved heads; also `merge`, and `push` and `pull` to share them in a repository"),
)


def command_line_page() -> str:
    """Return the page of the command line: the help text of each command."""
    from typer.main import get_command

    from toolken.cli import app

    parts = [
        "# Command line",
        "",
        "Results go to standard output, progress and messages to standard error. Bad input prints one sentence and",
        "exits with code 2; an interrupt exits with 130.",
        "",
        "| command | what it does |",
        "|---|---|",
        *(f"| `{command}` | {purpose} |" for command, purpose in OVERVIEW),
        "",
    ]
    for path, _ in _commands(get_command(app), ("toolken",)):
        text = help_of(path[1:])
        parts += [f"## {' '.join(path)}", "", "```text", f"$ {' '.join(path)} --help", text, "```", ""]
    return "\n".join(parts)


def help_of(path: tuple[str, ...]) -> str:
    """Return the output of `toolken PATH --help`."""
    from typer.testing import CliRunner

    from toolken.cli import app

    plain = {"COLUMNS": str(WIDTH), "TERM": "dumb", "NO_COLOR": "1", "_TYPER_FORCE_DISABLE_TERMINAL": "1"}
    shown = CliRunner(env=plain).invoke(app, [*path, "--help"], prog_name="toolken").output
    return "\n".join(line.rstrip() for line in shown.strip("\n").splitlines())


def _commands(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    for name, one in getattr(command, "commands", {}).items():
        yield from _commands(one, (*path, name))


#: The pages by file name.
PAGES = {"reference/errors.md": errors_page, "reference/command-line.md": command_line_page}


if __name__ == "__main__":
    os.environ["COLUMNS"] = str(WIDTH)
    for file, page in PAGES.items():
        (DOCS / file).write_text(page(), encoding="utf-8")
