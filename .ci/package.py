"""Build sdist and wheel, install the wheel alone in a new environment, and use it as the README says."""

import argparse
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from email import message_from_bytes
from pathlib import Path

ROOT = Path(__file__).parent.parent
#: Folders of the sdist, and the package they become in the wheel.
PACKAGES = {"agents": "toolken", "benchmarks": "toolken", "tools": "toolken", "training": "toolken"}


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """Run a command, echo what it prints, and return its standard output."""
    print("$", *command, flush=True)
    shown = subprocess.run(command, cwd=cwd, env={**os.environ, **environment}, text=True, capture_output=True)
    print(shown.stdout, shown.stderr, sep="", end="", flush=True)
    if shown.returncode:
        sys.exit(f"{command[0]} exited with {shown.returncode}.")
    return shown.stdout


def check_contents(sdist: Path, wheel: Path) -> None:
    """Make sure that the wheel has the files of the sdist, that neither has stray ones, and that links are absolute."""
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    with zipfile.ZipFile(wheel) as archive:
        built = {name for name in archive.namelist() if ".dist-info/" not in name}
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        description = str(message_from_bytes(archive.read(metadata)).get_payload())
    expected = set()
    for name in names:
        top = name.partition("/")[0]
        if top in PACKAGES:
            expected.add(f"{PACKAGES[top]}/{name}")
        elif name.startswith("src/"):
            expected.add(name.removeprefix("src/"))
    if expected != built:
        sys.exit(f"The wheel differs from the sdist: {sorted(expected ^ built)[:5]}.")
    stray = [name for name in names | built if re.search(r"__pycache__|\.pyc$|(^|/)\.(venv|git/)|(^|/)tests/", name)]
    if stray:
        sys.exit(f"Stray files: {stray[:5]}.")
    relative = re.findall(r"\]\((?!https?://|#)[^)]*\)", description)
    if relative:
        sys.exit(f"The wheel's README has relative links: {relative[:5]}.")
    print(f"{wheel.name}: {len(built)} files, {wheel.stat().st_size / 1e6:.1f} MB", flush=True)


def readme_example() -> tuple[str, str]:
    """Return the first Python block of the README and the output that follows it."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(r"```python\n(.*?)```\s*```text\n(.*?)```", text, re.DOTALL)
    if found is None:
        sys.exit("The README has no Python block followed by its output.")
    return found[1], found[2]


def main() -> None:
    """Build, install and try the package."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--torch", required=True, help="requirement of torch, installed first")
    parser.add_argument("--embedded", required=True, help="requirement of the embedded LM, without its dependencies")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run(sys.executable, "-m", "build", "--outdir", folder / "dist", ".", cwd=ROOT)
        (sdist,), (wheel,) = (folder / "dist").glob("*.tar.gz"), (folder / "dist").glob("*.whl")
        check_contents(sdist, wheel)
        venv.create(folder / "env", with_pip=True)
        programs = folder / "env" / "bin"
        pip = (programs / "python", "-m", "pip", "install", "--quiet")
        run(*pip, options.torch, cwd=folder)
        run(*pip, "--no-deps", options.embedded, cwd=folder)
        run(*pip, "--constraint", ROOT / "constraints.txt", wheel, cwd=folder)
        code, expected = readme_example()
        (folder / "example.py").write_text(code, encoding="utf-8")
        cache = {"TOOLKEN_CACHE": str(folder / "cache"), "PYTHONWARNINGS": "error::DeprecationWarning:toolken"}
        printed = run(programs / "python", "example.py", cwd=folder, **cache)
        if printed.strip() != expected.strip():
            sys.exit(f"The README's example printed {printed!r} instead of {expected!r}.")
        run(programs / "toolken", "--version", cwd=folder)
        answer = run(programs / "toolken", "ask", "What is the capital of Portugal?", cwd=folder, **cache)
        if "Lisbon" not in answer:
            sys.exit("`toolken ask` did not name Lisbon.")


if __name__ == "__main__":
    main()
