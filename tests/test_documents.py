"""What README and docs show is what happens: code blocks run, their output is real, links lead somewhere."""

import contextlib
import io
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])


def blocks(path: Path) -> list[tuple[str, str]]:
    """Return language and content of each fenced block."""
    return re.findall(r"^```(\w*)\n(.*?)^```", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_inside_the_project_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


@pytest.mark.parametrize(
    "path", [path for path in DOCUMENTS if any(kind == "python" for kind, _ in blocks(path))], ids=lambda p: p.name
)
def test_python_blocks_run_and_print_what_is_shown(path: Path, embedded_lm: object) -> None:
    shared: dict[str, object] = {}
    printed = ""
    for kind, content in blocks(path):
        if kind == "python":
            caught = io.StringIO()
            with contextlib.redirect_stdout(caught):
                exec(compile(content, f"{path.name}", "exec"), shared)
            printed = caught.getvalue()
        elif kind == "text" and printed:
            assert printed.strip() == content.strip()
            printed = ""


def test_commands_in_the_readme_exist() -> None:
    from typer.main import get_command

    from toolken.cli import app

    command = get_command(app)
    groups = command.commands  # type: ignore[attr-defined]
    for name, second in re.findall(r"^\| `toolken (\w+)(?: (\w+))?", (ROOT / "README.md").read_text(), re.MULTILINE):
        assert name in groups
        if second:
            assert second in groups[name].commands
