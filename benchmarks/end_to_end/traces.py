"""`Trace`: how one question was answered and scored, and the file that such records are appended to."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from pydantic import BaseModel, ConfigDict, ValidationError

from toolken.errors import DataFormatError

#: Of the form of the records; part of their keys, so that those of another form are not taken for this one's.
VERSION = 1


class TracePiece(BaseModel):
    """A piece of an answer: words, or a call with what it returned.

    Attributes
    ----------
    text
        Words the model wrote; empty for a call.
    tool
        The tool that was called; None for words.
    probability, runners_up
        Of the tool, and of the next best ones, where the method has probabilities.
    arguments
        The call's arguments.
    result
        What the tool returned, or why it did not.
    failed
        Whether there was no result.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str = ""
    tool: str | None = None
    probability: float | None = None
    runners_up: tuple[tuple[str, float], ...] = ()
    arguments: dict[str, Any] = {}
    result: str = ""
    failed: bool = False


class Attempt(BaseModel):
    """What a method made of a question.

    Attributes
    ----------
    pieces
        Words and calls in the order in which they were written.
    answer
        The final answer, as it is scored.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    pieces: tuple[TracePiece, ...] = ()
    answer: str = ""

    @property
    def calls(self) -> list[TracePiece]:
        """The calls."""
        return [piece for piece in self.pieces if piece.tool is not None]


class Trace(BaseModel):
    """One line of a trace file.

    Attributes
    ----------
    key
        Digest of all that the attempt depends on; see `trace_key`.
    benchmark, split, method, number
        What was run, and the place of the question in its test.
    tools, examples, seed
        Number of tools, of training examples of each (None for all), and the draw; None in files that were written
        before they were kept.
    question, expected
        The question and its right answer, for a reader.
    attempt
        What the method made of it.
    scores
        Metric -> 0 or 1, or a share; a metric that does not apply is left out.
    settings
        The method's settings.
    seconds
        Time for this question: that of its batch, divided by the batch's size.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    benchmark: str
    split: str
    method: str
    number: int
    tools: int | None = None
    examples: int | None = None
    seed: int | None = None
    question: str
    expected: str
    attempt: Attempt
    scores: dict[str, float]
    settings: dict[str, Any]
    seconds: float


def trace_key(**parts: Any) -> str:
    """Return the digest under which an attempt is found again: LM, settings, method, question and all else given."""
    text = json.dumps({"version": VERSION, **parts}, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class TraceFile:
    """A file of traces, one JSON object a line, each written when its question is done.

    What a kill leaves of a last line is cut off when the file is next opened, and that question is answered again.

    Parameters
    ----------
    path
        Of the file; it and its folder are made with the first trace.

    Raises
    ------
    DataFormatError
        If the file is there and holds anything but traces, or cannot be read and written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.traces: dict[str, Trace] = {}
        self._open: TextIO | None = None
        if path.exists() and not (path.is_file() and os.access(path, os.R_OK | os.W_OK)):
            raise DataFormatError(
                f"{str(path)!r} is no file to append to: move it away, or name another folder as --traces."
            )
        if path.is_file():
            whole = path.read_bytes()
            end = whole.rfind(b"\n") + 1
            self.traces = {trace.key: trace for trace in _parsed(whole[:end], path)}
            if end < len(whole):
                with path.open("r+b") as file:
                    file.truncate(end)

    def add(self, trace: Trace) -> None:
        """Append a trace.

        Raises
        ------
        DataFormatError
            If the file cannot be written.
        """
        try:
            if self._open is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._open = self.path.open("a", encoding="utf-8")
            self._open.write(trace.model_dump_json(exclude_defaults=True) + "\n")
            self._open.flush()
        except OSError as error:
            raise DataFormatError(f"The traces cannot be written to {str(self.path)!r}: {error}.") from error
        self.traces[trace.key] = trace

    def close(self) -> None:
        """Close the file."""
        if self._open is not None:
            self._open.close()
            self._open = None


def read_traces(path: Path) -> list[Trace]:
    """Read a trace file; of several attempts under one key the last counts.

    Raises
    ------
    DataFormatError
        If it cannot be read, or holds no trace.
    """
    try:
        whole = path.read_bytes()
    except OSError as error:
        raise DataFormatError(
            f"{str(path)!r} cannot be read ({error.strerror}): give a file that `toolken bench ... --traces` wrote."
        ) from error
    found = {trace.key: trace for trace in _parsed(whole[: whole.rfind(b"\n") + 1], path)}
    if not found:
        raise DataFormatError(f"{str(path)!r} holds no trace: give a file that `toolken bench ... --traces` wrote.")
    return list(found.values())


def _parsed(whole: bytes, path: Path) -> list[Trace]:
    traces = []
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            traces.append(Trace.model_validate_json(line))
        except ValidationError as error:
            reason: Mapping[str, Any] = error.errors()[0]
            place = ".".join(map(str, reason["loc"]))
            raise DataFormatError(
                f"{path}, line {number} is no trace ({place + ': ' if place else ''}{reason['msg']}): remove the file, "
                "or name another folder as --traces."
            ) from error
    return traces
