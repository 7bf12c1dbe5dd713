"""The command line: bad input gets one sentence and exit code 2, and leaves nothing behind."""

import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from toolken import FrozenLM, __version__

Run = Callable[..., tuple[int, str, str]]

GOOD = {"question": "What is 2 plus 3?", "calls": [{"tool": "add", "args": {"numbers": [2, 3]}, "result": "5"}]}


@pytest.fixture
def tools_file(tmp_path: Path) -> Path:
    path = tmp_path / "tools.json"
    path.write_text(json.dumps([{"name": "add", "description": "Add numbers.", "parameters": {"type": "object"}}]))
    return path


def assert_one_sentence(code: int, err: str, *parts: str) -> None:
    assert code == 2
    assert "Traceback" not in err
    assert err.startswith("Error: ")
    assert "\n" not in err.strip()
    for part in parts:
        assert part in err


def test_help_names_every_command(run: Run) -> None:
    code, out, _ = run("--help")
    assert code == 0
    for command in ("setup", "demo", "ask", "fit", "tools", "bench"):
        assert re.search(rf"\b{command}\b", out)


def test_unknown_lm_is_one_sentence(run: Run, tools_file: Path, tmp_path: Path) -> None:
    code, _, err = run("fit", "--tools", tools_file, "--lm", tmp_path / "nowhere", "--out", tmp_path / "head")
    assert_one_sentence(code, err, "nowhere", "folder")
    assert not (tmp_path / "head").exists()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{not json", "line 2 is not JSON"),
        ('["a list"]', "line 2 is not a JSON object"),
        ('{"question": "How much?"}', "line 2"),
        (json.dumps({**GOOD, "answer": "It is 5.", "calls": [{"tool": "add", "start": 99}]}), "starts at 99"),
        (json.dumps({**GOOD, "colour": "red"}), "line 2: colour"),
    ],
)
def test_broken_examples_name_file_and_line(run: Run, tools_file: Path, tmp_path: Path, line: str, said: str) -> None:
    examples = tmp_path / "examples.jsonl"
    examples.write_text(f"{json.dumps(GOOD)}\n{line}\n")
    code, _, err = run("fit", "--tools", tools_file, "--examples", examples, "--out", tmp_path / "head")
    assert_one_sentence(code, err, "examples.jsonl", said)
    assert not (tmp_path / "head").exists()


def test_examples_that_call_an_unknown_tool_are_refused_before_the_lm_loads(
    run: Run, tools_file: Path, tmp_path: Path
) -> None:
    examples = tmp_path / "examples.jsonl"
    examples.write_text(json.dumps({**GOOD, "calls": [{"tool": "divide", "args": {}}]}))
    code, _, err = run("fit", "--tools", tools_file, "--examples", examples, "--out", tmp_path / "head")
    assert_one_sentence(code, err, "examples.jsonl, line 1 calls 'divide'", "not among the 1 tools")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("nothing", "names no tools"),
        ("toolken.no_such_module:tools", "cannot be loaded"),
        ("missing.json", "cannot be read"),
    ],
)
def test_tools_that_cannot_be_found_are_one_sentence(run: Run, tmp_path: Path, source: str, said: str) -> None:
    code, _, err = run("fit", "--tools", source, "--out", tmp_path / "head")
    assert_one_sentence(code, err, said)


def test_an_empty_tool_list_is_refused(run: Run, tmp_path: Path) -> None:
    empty = tmp_path / "tools.json"
    empty.write_text("[]")
    code, _, err = run("fit", "--tools", empty, "--out", tmp_path / "head")
    assert_one_sentence(code, err, "No tools were given")


def test_a_folder_without_a_head_is_one_sentence(run: Run, tmp_path: Path) -> None:
    code, _, err = run("ask", "What is the capital of Peru?", "--head", tmp_path)
    assert_one_sentence(code, err, "There is no head")


def test_a_folder_without_kamel_is_one_sentence(run: Run, tmp_path: Path) -> None:
    code, _, err = run("bench", "kamel", "--data", tmp_path)
    assert_one_sentence(code, err, "tools.json", "--data")


def test_an_unknown_mode_is_one_sentence(run: Run, tmp_path: Path) -> None:
    code, _, err = run("bench", "kamel", "--data", tmp_path, "--mode", "sideways")
    assert_one_sentence(code, err, "'sideways'", "end-to-end")


@pytest.mark.parametrize("name", ["kamel", "funcqa", "gsm8k-xl"])
def test_an_end_to_end_run_without_data_is_one_sentence(
    run: Run, tmp_path: Path, name: str, tiny_lm: FrozenLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FrozenLM, "from_pretrained", lambda *_, **__: tiny_lm)
    traces = tmp_path / "traces"
    code, _, err = run("bench", name, "--data", tmp_path, "--mode", "end-to-end", "--traces", traces)
    assert_one_sentence(code, err.partition("Error: ")[1] + err.partition("Error: ")[2], "tools.json", "--data")
    assert not traces.exists()


def test_all_sets_end_to_end_without_data_is_one_sentence(
    run: Run, tmp_path: Path, tiny_lm: FrozenLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FrozenLM, "from_pretrained", lambda *_, **__: tiny_lm)
    traces = tmp_path / "traces"
    code, _, err = run("bench", "end-to-end", "--data", tmp_path, "--traces", traces)
    assert_one_sentence(code, err.partition("Error: ")[1] + err.partition("Error: ")[2], "tools.json", "--data")
    assert not traces.exists()


def test_a_file_that_holds_no_traces_is_one_sentence(run: Run, tmp_path: Path) -> None:
    code, _, err = run("trace", tmp_path / "nowhere.jsonl")
    assert_one_sentence(code, err, "nowhere.jsonl", "cannot be read")


def test_tools_lists_names_and_descriptions(run: Run) -> None:
    code, out, _ = run("tools", "calculator")
    assert code == 0
    for name in ("add", "subtract", "gcd"):
        assert name in out


def test_fit_then_ask_with_own_tools(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, embedded_lm: object
) -> None:
    (tmp_path / "tools_of_a_user.py").write_text(
        "from langchain_core.tools import tool\n\n\n"
        "@tool\n"
        "def shelf_of_book(title: str) -> str:\n"
        '    """Tell on which shelf of the library a book stands."""\n'
        '    return "shelf 12"\n\n\n'
        "@tool\n"
        "def bus_times(stop: str) -> str:\n"
        '    """Tell when the next buses leave from a stop."""\n'
        '    return "in 7 minutes"\n\n\n'
        "TOOLS = [shelf_of_book, bus_times]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    code, _, err = run("fit", "--tools", "tools_of_a_user:TOOLS", "--out", tmp_path / "head")
    assert code == 0, err
    question = "When does the next bus leave from the stop Market Square?"
    code, out, err = run("ask", question, "--head", tmp_path / "head", "--tools", "tools_of_a_user:TOOLS")
    assert code == 0, err
    assert "bus_times" in out
    assert "in 7 minutes" in out
    examples = tmp_path / "examples.jsonl"
    requests = {"shelf_of_book": {"title": "Emma"}, "bus_times": {"stop": "Harbour"}}
    examples.write_text(
        "".join(
            json.dumps({"question": f"{text} {i}?", "calls": [{"tool": name, "args": args, "result": "12"}]}) + "\n"
            for i in range(3)
            for text, (name, args) in zip(("Where is Emma", "Next bus at Harbour"), requests.items(), strict=True)
        )
    )
    options = ("--tools", "tools_of_a_user:TOOLS", "--examples", examples, "--out", tmp_path / "head")
    code, _, err = run("fit", *options)
    assert code == 0, err
    assert "Fitted 2 tools on 6 examples" in err
    assert re.search(r"Leave-one-out accuracy of the chosen tool: [01]\.\d{3}\.", err)


@pytest.mark.parametrize("option", ["-h", "--help"])
@pytest.mark.parametrize("command", [(), ("ask",), ("bench",), ("bench", "kamel")])
def test_every_command_has_a_short_and_a_long_help_option(run: Run, command: tuple[str, ...], option: str) -> None:
    code, out, _ = run(*command, option)
    assert code == 0
    assert " ".join(("Usage: toolken", *command)) in out


def test_the_version_is_printed(run: Run) -> None:
    assert run("--version") == (0, f"toolken {__version__}\n", "")


@pytest.mark.parametrize("question", ["", " \n"])
def test_an_empty_question_is_refused(run: Run, question: str) -> None:
    code, _, err = run("ask", question)
    assert_one_sentence(code, err, "The question is empty")


def test_an_output_that_is_a_file_is_refused_before_the_fit(
    run: Run, tools_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_late(*_: object, **__: object) -> None:
        raise AssertionError("the work has begun")

    monkeypatch.setattr(FrozenLM, "from_pretrained", too_late)
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "head"):
        for command in (("fit", "--tools", tools_file, "--out"), ("export", tmp_path, "--out"), ("pull", tmp_path)):
            code, _, err = run(*command, out)
            assert_one_sentence(code, err, str(tmp_path / "file"), "name a")


@pytest.mark.parametrize(
    "command",
    [("setup",), ("demo",), ("ask", "What?"), ("fit", "--tools", "calculator", "--out", "head"), ("bench", "agent")],
)
def test_a_cache_folder_that_cannot_be_written_is_one_sentence(
    run: Run, command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TOOLKEN_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.chdir(tmp_path)
    code, _, err = run(*command)
    assert_one_sentence(code, err, "The cache folder", "TOOLKEN_CACHE")


def test_setup_deletes_cached_conversions_on_request(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOOLKEN_CACHE", str(tmp_path))
    conversion = tmp_path / "models" / "gguf-model-0"
    conversion.mkdir(parents=True)
    (conversion / "model.safetensors").write_bytes(bytes(2_000_000))
    (tmp_path / "models" / "another").mkdir()
    missing = tmp_path / "no-lm"
    assert run("setup", "--lm", missing)[0] == 2
    assert conversion.is_dir()
    code, _, err = run("setup", "--clear-cache", "--lm", missing)
    assert code == 2
    assert "Deleted the cached conversions of GGUF files: 2 MB." in err
    assert not conversion.exists()
    assert (tmp_path / "models" / "another").is_dir()


def test_tools_are_named_as_arguments_or_by_an_option(run: Run, tools_file: Path) -> None:
    by_argument, by_option = run("tools", tools_file), run("tools", "--tools", tools_file)
    assert by_argument == by_option
    assert "Add numbers." in by_option[1]
    assert "calculator" not in by_option[1]


def test_a_stream_that_knows_ascii_alone_gets_replacements() -> None:
    from toolken.cli.application import replace_unencodable

    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    replace_unencodable(stream, sys.stderr)
    print("4 °C → 5", file=stream, flush=True)
    assert raw.getvalue() == b"4 ?C ? 5\n"


def test_export_says_what_is_wrong_before_it_begins(run: Run, tmp_path: Path) -> None:
    code, _, err = run("export", tmp_path / "none", "--out", tmp_path / "out")
    assert code == 2
    assert "There is no head in" in err
    assert not (tmp_path / "out").exists()
