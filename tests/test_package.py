"""The public names of `import toolken`, and how long they may take to import."""

import subprocess
import sys

import pytest

import toolken


def run(program: str) -> str:
    """Run a program in a new process, where nothing is imported yet, and return what it prints."""
    return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("name", toolken.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(toolken, name).__name__ == name
    assert name in dir(toolken)


def test_importing_toolken_imports_none_of_the_heavy_libraries() -> None:
    heavy = ("torch", "transformers", "langchain_core", "sympy", "sqlalchemy", "numpy", "pydantic")
    program = f"import sys, toolken; print([name for name in {heavy!r} if name in sys.modules])"
    assert run(program).strip() == "[]"


def test_the_version_is_that_of_the_installed_distribution() -> None:
    from importlib.metadata import version

    assert toolken.__version__ == version("toolken")


def test_an_unknown_name_is_an_import_error() -> None:
    with pytest.raises(ImportError, match="cannot import name 'nothing'"):
        from toolken import nothing  # type: ignore[attr-defined]  # noqa: F401
