"""Traces are written per question and read back; other files are rejected."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from toolken.benchmarks.end_to_end.show_trace import list_traces, show_trace
from toolken.benchmarks.end_to_end.traces import Attempt, Trace, TraceFile, TracePiece, read_traces, trace_key
from toolken.errors import DataFormatError


def make_trace(number: int, key: str | None = None) -> Trace:
    call = TracePiece(
        tool="add", arguments={"numbers": [2, 3]}, result="5", probability=0.9, runners_up=(("subtract", 0.05),)
    )
    return Trace(
        key=key or f"key{number}",
        benchmark="funcqa",
        split="one-hop",
        method="toolken",
        number=number,
        question="What is 2 plus 3?",
        expected="5",
        attempt=Attempt(
            pieces=(TracePiece(text="The answer is"), call, TracePiece(text=" 5.")), answer="The answer is 5."
        ),
        scores={"call": 1.0, "answer": 1.0},
        settings={"threshold": 0.5},
        seconds=0.1,
    )


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    file = TraceFile(tmp_path / "deep" / "one.jsonl")
    for number in range(3):
        file.add(make_trace(number))
    file.close()
    assert read_traces(tmp_path / "deep" / "one.jsonl") == [make_trace(number) for number in range(3)]


def test_a_torn_last_line_is_cut_off_and_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    file = TraceFile(path)
    file.add(make_trace(0))
    file.add(make_trace(1))
    file.close()
    path.write_bytes(path.read_bytes()[:-20])
    again = TraceFile(path)
    assert list(again.traces) == ["key0"]
    again.add(make_trace(1))
    again.close()
    assert [one.number for one in read_traces(path)] == [0, 1]


@pytest.mark.parametrize("content", ["{}\n", "no JSON\n", '{"key": 1}\n'])
def test_another_file_is_refused_with_its_line(tmp_path: Path, content: str) -> None:
    path = tmp_path / "other.jsonl"
    path.write_text(content)
    with pytest.raises(DataFormatError, match="line 1 is not a trace"):
        TraceFile(path)
    with pytest.raises(DataFormatError, match="line 1 is not a trace"):
        read_traces(path)


def test_missing_and_empty_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataFormatError, match="cannot be read"):
        read_traces(tmp_path / "nowhere.jsonl")
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(DataFormatError, match="contains no trace"):
        read_traces(tmp_path / "empty.jsonl")


def test_keys_differ_with_everything_they_are_made_of() -> None:
    keys = {
        trace_key(lm="a", settings={"k": 1}),
        trace_key(lm="b", settings={"k": 1}),
        trace_key(lm="a", settings={"k": 2}),
    }
    assert len(keys) == 3
    assert trace_key(a=1, b=2) == trace_key(b=2, a=1)


def test_runs_of_one_question_are_told_apart() -> None:
    written = io.StringIO()
    console = Console(file=written, width=160)
    runs = [make_trace(7).model_copy(update={"tools": 30, "examples": k, "seed": k or 0}) for k in (None, 5)]
    for run in runs:
        show_trace(run, console)
    list_traces(runs, console)
    text = written.getvalue()
    assert text.count("30 tools, all examples") == 2
    assert text.count("30 tools, 5 examples, seed 5") == 2


def test_a_trace_is_shown_with_calls_results_and_scores() -> None:
    written = io.StringIO()
    console = Console(file=written, width=120)
    show_trace(make_trace(7), console)
    list_traces([make_trace(7)], console)
    text = written.getvalue()
    for part in ("question 7", "add", "[2, 3]", "5", "subtract 0.05", "threshold 0.5", "answer 1"):
        assert part in text
