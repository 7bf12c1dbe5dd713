"""The package's names are what they were before they were imported late, `fit` among them."""

import subprocess
import sys

import pytest

from toolken import training


def run(program: str) -> None:
    """Run a program in a new process, where nothing is imported yet."""
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("name", training.__all__)
def test_every_name_is_there(name: str) -> None:
    assert getattr(training, name).__name__ == name
    assert name in dir(training)


def test_fit_is_the_function_also_when_its_module_came_first() -> None:
    run("import toolken.training.fit; from toolken.training import fit; assert fit.__code__.co_name == 'fit'")
    run("from toolken.training.fit import fit as one; from toolken import training; assert training.fit is one")


def test_a_name_that_is_not_there_is_an_import_error() -> None:
    with pytest.raises(ImportError, match="cannot import name 'nothing'"):
        from toolken.training import nothing  # type: ignore[attr-defined]  # noqa: F401
