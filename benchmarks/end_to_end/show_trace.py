"""Prints traces on the terminal: one question in full, or a table of a file."""

import json

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from toolken.benchmarks.end_to_end.traces import Trace, TracePiece


def show_trace(trace: Trace, console: Console) -> None:
    """Print a question with its text, calls, answer and scores."""
    parts: list[RenderableType] = [Text(trace.question, style="bold"), Text()]
    parts += [_piece(piece) for piece in trace.attempt.pieces]
    parts += [Text(), Text.assemble(("answer    ", "dim"), trace.attempt.answer or "(none)")]
    parts += [Text.assemble(("expected  ", "dim"), trace.expected)]
    scores = Text.assemble(("scores    ", "dim"))
    for metric, value in trace.scores.items():
        scores.append(f"{metric} {value:g}  ", style="green" if value >= 1 else "red" if value <= 0 else "yellow")
    title = f"{trace.benchmark}, {trace.split}, question {trace.number}: {_run(trace)}"
    console.print(Panel(Group(*parts, scores), title=Text(title), title_align="left", subtitle=_settings(trace)))


def list_traces(traces: list[Trace], console: Console) -> None:
    """Print a table with a line per trace."""
    table = Table(title=f"{len(traces)} traces")
    for heading in ("question", "run", "settings", "asked", "calls", "answer", "expected", "scores"):
        table.add_column(heading)
    for trace in traces:
        table.add_row(
            str(trace.number),
            _run(trace),
            _settings(trace),
            Text(_short(trace.question)),
            Text(", ".join(call.tool or "" for call in trace.attempt.calls)),
            Text(_short(trace.attempt.answer)),
            Text(_short(trace.expected)),
            " ".join(f"{value:g}" for value in trace.scores.values()),
        )
    console.print(table)


def _piece(piece: TracePiece) -> Text:
    if piece.tool is None:
        return Text(piece.text)
    line = Text.assemble((f"  {piece.tool}", "bold magenta"), json.dumps(piece.arguments, ensure_ascii=False))
    line.append(" -> ", style="dim")
    line.append(_short(piece.result, 300), style="red" if piece.failed else "cyan")
    if piece.probability is not None:
        others = "".join(f", {name} {share:.2f}" for name, share in piece.runners_up)
        line.append(f"\n      probability {piece.probability:.2f}{others}", style="dim")
    return line


def _run(trace: Trace) -> str:
    """Return the method with the settings that distinguish its runs on a question."""
    parts = [trace.method]
    if trace.tools is not None:
        parts += [f"{trace.tools} tools", f"{'all' if trace.examples is None else trace.examples} examples"]
    if trace.seed:
        parts.append(f"seed {trace.seed}")
    return ", ".join(parts)


def _settings(trace: Trace) -> Text:
    return Text(", ".join(f"{key} {value}" for key, value in trace.settings.items()))


def _short(text: str, longest: int = 80) -> str:
    line = " ".join(text.split())
    return line if len(line) <= longest else line[: longest - 1] + "…"
