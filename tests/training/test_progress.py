"""Progress shows on a terminal and in a notebook, and stays out of the way elsewhere."""

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


@pytest.fixture
def stderr(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Standard error, of a terminal or not."""
    stream = Terminal() if getattr(request, "param", True) else io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    return stream


def test_a_terminal_gets_a_bar_for_the_background(
    stderr: io.StringIO, tiny_lm: FrozenLM, tiny_background: object
) -> None:
    background(tiny_lm, PromptFormat())
    shown = stderr.getvalue()
    assert "background requests" in shown
    assert "32/32" in shown
    stderr.truncate(0)
    background(tiny_lm, PromptFormat())  # from the cache
    assert "background" not in stderr.getvalue()


@pytest.mark.parametrize("stderr", [False], indirect=True)
def test_a_log_record_is_all_that_a_program_gets(
    stderr: io.StringIO, tiny_lm: FrozenLM, tiny_background: object, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "toolken"):
        background(tiny_lm, PromptFormat())
        announce("Converting")
    assert stderr.getvalue() == ""
    assert [record.getMessage() for record in caplog.records] == [
        "Running the LM over background requests (once per model): 32 steps",
        "Converting",
    ]


def test_a_given_progress_replaces_the_bar(stderr: io.StringIO, tiny_lm: FrozenLM, tiny_background: object) -> None:
    done: list[int] = []
    background(tiny_lm, PromptFormat(), started=lambda total: done.append)
    assert sum(done) == 32
    assert stderr.getvalue() == ""


def test_a_bar_ends_when_the_work_fails(stderr: io.StringIO) -> None:
    with pytest.raises(ZeroDivisionError), default_progress() as progress:
        progress("Work", 3)(1)
        1 / 0  # noqa: B018
    with default_progress() as progress:
        progress("Other work", 2)(2)
    assert "Other work" in stderr.getvalue()


@pytest.mark.parametrize(("shell", "expected"), [("ZMQInteractiveShell", True), ("TerminalInteractiveShell", False)])
def test_a_notebook_is_known_by_its_shell(monkeypatch: pytest.MonkeyPatch, shell: str, expected: bool) -> None:
    package = type(sys)("IPython")
    package.get_ipython = type(shell, (), {})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", package)
    assert module.in_notebook() is expected
