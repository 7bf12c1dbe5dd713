"""Saved heads on the command line: compared, merged, pushed and pulled."""

from collections.abc import Callable
from pathlib import Path

import pytest

from toolken import ToolkenHead

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folders(tiny_head: ToolkenHead, tmp_path: Path) -> tuple[Path, Path]:
    """The folders of two heads, the second of which has a tool less."""
    tiny_head.save_pretrained(tmp_path / "one")
    tiny_head = tiny_head.without_tools(["add"])
    tiny_head.save_pretrained(tmp_path / "other")
    return tmp_path / "one", tmp_path / "other"


def test_heads_that_differ_give_exit_code_1_and_equal_ones_0(run: Run, folders: tuple[Path, Path]) -> None:
    one, other = folders
    code, out, _ = run("diff", one, other)
    assert code == 1
    assert "tools that only one head has" in out
    code, out, err = run("diff", one, one)
    assert (code, out) == (0, "")
    assert "do not differ" in err


def test_a_head_that_was_pushed_into_a_folder_is_pulled_from_there(
    run: Run, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    code, _, err = run("push", folders[0], tmp_path / "shelf")
    assert code == 0, err
    code, _, err = run("pull", tmp_path / "shelf", tmp_path / "pulled")
    assert code == 0, err
    assert run("diff", folders[0], tmp_path / "pulled")[0] == 0


def test_heads_of_the_same_examples_are_not_merged(run: Run, folders: tuple[Path, Path], tmp_path: Path) -> None:
    code, _, err = run("merge", *folders, "--out", tmp_path / "merged")
    assert code == 2
    assert err.startswith("Error: Heads 1 and 2 were fitted on the same examples")
    assert not (tmp_path / "merged").exists()
    code, _, err = run("merge", folders[0], "--out", tmp_path / "merged")
    assert code == 0, err
    assert "3 tools, 15 examples" in err


@pytest.mark.parametrize("name", ["no owner/no name?", "a/b/c"])
def test_a_repository_that_cannot_be_is_one_sentence(
    run: Run, folders: tuple[Path, Path], tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("toolken.training.head.hub.hub_resolves", lambda: True)
    code, _, err = run("pull", name, tmp_path / "pulled")
    assert code == 2
    assert "neither a folder nor a hub repository" in err
