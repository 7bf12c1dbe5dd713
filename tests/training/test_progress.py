"""Progress is shown on a terminal and in a notebook only."""

import io
import logging
import sys

import pytest

from toolken import FrozenLM, PromptFormat
from toolken.training import progress as module
from toolken.training.features.background import background
from toolken.training.progress import announce, default_progress


class Terminal(io.StringIO):
    """Standard error of a terminal."""

    def isatty(self) -> bool:
        return True


def replace_stderr(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO) -> io.StringIO:
    """Replace standard error; only inside a test, since pytest sets it again after a fixture."""
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    return stream


def test_a_terminal_shows_a_bar_for_the_background(
    monkeypatch: pytest.MonkeyPatch, tiny_lm: FrozenLM, tiny_background: object
) -> None:
    stderr = replace_stderr(monkeypatch, Terminal())
    background(tiny_lm, PromptFormat())
    shown = stderr.getvalue()
    assert "background requests" in shown
    assert "32/32" in shown
    stderr.truncate(0)
    background(tiny_lm, PromptFormat())  # from the cache
    assert "background" not in stderr.getvalue()


def test_a_log_record_is_all_that_a_program_gets(
    monkeypatch: pytest.MonkeyPatch, tiny_lm: FrozenLM, tiny_background: object, caplog: pytest.LogCaptureFixture
) -> None:
    stderr = replace_stderr(monkeypatch, io.StringIO())
    with caplog.at_level(logging.INFO, "toolken"):
        background(tiny_lm, PromptFormat())
        announce("Converting")
    assert stderr.getvalue() == ""
    assert [record.getMessage() for record in caplog.records] == [
        "Running the LM over background requests (once per model): 32 steps",
        "Converting",
    ]


def test_a_given_progress_replaces_the_bar(
    monkeypatch: pytest.MonkeyPatch, tiny_lm: FrozenLM, tiny_background: object
) -> None:
    stderr = replace_stderr(monkeypatch, Terminal())
    done: list[int] = []
    background(tiny_lm, PromptFormat(), started=lambda total: done.append)
    assert sum(done) == 32
    assert stderr.getvalue() == ""


def test_a_bar_ends_when_the_work_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = replace_stderr(monkeypatch, Terminal())

    def fail() -> None:
        with default_progress() as progress:
            progress("Work", 3)(1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with default_progress() as progress:
        progress("Other work", 2)(2)
    assert "Other work" in stderr.getvalue()


@pytest.mark.parametrize(("shell", "expected"), [("ZMQInteractiveShell", True), ("TerminalInteractiveShell", False)])
def test_a_notebook_is_known_by_its_shell(monkeypatch: pytest.MonkeyPatch, shell: str, expected: bool) -> None:
    package = type(sys)("IPython")
    package.get_ipython = type(shell, (), {})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", package)
    assert module.in_notebook() is expected
