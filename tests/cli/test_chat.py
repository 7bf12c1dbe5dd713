"""`toolken chat`: lines and commands, and where tools come from."""

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from toolken import FrozenLM
from toolken.agents.chat_session import ChatSession
from toolken.cli import chat
from toolken.errors import ToolSpecError
from toolken.tools.everyday import everyday_tools
from toolken.tools.side_effects import has_side_effects
from toolken.training.prior.pretrained import PretrainedPrior

SERVER = Path(__file__).parents[1] / "agents" / "mcp_server.py"

Talk = Callable[..., str]


@pytest.fixture
def talk(tiny_lm: FrozenLM, tiny_prior: PretrainedPrior, monkeypatch: pytest.MonkeyPatch) -> Talk:
    """A function that types lines and returns what is printed."""

    def run(*lines: str, confirmation: str = "none", encoding: str = "utf-8") -> str:
        stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="replace")
        console = Console(file=stream, width=200)
        monkeypatch.setattr(chat, "out", console)
        monkeypatch.setattr(chat, "err", console)
        monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
        session = ChatSession(
            everyday_tools(),
            lm=tiny_lm,
            prior=tiny_prior,
            min_probability=0.0,
            confirmation=confirmation,  # type: ignore[arg-type]
            confirm=chat._confirmed,
            supply=chat._supplied,
        )
        chat.converse(session, chat._line)
        stream.flush()
        return stream.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]

    return run


def test_lines_are_answered_until_the_input_ends(talk: Talk) -> None:
    shown = talk("set a timer for 5 minutes", "", "/quit", "set a timer for 9 minutes")
    assert "> set a timer for 5 minutes" in shown
    assert "9 minutes" not in shown


def test_commands_show_tools_races_and_themselves(talk: Talk) -> None:
    shown = talk("/help", "/tools", "/why", "set a timer for 5 minutes", "/why", "/nothing")
    assert all(f"/{name}" in shown for name in ("why", "tools", "add", "clear", "quit"))
    assert "set_timer: Start a kitchen timer" in shown
    assert "Nothing has been asked yet." in shown
    assert "no call" in shown
    assert "no command /nothing" in shown


def test_a_tool_is_added_and_its_result_is_typed(talk: Talk) -> None:
    shown = talk("/add garden hose: Handles the hose.", "I want the hose", "it is wet", "/add hose", "/add a:")
    assert "garden_hose may be called now" in shown
    assert "it is wet" in shown
    assert shown.count("Error:") == 2


def test_calls_are_confirmed(talk: Talk) -> None:
    shown = talk("set a timer for 5 minutes", "n", confirmation="all")
    assert "[y/N]" in shown
    assert "Not done" in shown


def test_a_terminal_without_unicode_is_enough(talk: Talk) -> None:
    assert "#" in talk("set a timer for 5 minutes", "/why", encoding="ascii")


def test_tools_come_from_modules_servers_and_openapi_files(tmp_path: Path) -> None:
    operation = {"operationId": "list_books", "summary": "List the books.", "responses": {}}
    text = {
        "openapi": "3.0.0",
        "info": {"title": "Books", "version": "1"},
        "servers": [{"url": "http://127.0.0.1:1"}],
        "paths": {"/books": {"get": operation}},
    }
    file = tmp_path / "books.json"
    file.write_text(json.dumps(text), encoding="utf-8")
    found = chat.chat_tools(
        ["toolken.tools.everyday:everyday_tools", f"mcp:{sys.executable} {SERVER}", f"openapi:{file}"]
    )
    names = [one.name for one in found]
    assert {"set_timer", "due_date", "list_books"} <= set(names)
    marks = {one.name: has_side_effects(one) for one in found}
    # The server's tools have no annotations, and are confirmed.
    assert (marks["due_date"], marks["list_books"], marks["set_timer"]) == (True, False, None)


@pytest.mark.parametrize(
    ("sources", "sentence"),
    [
        (["no_such_module"], "no_such_module"),
        (["mcp:"], "needs the command"),
        (["mcp:echo 'open"], "quotation marks"),
        (["mcp:no-such-server-anywhere"], "does not answer"),
        (["openapi:nowhere.yaml"], "nowhere.yaml"),
        (["everyday", "everyday"], "set_timer"),
    ],
)
def test_a_bad_source_is_one_sentence(sources: list[str], sentence: str) -> None:
    with pytest.raises(Exception, match=sentence) as error:
        chat.chat_tools(sources)
    assert isinstance(error.value, ToolSpecError) or type(error.value).__name__ == "OpenApiError"
