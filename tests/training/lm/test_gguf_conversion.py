"""A GGUF file is converted once, again when it changes, and without a cache where there is none."""

import os
from pathlib import Path

import pytest
import torch

from toolken import FrozenLM
from toolken.errors import LMNotFoundError
from toolken.training.lm import gguf_conversion
from toolken.training.lm.gguf_conversion import cached_conversion, clear_conversions


@pytest.fixture
def gguf(tmp_path: Path) -> Path:
    """A file that is never read as a model."""
    path = tmp_path / "a[1]*.gguf"
    path.write_bytes(b"GGUF" + bytes(300_000))
    return path


@pytest.fixture
def conversions(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Stand in for the conversion; lists the converted files."""
    converted: list[Path] = []

    def write(gguf: Path, folder: Path, dtype: torch.dtype) -> None:
        converted.append(gguf)
        (folder / "model.safetensors").write_text(str(dtype))
        (folder / "model.safetensors").chmod(0o600)
        (folder / "config.json").write_text("{}")

    monkeypatch.setattr(gguf_conversion, "write_conversion", write)
    return converted


def test_a_file_is_converted_once_per_dtype(gguf: Path, tmp_path: Path, conversions: list[Path]) -> None:
    models = tmp_path / "models"
    first = [cached_conversion(gguf, dtype, models) for dtype in (torch.float32, torch.bfloat16)]
    again = [cached_conversion(gguf, dtype, models) for dtype in (torch.float32, torch.bfloat16)]
    assert first == again
    assert len(set(first)) == len(conversions) == 2
    assert all(folder is not None and (folder / "config.json").is_file() for folder in first)


@pytest.mark.parametrize("change", ["size", "time", "beginning", "end", "transformers"])
def test_a_file_that_changed_is_converted_again_and_the_old_conversion_goes(
    gguf: Path, tmp_path: Path, conversions: list[Path], monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    models = tmp_path / "models"
    other = tmp_path / "other.gguf"
    other.write_bytes(b"GGUF")
    kept, old = cached_conversion(other, torch.float32, models), cached_conversion(gguf, torch.float32, models)
    status, content = gguf.stat(), bytearray(gguf.read_bytes())
    if change == "size":
        content += b"more"
    elif change in ("beginning", "end"):
        content[10 if change == "beginning" else -10] = 1
    gguf.write_bytes(content)
    os.utime(gguf, ns=(status.st_atime_ns, status.st_mtime_ns + (change == "time")))
    if change == "transformers":
        monkeypatch.setattr("importlib.metadata.version", lambda name: "99.0")
    new = cached_conversion(gguf, torch.float32, models)
    assert len(conversions) == 3
    assert new is not None
    assert old is not None
    assert kept is not None
    assert (new.is_dir(), old.exists(), kept.is_dir()) == (True, False, True)


def test_the_umask_decides_the_mode_of_the_files(gguf: Path, tmp_path: Path, conversions: list[Path]) -> None:
    before = os.umask(0o027)
    try:
        folder = cached_conversion(gguf, torch.float32, tmp_path / "models")
    finally:
        os.umask(before)
    assert folder is not None
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o640}


def test_an_unwritable_cache_folder_costs_one_warning(gguf: Path, tmp_path: Path, conversions: list[Path]) -> None:
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="cannot be cached") as caught:
        assert cached_conversion(gguf, torch.float32, tmp_path / "file" / "models") is None
    assert len(caught) == 1
    assert "\n" not in str(caught[0].message)


def test_a_full_disk_costs_one_warning_and_leaves_nothing(
    gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(gguf: Path, folder: Path, dtype: torch.dtype) -> None:
        (folder / "config.json").write_text("{}")
        raise OSError("No space left on device")

    monkeypatch.setattr(gguf_conversion, "write_conversion", fail)
    with pytest.warns(UserWarning, match="No space left on device"):
        assert cached_conversion(gguf, torch.float32, tmp_path / "models") is None
    assert not [path for path in (tmp_path / "models").iterdir() if path.is_dir()]


def test_clearing_removes_conversions_only(gguf: Path, tmp_path: Path, conversions: list[Path]) -> None:
    models = tmp_path / "models"
    folder = cached_conversion(gguf, torch.float32, models)
    (models / "SmolLM2-135M-Instruct").mkdir()
    assert clear_conversions(models) > 0
    assert folder is not None
    assert not folder.exists()
    assert (models / "SmolLM2-135M-Instruct").is_dir()
    assert clear_conversions(models) == 0


def test_a_file_that_is_no_model_is_named_and_leaves_nothing(
    tmp_path: Path, gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOOLKEN_CACHE", str(tmp_path / "cache"))
    with pytest.raises(LMNotFoundError, match="No language model could be loaded") as caught:
        FrozenLM.from_pretrained(gguf)
    assert "\n" not in str(caught.value)
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_dir() and path.name != "models"]
