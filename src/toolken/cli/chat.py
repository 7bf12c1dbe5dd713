"""`toolken chat`: a conversation in the terminal with any tools."""

import asyncio
import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from toolken.cli.application import LmOption, app, err, out, plain
from toolken.cli.formats import FormatOption, format_of
from toolken.cli.outputs import check_cache
from toolken.errors import ToolkenError, ToolSpecError

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

    from toolken.agents.chat_session import ChatSession

#: Tools that `/why` shows.
SHOWN = 6
#: Characters of the bar of P = 1.
BAR = 30


@app.command()
def chat(
    tools: Annotated[
        list[str],
        typer.Option(
            help="Source of tools: a module or module:attribute, mcp:COMMAND (a server on stdio), openapi:FILE, or "
            "everyday for twenty everyday tools; may be repeated."
        ),
    ],
    lm: LmOption = None,
    head: Annotated[Path | None, typer.Option(help="Folder of a fitted head.")] = None,
    prior: Annotated[Path | None, typer.Option(help="Folder of a prior; default: the one shipped for the LM.")] = None,
    form: FormatOption = None,
    min_probability: Annotated[
        float | None, typer.Option(min=0, max=1, help="P(tool) below which no tool is called.")
    ] = None,
    confirm: Annotated[
        str, typer.Option(help="Ask before calls: auto (tools marked as having side effects), all, or none.")
    ] = "auto",
) -> None:
    """Talk with an LM that calls your tools; /help lists what else can be typed."""
    check_cache()
    from toolken.agents.chat_session import ChatSession

    found = chat_tools(tools)
    with err.status("Loading the LM and reading the descriptions"):
        session = ChatSession(
            found,
            lm=lm,
            head=head,
            prior=prior,
            format=format_of(form),
            min_probability=min_probability,
            confirmation=confirm,  # type: ignore[arg-type]  # the session checks it
            confirm=_confirmed,
            supply=_supplied,
        )
    out.print(f"{session.lm_name} with {len(found)} tools. /help lists the commands, /quit ends.", highlight=False)
    converse(session, _line)


def converse(session: "ChatSession", line: Callable[[str], str | None]) -> None:
    """Answer lines until there are none; a line that begins with a slash is a command."""
    while (text := line("> ")) is not None:
        text = text.strip()
        if text in ("/quit", "/exit"):
            return
        try:
            if text.startswith("/"):
                _command(session, text)
            elif text:
                _answer(session, text)
        except ToolkenError as error:
            err.print(f"[bold red]Error:[/] {plain(str(error))}", soft_wrap=True, highlight=False)
        except KeyboardInterrupt:
            out.print("\nStopped.")


def chat_tools(sources: list[str]) -> "list[BaseTool]":
    """Return the tools of several sources.

    Raises
    ------
    ToolSpecError
        If a source cannot be loaded, or two tools share a name.
    """
    from toolken.tools.everyday import everyday_tools
    from toolken.tools.openapi import openapi_tools
    from toolken.training.tool_sources import read_tools
    from toolken.training.tool_spec import tool_specs

    found: list[BaseTool] = []
    for source in sources:
        kind, _, rest = source.partition(":")
        if kind == "mcp":
            found += _mcp_tools(rest)
        elif kind == "openapi":
            found += openapi_tools(rest)
        else:
            found += everyday_tools() if source == "everyday" else read_tools([source])
    tool_specs(found)
    return found


def _mcp_tools(command: str) -> "list[BaseTool]":
    """Return the tools of an MCP server that a command starts."""
    from toolken.tools.side_effects import has_side_effects

    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ToolSpecError(f"The command {command!r} has a fault ({error}): correct its quotation marks.") from error
    if not words:
        raise ToolSpecError('"mcp:" needs the command of a server, such as "mcp:uvx mcp-server-time".')
    try:
        from langchain_mcp_adapters.client import MultiServerMCPClient
    except ImportError as error:
        raise ToolSpecError("Tools of MCP servers need langchain-mcp-adapters: pip install 'toolken[mcp]'.") from error
    connection: Any = {"command": words[0], "args": words[1:], "transport": "stdio"}
    try:
        tools: list[BaseTool] = asyncio.run(MultiServerMCPClient({"server": connection}).get_tools())
    except Exception as error:
        reason = plain(str(_innermost(error)))
        raise ToolSpecError(f"The MCP server {command!r} does not answer ({reason}): check its command.") from error
    for tool in tools:
        # Without annotations a tool is not read-only: MCP takes a missing hint as false.
        if has_side_effects(tool) is None:
            tool.metadata = {**(tool.metadata or {}), "side_effects": True}
    return tools


def _innermost(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _answer(session: "ChatSession", text: str) -> None:
    """Print an answer while it is decoded."""
    from toolken.agents.agent import Answer
    from toolken.cli.ask import Printer

    printer = Printer(out)
    for event in session.ask(text):
        if isinstance(event, Answer):
            printer.end(event)
        else:
            printer.show(event)


def _command(session: "ChatSession", text: str) -> None:
    name, _, rest = text[1:].partition(" ")
    commands: dict[str, tuple[str, Callable[[], None]]] = {
        "why": ("the race of the tools after your last message", lambda: _why(session)),
        "tools": ("the tools, and which calls are confirmed", lambda: _list(session)),
        "add": ('"/add water plants: Waters the plants." adds a tool by its description', lambda: _add(session, rest)),
        "clear": ("forget the conversation", session.clear),
        "help": ("this list", lambda: _help(commands)),
        "quit": ("end", lambda: None),
    }
    if name not in commands:
        err.print(f"There is no command /{plain(name)}: /help lists the commands.", highlight=False)
        return
    commands[name][1]()


def _help(commands: dict[str, tuple[str, Callable[[], None]]]) -> None:
    for name, (what, _) in commands.items():
        out.print(f"  /{name:<6} {what}", highlight=False, markup=False)


def _why(session: "ChatSession") -> None:
    from rich.text import Text

    race = session.race()
    if not race:
        out.print("  Nothing has been asked yet.")
        return
    block = "█" if out.encoding.startswith("utf") else "#"
    width = max(len(name) for name, _ in race[:SHOWN])
    rest = max(0.0, 1 - sum(probability for _, probability in race))
    for name, probability in [*race[:SHOWN], ("no call", rest)]:
        bar = block * round(BAR * probability)
        style = "green" if name == "no call" else "cyan"
        out.print(Text.assemble(f"  {name:<{max(width, 7)}} {probability:.2f} ", (bar, style)), soft_wrap=True)


def _list(session: "ChatSession") -> None:
    from rich.text import Text

    for tool in session.tools:
        asked = "  (asks first)" if session.is_confirmed(tool) else ""
        first = tool.description.strip().splitlines()[0] if tool.description.strip() else ""
        out.print(Text.assemble("  ", (tool.name, "cyan"), f": {first}{asked}"), soft_wrap=True)


def _add(session: "ChatSession", text: str) -> None:
    name, colon, description = text.strip().strip('"').partition(":")
    if not colon:
        raise ToolSpecError('Write name and description, such as "/add water plants: Waters the plants."')
    added = session.add(name, description)
    out.print(f"  {added.name} may be called now; you will be asked for its result.", highlight=False)


def _confirmed(name: str, arguments: dict[str, Any]) -> bool:
    answer = _line(f"\n  Run {name} {json.dumps(arguments, ensure_ascii=False)}? [y/N] ")
    return answer is not None and answer.strip().lower() in ("y", "yes")


def _supplied(name: str, _arguments: dict[str, Any]) -> str:
    return (_line(f"\n  What does {name} return? ") or "").strip() or "done"


def _line(prompt: str) -> str | None:
    """Return a line that the user types, without its end; None at the end of the input."""
    if sys.stdin.isatty():
        try:
            return input(prompt)
        except EOFError:
            out.print()
            return None
        except KeyboardInterrupt:
            out.print()
            return None
    line = sys.stdin.readline()
    if not line:
        return None
    # A script of lines is shown, so that the output has both sides of the conversation.
    out.print(f"{prompt}{line.rstrip()}", highlight=False, markup=False)
    return line.rstrip("\r\n")
