"""Find phrases that readers stumbled over in prose, docstrings, comments and messages; `phrases.txt` lists them."""

import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
#: Texts for language models and users' own words, whose wording changes fitted heads.
EXEMPT = ("training/data/", "tools/household/data/", "tools/knowledge/data/", "tools/calculator/word_problems/")
#: A line with this comment is not checked.
MARK = "wording: exempt"


def phrases() -> list[tuple[re.Pattern[str], str]]:
    """Return each phrase as a pattern, and what to write instead."""
    lines = (ROOT / ".ci" / "phrases.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.partition("->") for line in lines if line.strip() and not line.startswith("#")]
    return [(re.compile(rf"\b(?:{phrase.strip()})\b", re.IGNORECASE), cure.strip()) for phrase, _, cure in pairs]


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of prose in a file with their numbers: of Python, comments and strings alone."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        yield from enumerate(text.splitlines(), start=1)
        return
    kinds = {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", -1)}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in kinds:
            yield from enumerate(token.string.splitlines(), start=token.start[0])


def main() -> None:
    """Print each phrase with its place; exit with 1 if there is one."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    known, count = phrases(), 0
    for name in filter(None, listed.split("\0")):
        path = ROOT / name
        if path.is_symlink() or not path.is_file() or name.startswith(EXEMPT):
            continue
        if path.suffix not in (".py", ".md", ".ipynb", ".toml", ".yml") and path.name != "Makefile":
            continue
        for number, line in texts(path):
            for pattern, cure in known:
                found = pattern.search(line)
                if found and MARK not in line and path.name not in ("phrases.txt", "wording.py"):
                    count += 1
                    print(f"{name}:{number}: {found[0]!r}: {cure}")
    if count:
        sys.exit(f"{count} phrases to word differently.")


if __name__ == "__main__":
    main()
