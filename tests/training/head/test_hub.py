"""Heads are pushed and pulled unchanged, or not at all."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import RepositoryNotFoundError
from huggingface_hub.utils import filter_repo_objects

from toolken import ToolkenHead
from toolken.errors import HeadError
from toolken.training.head import hub
from toolken.training.head.hub import pull_head, push_head


class Hub:
    """A hub in a folder, with the calls of the client that are used: a folder a commit, names for commits."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: dict[str, dict[str, str]] = {}

    def commit_of(self, repository: str, revision: str | None) -> str:
        names = self._names(repository)
        return names.get(revision or "main", revision or "main")

    def create_repo(self, repository: str, *, exist_ok: bool, private: bool) -> None:
        assert exist_ok
        if repository not in self.names:
            self.names[repository] = {"main": "0"}
            (self.folder / repository / "0").mkdir(parents=True)

    def create_branch(self, repository: str, *, branch: str, exist_ok: bool) -> None:
        assert exist_ok
        self._names(repository).setdefault(branch, self.commit_of(repository, None))

    def file_exists(self, repository: str, name: str, *, revision: str | None) -> bool:
        return (self.folder / repository / self.commit_of(repository, revision) / name).exists()

    def upload_folder(
        self, *, repo_id: str, folder_path: str, revision: str | None, commit_message: str, delete_patterns: str
    ) -> Any:
        assert commit_message
        before = self.folder / repo_id / self.commit_of(repo_id, revision)
        commit = str(len(list((self.folder / repo_id).iterdir())))
        after = self.folder / repo_id / commit
        shutil.copytree(before, after)
        for name in filter_repo_objects([path.name for path in after.iterdir()], allow_patterns=delete_patterns):
            (after / name).unlink()
        for path in Path(folder_path).iterdir():
            (after / path.name).write_bytes(path.read_bytes())
        self.names[repo_id][revision or "main"] = commit
        return SimpleNamespace(oid=commit)

    def create_tag(self, repository: str, *, tag: str, revision: str, exist_ok: bool) -> None:
        assert exist_ok
        self.names[repository].setdefault(tag, revision)

    def snapshot_download(self, repository: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        return str(self.folder / repository / self.commit_of(repository, revision))

    def _names(self, repository: str) -> dict[str, str]:
        if repository not in self.names:
            import httpx

            response = httpx.Response(404, request=httpx.Request("GET", "https://example.org"))
            raise RepositoryNotFoundError("404", response=response)
        return self.names[repository]


@pytest.fixture
def mocked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Hub:
    """A hub in the place of the real one."""
    found = Hub(tmp_path / "hub")
    monkeypatch.setattr(hub, "hub_resolves", lambda: True)
    monkeypatch.setattr(hub, "_api", lambda: found)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", found.snapshot_download)
    return found


@pytest.fixture
def saved(tiny_head: ToolkenHead, tmp_path: Path) -> Path:
    """The folder of a saved head."""
    tiny_head.save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


@pytest.mark.parametrize("place", ["hub", "folder"])
def test_pulling_gives_what_was_pushed(place: str, mocked: Hub, saved: Path, tmp_path: Path) -> None:
    repository = "owner/name" if place == "hub" else str(tmp_path / "shelf")
    pushed = push_head(saved, repository)
    pulled = pull_head(repository, tmp_path / "pulled")
    assert pulled == pushed
    head = ToolkenHead.from_pretrained(tmp_path / "pulled")
    assert head.save_pretrained(tmp_path / "again") == pushed.version


def test_each_version_can_be_pulled_by_its_name(mocked: Hub, saved: Path, tmp_path: Path) -> None:
    first = push_head(saved, "owner/name")
    head = ToolkenHead.from_pretrained(saved)
    head = head.without_tools(["add"])
    head.save_pretrained(saved)
    second = push_head(saved, "owner/name")
    assert pull_head("owner/name", tmp_path / "pulled") == second
    assert len(list((tmp_path / "pulled").iterdir())) == 2
    assert pull_head("owner/name", tmp_path / "pulled", revision=first.version[:16]) == first
    assert ToolkenHead.from_pretrained(tmp_path / "pulled").names == ["add", "weather", "capital"]
    assert len(list((tmp_path / "pulled").iterdir())) == 2


def test_pushing_to_a_branch_changes_neither_main_nor_the_card(mocked: Hub, saved: Path, tmp_path: Path) -> None:
    push_head(saved, "owner/name")
    card = mocked.folder / "owner" / "name" / mocked.commit_of("owner/name", None) / "README.md"
    assert "`weather`: Tell the weather in a city." in card.read_text()
    card.write_text("Mine.")
    head = ToolkenHead.from_pretrained(saved)
    head = head.without_tools(["add"])
    head.save_pretrained(saved)
    push_head(saved, "owner/name", revision="next")
    assert len(pull_head("owner/name", tmp_path / "pulled").tools) == 3
    assert len(pull_head("owner/name", tmp_path / "pulled", revision="next").tools) == 2
    assert (
        mocked.folder / "owner" / "name" / mocked.commit_of("owner/name", "next") / "README.md"
    ).read_text() == "Mine."


@pytest.mark.parametrize("name", ["head.json", "head-*.safetensors"])
@pytest.mark.parametrize("damage", ["cut short", "altered"])
@pytest.mark.parametrize("direction", ["push", "pull"])
def test_a_damaged_file_is_refused_by_name_and_nothing_is_replaced(
    name: str, damage: str, direction: str, mocked: Hub, saved: Path, tmp_path: Path
) -> None:
    pull_head(str(saved), tmp_path / "pulled")
    push_head(saved, "owner/name")
    folder = saved if direction == "push" else mocked.folder / "owner" / "name" / mocked.commit_of("owner/name", None)
    path = next(folder.glob(name))
    content = path.read_bytes()
    at = len(content) // 2
    path.write_bytes(
        content[:at] if damage == "cut short" else content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
    )
    before = {one.name: one.read_bytes() for one in (tmp_path / "pulled").iterdir()}
    with pytest.raises(HeadError, match=path.name):
        push_head(saved, "owner/name") if direction == "push" else pull_head("owner/name", tmp_path / "pulled")
    assert {one.name: one.read_bytes() for one in (tmp_path / "pulled").iterdir()} == before


def test_a_failed_pull_is_one_sentence(mocked: Hub, saved: Path, tmp_path: Path) -> None:
    with pytest.raises(HeadError, match="'owner/none' does not exist or is private"):
        pull_head("owner/none", tmp_path / "pulled")
    mocked.create_repo("owner/empty", exist_ok=True, private=False)
    with pytest.raises(HeadError, match="'owner/empty' has no head"):
        pull_head("owner/empty", tmp_path / "pulled")
    with pytest.raises(HeadError, match="has no revisions"):
        pull_head(str(saved), tmp_path / "pulled", revision="main")
    with pytest.raises(HeadError, match="There is no head"):
        push_head(tmp_path / "none", "owner/name")
    assert not (tmp_path / "pulled").exists()


def test_without_a_network_no_old_download_is_returned(
    mocked: Hub, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push_head(saved, "owner/name")
    monkeypatch.setattr(hub, "hub_resolves", lambda: False)
    with pytest.raises(HeadError, match="no network"):
        pull_head("owner/name", tmp_path / "pulled")


def test_nothing_but_the_head_and_its_card_is_pushed(mocked: Hub, saved: Path, tmp_path: Path) -> None:
    push_head(saved, "owner/name")
    commit = mocked.folder / "owner" / "name" / mocked.commit_of("owner/name", None)
    assert sorted(path.suffix for path in commit.iterdir()) == [".json", ".md", ".safetensors"]
