"""`Trace`: a question with its attempt and scores, and `TraceFile`, which stores traces."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from pydantic import BaseModel, ConfigDict, ValidationError

from toolken.errors import DataFormatError

#: Version of the record format, part of every key, so that records of another version are not reused.
VERSION = 1


class TracePiece(BaseModel):
    """A piece of an answer: text, or a call with its result.

    Attributes
    ----------
    text
        Text that the model wrote; empty for a call.
    tool
        The called tool; None for text.
    probability, runners_up
        Probability of the tool, and the next best tools with theirs, if the method has probabilities.
    arguments
        The call's arguments.
    result
        Result of the tool, or its error.
    failed
        Whether the call failed.
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
    """A method's attempt at a question.

    Attributes
    ----------
    pieces
        Text and calls in order.
    answer
        The final answer that is scored.
    call_probability
        P(call) at the first decision; None for methods without one.
    read_tokens, written_tokens
        Tokens of the prompt and generated tokens, where they are measured.
    setup_seconds, seconds
        Time for what depends on the tools alone, and for the rest, where they are measured.
    cache_bytes
        Bytes of the KV cache at the end of the attempt, where they are measured.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    pieces: tuple[TracePiece, ...] = ()
    answer: str = ""
    call_probability: float | None = None
    read_tokens: int = 0
    written_tokens: int = 0
    setup_seconds: float = 0.0
    seconds: float = 0.0
    cache_bytes: int = 0

    @property
    def calls(self) -> list[TracePiece]:
        """The calls."""
        return [piece for piece in self.pieces if piece.tool is not None]


class Trace(BaseModel):
    """One line of a trace file.

    Attributes
    ----------
    key
        Digest of everything that the attempt depends on; see `trace_key`.
    benchmark, split, method, number
        Test and method of the run, and the position of the question in its test.
    tools, examples, seed
        Number of tools, of training examples per tool (None for all), and the seed; None in files of versions that
        did not record them.
    question, expected
        The question and its right answer, for display.
    attempt
        The method's attempt.
    scores
        Metric -> 0 or 1, or a share; inapplicable metrics are omitted.
    settings
        The method's settings.
    seconds
        Time of the question: that of its batch, divided by the batch size.
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
    """Return the digest that identifies an attempt by LM, settings, method, question and other parts."""
    text = json.dumps({"version": VERSION, **parts}, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class TraceFile:
    """A JSON lines file of traces, each written when its question is answered.

    An incomplete last line, left by a killed process, is removed when the file is opened, and its question repeated.

    Parameters
    ----------
    path
        Path of the file; the first trace creates it and its folder.

    Raises
    ------
    DataFormatError
        If the file exists and contains anything but traces, or cannot be read and written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.traces: dict[str, Trace] = {}
        self._open: TextIO | None = None
        if path.exists() and not (path.is_file() and os.access(path, os.R_OK | os.W_OK)):
            raise DataFormatError(f"{str(path)!r} is not a writable file: move it, or name another folder as --traces.")
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
    """Read a trace file; the last trace of a key counts.

    Raises
    ------
    DataFormatError
        If it cannot be read, or contains no trace.
    """
    try:
        whole = path.read_bytes()
    except OSError as error:
        raise DataFormatError(
            f"{str(path)!r} cannot be read ({error.strerror}): give a file that `toolken bench ... --traces` wrote."
        ) from error
    found = {trace.key: trace for trace in _parsed(whole[: whole.rfind(b"\n") + 1], path)}
    if not found:
        raise DataFormatError(f"{str(path)!r} contains no trace: give a file that `toolken bench ... --traces` wrote.")
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
                f"{path}, line {number} is not a trace ({place + ': ' if place else ''}{reason['msg']}): remove the "
                "file, or name another folder as --traces."
            ) from error
    return traces
