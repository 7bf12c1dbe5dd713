"""What `toolken bench` is asked to write, and options that do not apply, are refused before any work is done."""

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from toolken import FrozenLM
from toolken.benchmarks.end_to_end.plots import draw_end_to_end
from toolken.benchmarks.end_to_end.traces import TraceFile
from toolken.benchmarks.selection.rows import Row, write_rows
from toolken.benchmarks.sets import registry as datasets
from toolken.errors import DataFormatError

Run = Callable[..., tuple[int, str]]

ROW = Row(
    benchmark="kamel",
    split="supervised",
    method="toolken",
    tools=5,
    examples_per_tool=1,
    seed=None,
    metric="accuracy",
    value=0.5,
    low=0.4,
    high=0.6,
    n=10,
    seconds=1.0,
)


@pytest.fixture
def bench(run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run `toolken bench` in an empty folder, where neither data nor LM may be loaded: exit code and standard error."""

    def too_late(*_: object, **__: object) -> None:
        raise AssertionError("the work has begun")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(FrozenLM, "from_pretrained", too_late)
    monkeypatch.setattr(datasets, "read_dataset", too_late)

    def call(*arguments: str) -> tuple[int, str]:
        code, _, err = run("bench", *arguments)
        return code, err

    return call


SELECTION = ("kamel", "--data", ".")
END_TO_END = ("kamel", "--data", ".", "--mode", "end-to-end")
ALL_SETS = ("end-to-end", "--data", ".")


def assert_refused(answer: tuple[int, str], said: str) -> None:
    assert answer == (2, f"Error: {said}\n")


@pytest.mark.parametrize("command", [SELECTION, END_TO_END, ALL_SETS])
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--json", "out/a.json"), "There is no folder 'out' for 'out/a.json': create it first."),
        (("--json", "there"), "'there' is a folder: name a file."),
        (("--json", "file/a.json"), "'file' is a file, not a folder for 'file/a.json': name another file."),
        (("--json", "pipe"), "'pipe' is not a regular file: name another file."),
        (("--plot", "."), "'.' is a folder: name a file."),
        (("--plot", "there"), "'there' is a folder: name a file."),
    ],
)
def test_a_file_that_cannot_be_written_is_refused_first(
    bench: Run, tmp_path: Path, command: tuple[str, ...], options: tuple[str, ...], said: str
) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "file").write_text("kept")
    os.mkfifo(tmp_path / "pipe")
    assert_refused(bench(*command, *options), said)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["file", "pipe", "there"]
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.parametrize(
    ("command", "file"),
    [(SELECTION, "out/x.png"), (END_TO_END, "out/x.png"), (ALL_SETS, "out/x-kamel.png")],
)
def test_a_picture_in_no_folder_is_refused_first(bench: Run, command: tuple[str, ...], file: str) -> None:
    assert_refused(bench(*command, "--plot", "out/x"), f"There is no folder 'out' for '{file}': create it first.")


def test_all_files_of_a_picture_are_tried(bench: Run, tmp_path: Path) -> None:
    (tmp_path / "x.1-funcqa.svg").mkdir()
    assert_refused(bench(*ALL_SETS, "--plot", "x.1.png"), "'x.1-funcqa.svg' is a folder: name a file.")


@pytest.mark.parametrize("command", [SELECTION, END_TO_END, ALL_SETS])
def test_a_picture_without_matplotlib_is_refused_first(
    bench: Run, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert_refused(bench(*command, "--plot", "x.png"), "Drawing needs matplotlib: run `pip install 'toolken[bench]'`.")


@pytest.mark.parametrize(
    ("protected", "said"),
    [
        ("a.json", "'a.json' is write-protected: name another file."),
        (".", "The folder '.' of 'a.json' is write-protected: name a file elsewhere."),
    ],
)
def test_what_is_write_protected_is_refused_first(
    bench: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protected: str, said: str
) -> None:
    (tmp_path / "a.json").write_text("[]")
    # The user that runs the tests may be one who is allowed everything.
    monkeypatch.setattr(os, "access", lambda path, mode: not (mode & os.W_OK and str(path) == protected))
    assert_refused(bench(*SELECTION, "--json", "a.json"), said)


def test_an_unreachable_place_is_refused_first(bench: Run) -> None:
    answer = bench(*SELECTION, "--json", f"{'a' * 300}/b.json")
    assert answer[0] == 2
    assert answer[1].startswith("Error: ")


@pytest.mark.parametrize("command", [END_TO_END, ALL_SETS])
@pytest.mark.parametrize(
    ("traces", "said"),
    [
        ("file", "'file' is a file: name a folder."),
        ("file/traces", "/file' is a file and cannot contain 'file/traces': name another folder."),
    ],
)
def test_traces_in_a_file_are_refused_first(
    bench: Run, tmp_path: Path, command: tuple[str, ...], traces: str, said: str
) -> None:
    (tmp_path / "file").write_text("kept")
    code, err = bench(*command, "--traces", traces)
    assert code == 2
    assert err.endswith(f"{said}\n")
    assert (tmp_path / "file").read_text() == "kept"


def test_traces_in_a_write_protected_folder_are_refused_first(
    bench: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: not (mode & os.W_OK and Path(path) == tmp_path))
    code, err = bench(*END_TO_END, "--traces", "new/traces")
    assert code == 2
    assert "is write-protected, so 'new/traces' cannot be written: name another." in err
    assert not (tmp_path / "new").exists()


def test_a_trace_file_that_cannot_be_appended_to_is_refused_when_it_is_opened(tmp_path: Path) -> None:
    (tmp_path / "traces.jsonl").mkdir()
    with pytest.raises(DataFormatError, match="is not a writable file"):
        TraceFile(tmp_path / "traces.jsonl")


def test_a_folder_for_checkpoints_that_is_taken_is_refused_first(bench: Run, tmp_path: Path) -> None:
    (tmp_path / "out" / "gsm8k-xl").mkdir(parents=True)
    (tmp_path / "out" / "gsm8k-xl" / "mine").touch()
    said = "'out/gsm8k-xl' has files that are not of an exported head: name another folder as --out."
    assert_refused(bench("export", "--data", ".", "--out", "out"), said)
    code, err = bench("export", "--data", ".", "--out", "out/gsm8k-xl/mine")
    assert code == 2
    assert "is a file and cannot contain" in err


@pytest.mark.parametrize("out", ["out/x.md", "."])
def test_a_report_that_cannot_be_written_is_one_sentence(bench: Run, tmp_path: Path, out: str) -> None:
    write_rows(tmp_path / "a.json", [ROW])
    said = {
        "out/x.md": "There is no folder 'out' for 'out/x.md': create it first.",
        ".": "'.' is a folder: name a file.",
    }
    assert_refused(bench("report", "a.json", "--out", out), said[out])


def test_a_report_on_a_full_disk_is_one_sentence(bench: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    write_rows(tmp_path / "a.json", [ROW])
    monkeypatch.setattr("toolken.training.head.atomic_file.replace_file", full)
    said = "The report cannot be written to 'x.md': [Errno 28] No space left on device."
    assert_refused(bench("report", "a.json", "--out", "x.md"), said)


def test_a_report_shows_the_pictures_that_it_draws(bench: Run, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    rows = [ROW.model_copy(update={"metric": "answer", "mode": "end-to-end", "method": name}) for name in ("a", "b")]
    write_rows(tmp_path / "a.json", rows)
    (tmp_path / "docs" / "pictures").mkdir(parents=True)
    code, err = bench("report", "a.json", "--out", "docs/x.md", "--plot", "docs/pictures/x.png")
    assert (code, err) == (0, "")
    assert "![x](pictures/x.png)" in (tmp_path / "docs" / "x.md").read_text()
    assert (tmp_path / "docs" / "pictures" / "x.png").is_file()
    write_rows(tmp_path / "b.json", [ROW, ROW.model_copy(update={"benchmark": "stq"})])
    assert bench("report", "b.json", "--out", "y.md", "--plot", "y.png") == (0, "")
    assert "![y-kamel](y-kamel.png)\n\n![y-stq](y-stq.png)\n" in (tmp_path / "y.md").read_text()
    said = "The rows are of several modes: write one page per mode, or omit --plot."
    assert_refused(bench("report", "a.json", "b.json", "--out", "x.md", "--plot", "x.png"), said)


def test_methods_are_compared_at_the_largest_test_best_first(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    rows = [
        ROW.model_copy(
            update={"metric": "success", "mode": "end-to-end", "method": name, "tools": tools, "value": value}
        )
        for name, tools, value in (("worse", 9, 0.4), ("better", 9, 0.6), ("small", 5, 1.0))
    ]
    _, svg = draw_end_to_end(rows, tmp_path / "x.png")
    # matplotlib writes texts as paths, and what they say into comments.
    texts = re.findall("<!-- (.*) -->", svg.read_text(encoding="utf-8"))
    assert "supervised, 9 tools" in texts
    assert [text for text in texts if text in ("worse", "better", "small")] == ["better", "worse"]
    assert "success" in texts


def test_pictures_of_several_sets_keep_their_names_behind_a_point(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    rows = [
        ROW.model_copy(update={"benchmark": name, "metric": "answer", "tools": tools, "mode": "end-to-end"})
        for name in ("kamel", "funcqa")
        for tools in (5, 10)
    ]
    files = draw_end_to_end(rows, tmp_path / "x.1.png")
    expected = ["x.1-kamel.png", "x.1-kamel.svg", "x.1-funcqa.png", "x.1-funcqa.svg"]
    assert [file.name for file in files] == expected
    assert all(file.is_file() for file in files)


@pytest.mark.parametrize(
    ("option", "value"),
    [("--limit", "2"), ("--limit", "200"), ("--traces", "traces"), ("--tools", "5"), ("--split", "supervised")],
)
def test_options_of_the_end_to_end_mode_are_refused_in_the_selection_mode(bench: Run, option: str, value: str) -> None:
    said = f"{option} is for the end-to-end mode: add --mode end-to-end, or omit it."
    assert_refused(bench(*SELECTION, option, value), said)
    said = f"{option} is for the end-to-end mode, which stq does not have: omit it."
    assert_refused(bench("stq", "--data", ".", option, value), said)


@pytest.mark.parametrize("name", ["gsm8k-xl", "funcqa", "virtualhome"])
def test_numbers_of_examples_are_refused_where_they_are_fixed(bench: Run, name: str) -> None:
    said = f"--examples has no effect on {name} end to end, where their number is fixed: omit it."
    assert_refused(bench(name, "--data", ".", "--mode", "end-to-end", "--examples", "5"), said)


def test_seeds_are_refused_where_nothing_is_drawn(bench: Run) -> None:
    said = "--seeds has no effect on virtualhome end to end, where nothing is random: omit it."
    assert_refused(bench("virtualhome", "--data", ".", "--mode", "end-to-end", "--seeds", "2"), said)
