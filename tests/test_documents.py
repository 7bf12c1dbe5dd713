"""README and docs are true: code runs and prints the shown output, commands exist, links lead somewhere."""

import contextlib
import io
import re
import runpy
import shlex
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from sybil import Document, Example, Region, Sybil
from sybil.parsers.markdown.lexers import RawFencedCodeBlockLexer
from typer.main import get_command

from toolken import cli

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PAGES = runpy.run_path(str(ROOT / "docs" / "scripts" / "pages.py"))

BLOCK = RawFencedCodeBlockLexer(re.compile(r'(?P<language>\w*)(?: title="(?P<title>[^"]+)")?[ ]*\n'))
#: Probabilities and seconds, which differ slightly between machines.
DECIMALS = re.compile(r"\d+\.\d+")


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(path: Path) -> list[tuple[str, str]]:
    """Return language and content of each fenced block."""
    text = path.read_text(encoding="utf-8")
    return [(region.lexemes["language"], str(region.lexemes["source"])) for region in BLOCK(Document(text, str(path)))]


def texts(path: Path) -> list[str]:
    """Return the Markdown texts of a document or a notebook."""
    if path.suffix == ".md":
        return [path.read_text(encoding="utf-8")]
    cells = nbformat.read(path, as_version=4).cells  # type: ignore[no-untyped-call]
    return [cell.source for cell in cells if cell.cell_type == "markdown"]


def anchors(path: Path) -> set[str]:
    """Return the anchors of a document's headings."""
    titles = re.findall(r"^#+ +(.+?)\s*$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", [*DOCUMENTS, *NOTEBOOKS], ids=name_of)
def test_links_inside_the_project_lead_somewhere(path: Path) -> None:
    for text in texts(path):
        without_code = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
        for link in re.findall(r"\]\(([^)\s]+)\)", without_code):
            target, _, anchor = link.partition("#")
            if "://" in link:
                continue
            aim = path.parent / target if target else path
            assert aim.exists(), f"{name_of(path)} links to {link}"
            assert not anchor or anchor in anchors(aim), f"{name_of(path)} links to {link}"


class Runner:
    """Runs the blocks of a document one after another, as a reader would, in a given folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: dict[str, Any] = {}
        self.printed = ""
        self.commands: list[str] = []

    def parse(self, document: Document) -> Any:
        for region in BLOCK(document):
            yield Region(region.start, region.end, dict(region.lexemes), self.run)

    def run(self, example: Example) -> None:
        language, title, source = (example.parsed[key] for key in ("language", "title", "source"))
        if title:
            (self.folder / title).write_text(str(source), encoding="utf-8")
        elif language == "python":
            code = compile("\n" * (example.line + source.line_offset) + str(source), example.path, "exec")
            caught = io.StringIO()
            with contextlib.redirect_stdout(caught):
                exec(code, self.names)
            self.printed, self.commands = caught.getvalue(), []
        elif language == "sh":
            self.printed, self.commands = "", toolken_commands(str(source))
        elif language == "text" and (self.printed or self.commands):
            if self.commands:
                printed = "".join(map(run_command, self.commands)).strip()
                # Progress bars may precede the output.
                assert DECIMALS.sub("#", printed).endswith(DECIMALS.sub("#", str(source).strip()))
            else:
                assert self.printed.strip() == str(source).strip()
            self.printed, self.commands = "", []


def toolken_commands(source: str) -> list[str]:
    """Return the `toolken` commands of a shell block."""
    return [line for line in source.splitlines() if line.startswith("toolken ")]


def run_command(line: str) -> str:
    """Run a `toolken` command in this process and return what it printed."""
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.MonkeyPatch.context() as patch,
        contextlib.suppress(SystemExit),
    ):
        patch.setattr("sys.argv", shlex.split(line))
        cli.main()
    return out.getvalue() or err.getvalue()


WITH_CODE = [path for path in DOCUMENTS if any(language == "python" for language, _ in blocks(path))]


@pytest.mark.parametrize("path", WITH_CODE, ids=name_of)
def test_blocks_run_and_print_what_is_shown(
    path: Path, embedded_lm: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    known = set(sys.modules)
    try:
        for example in Sybil(parsers=[Runner(tmp_path).parse]).parse(path).examples():
            example.evaluate()
    finally:
        for name in set(sys.modules) - known:
            if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
                del sys.modules[name]


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_commands_that_are_shown_exist_with_their_options(path: Path) -> None:
    shown = [line for language, source in blocks(path) if language == "sh" for line in toolken_commands(source)]
    shown += re.findall(r"`(toolken [^`]+)`", path.read_text(encoding="utf-8"))
    for line in shown:
        parses(line)


def parses(line: str) -> None:
    """Check that the command and options of a command line exist; `...` and capitals are placeholders."""
    command: Any = get_command(cli.app)
    words = shlex.split(line, comments=True)[1:]
    while words and hasattr(command, "commands"):
        assert words[0] in command.commands or words[0].startswith("-") or words[0].isupper() or words[0] == "...", line
        if words[0] not in command.commands:
            return
        command = command.commands[words.pop(0)]
    options = {option for one in command.params for option in one.opts} | {"--help"}
    assert not [word for word in words if word.startswith("--") and word not in options], line


@pytest.mark.parametrize("file", PAGES["PAGES"])
def test_pages_that_follow_from_the_code_are_up_to_date(file: str) -> None:
    written = (ROOT / "docs" / file).read_text(encoding="utf-8")
    assert PAGES["PAGES"][file]() == written, f"docs/{file} is out of date: run `make pages`."


@pytest.mark.parametrize("error", PAGES["all_errors"](), ids=lambda error: error.__name__)
def test_every_error_says_what_causes_and_what_cures_it(error: type[Exception]) -> None:
    cause, cure = PAGES["cause_and_cure"](error)
    assert cause.endswith(".")
    assert cure.endswith(".")


@pytest.mark.parametrize("path", [*DOCUMENTS, *NOTEBOOKS], ids=name_of)
def test_no_path_of_a_machine_is_shown(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"/(?:home|root|work|tmp|Users)/|site-packages", text)
