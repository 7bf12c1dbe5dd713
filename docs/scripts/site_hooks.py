"""MkDocs hooks: the README becomes the home page, and links out of docs/ become plain names."""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent.parent
_LINK = re.compile(r"(?<!!)\[(?P<text>[^\]]+)\]\((?P<target>[^)\s]+)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the README as the home page, with links relative to docs/."""
    text = (ROOT / "README.md").read_text(encoding="utf-8").replace("](docs/", "](").replace('src="docs/', 'src="')
    files.append(File.generated(config, "index.md", content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Replace links to files outside the site by the names of the files.

    Such links work on a code forge, but not on the site. `tests/test_documents.py` checks that the files exist.
    """
    folder = ROOT if page.file.src_uri == "index.md" else (ROOT / "docs" / page.file.src_uri).parent

    def inside(link: re.Match[str]) -> str:
        target = link["target"].partition("#")[0]
        path = (folder / target).resolve()
        outside = target and "://" not in target and path.exists() and not path.is_relative_to(ROOT / "docs")
        return f"{link['text']} (`{path.relative_to(ROOT)}`)" if outside else link[0]

    return _LINK.sub(inside, markdown)
