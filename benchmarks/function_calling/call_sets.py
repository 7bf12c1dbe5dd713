"""`read_call_set`: any set of function-calling records; its dev and test records, and records with more tools."""

import hashlib
import json
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

from toolken.benchmarks.function_calling.acebench import read_acebench
from toolken.benchmarks.function_calling.answered_files import NO_TOOL_FITS
from toolken.benchmarks.function_calling.bfcl import read_bfcl
from toolken.benchmarks.function_calling.call_set import CallSet
from toolken.benchmarks.function_calling.published_tools import free_name
from toolken.benchmarks.function_calling.record import CallRecord
from toolken.benchmarks.function_calling.seal_tools import REQUESTS, TOOLS, read_seal_tools
from toolken.benchmarks.function_calling.written import read_written
from toolken.errors import DataFormatError
from toolken.training.tool_spec import ToolSpec, name_words

__all__ = ["PUBLISHED", "CallSet", "dev_and_test", "read_call_set", "takes_distractors", "with_distractors"]

#: The readers of the published sets, each in a folder of its name.
PUBLISHED: dict[str, Callable[[Path, str], CallSet]] = {
    "bfcl": read_bfcl,
    "acebench": read_acebench,
    "seal-tools": read_seal_tools,
}

#: The sets that are part of the project, with their folders in the package.
WRITTEN = {
    "conversations": ("toolken.benchmarks", "data/conversations"),
    "safety": ("toolken.benchmarks", "data/safety"),
    "corpus": ("toolken.training", "data/corpus"),
}

_FORMS = (
    'X.jsonl with X_answers.jsonl (BFCL, ACEBench), tool.jsonl with dev.jsonl (Seal-Tools), or files that begin with {"'
    'domain": ...}'
)


def read_call_set(name: str | Path, data: str | Path | None = None) -> CallSet:
    """Read a published set, or a folder or file in any of the known forms.

    Parameters
    ----------
    name
        "bfcl", "acebench" or "seal-tools"; "conversations", "safety" or "corpus", which are part of the project; a
        folder in one of their forms, or a file in the project's own.
    data
        Folder of a published set, or the one above it; or a folder with any other set called `name`.

    Raises
    ------
    DataFormatError
        If there is no such folder, it has another form, or one of its records has; the message has file and line.
    """
    path = _place(str(name), data)
    named = str(name) if name in PUBLISHED else path.stem if path.is_file() else path.name
    return _form(path)(path, named)


def _place(name: str, data: str | Path | None) -> Path:
    if name in WRITTEN:
        package, folder = WRITTEN[name]
        return Path(str(files(package))) / folder
    inside = Path(data) / name if data is not None else None
    if inside is not None and inside.exists():
        return inside
    if name not in PUBLISHED and Path(name).exists():
        return Path(name).resolve()
    if name in PUBLISHED and data is not None and _has_form(Path(data), PUBLISHED[name]):
        return Path(data)
    if name in PUBLISHED and data is None:
        raise DataFormatError(f"The set {name!r} needs the folder that has it: give --data.")
    looked = f"{str(inside)!r}" if name in PUBLISHED else f"{name!r}" + (f" and {str(inside)!r}" if inside else "")
    raise DataFormatError(
        f"There is no {looked}: give one of {', '.join(PUBLISHED)} with --data, "
        f"one of {', '.join(WRITTEN)}, or a folder."
    )


def _has_form(path: Path, reader: Callable[[Path, str], CallSet]) -> bool:
    try:
        return _form(path) is reader
    except DataFormatError:
        return False


def _form(path: Path) -> Callable[[Path, str], CallSet]:
    """Return the reader of a folder or file."""
    if path.is_file():
        return read_written
    if (path / TOOLS).is_file() and (path / REQUESTS).is_file():
        return read_seal_tools
    for file in sorted(path.glob("*.jsonl")):
        first = _first_record(file)
        if not isinstance(first, dict):
            continue
        if "domain" in first:
            return read_written
        if "function" in first and "question" in first:
            turns = first["question"]
            return read_acebench if isinstance(turns, str) and re.match(r"user\s*:", turns) else read_bfcl
    raise DataFormatError(f"{str(path)!r} has none of the known forms: give a folder with {_FORMS}.")


def _first_record(file: Path) -> object:
    try:
        with file.open(encoding="utf-8-sig") as lines:
            return json.loads(next((line for line in lines if line.strip()), "null"))
    except (OSError, ValueError):
        return None


def dev_and_test(call_set: CallSet) -> tuple[tuple[CallRecord, ...], tuple[CallRecord, ...]]:
    """Return the dev records and the test records of a set.

    Where the files name a split, "train" and "dev" are dev. Else half of the domains, or of the records without one,
    are dev, by a hash of the domain or of the first message of the user: records of one conversation stay together, and
    so do copies of a request.
    """
    dev: list[CallRecord] = []
    test: list[CallRecord] = []
    for record in call_set:
        split = call_set.splits.get(record.domain)
        is_dev = split != "test" if split else _hash(_group(record)) % 2 == 0
        (dev if is_dev else test).append(record)
    return tuple(dev), tuple(test)


def _group(record: CallRecord) -> str:
    asked = next(message.text for message in record.messages if message.type == "human")
    return record.domain or " ".join(asked.split()).casefold()


def takes_distractors(record: CallRecord) -> bool:
    """Return whether tools of other records leave the right answer as it is.

    A request that no tool of its record fits may be one that a tool of another record fits: some of ACEBench's
    irrelevant requests are other requests of the set with other tools.
    """
    fits_no_tool = record.category in ("no_tool", "knowledge") or NO_TOOL_FITS.search(record.category)
    return bool(record.expected or record.missing or record.wrong) or not fits_no_tool


def with_distractors(record: CallRecord, pool: Sequence[ToolSpec], n: int, seed: int = 0) -> CallRecord:
    """Return a record with tools from a pool up to `n` tools, in a random order.

    A tool of the pool is left out if its name has the words of a name of the record, in any order, since it may answer
    the request as well ("triangle_area", "area.triangle"), or if an earlier one has its description, since toolkens
    need distinct ones. Tools whose name is taken come last, with a number: "search_2". The same record, pool, `n` and
    seed give the same tools in the same order; a larger `n` keeps the distractors of a smaller one. The record's own
    tools are always there, and fewer than `n` tools if the pool has no more.

    Parameters
    ----------
    record
        The record; see `takes_distractors`.
    pool
        Tools of the whole set.
    n
        Number of tools.
    seed
        Seed of the choice and the order.
    """
    rng = random.Random(f"{seed}/{record.id}")
    own = {_name_key(spec) for spec in record.tools}
    names = {spec.name for spec in record.tools}
    descriptions = {_words(spec) for spec in record.tools}
    tools, clashing = list(record.tools), []
    for place in rng.sample(range(len(pool)), len(pool)):
        spec = pool[place]
        if len(tools) >= n:
            break
        if _words(spec) in descriptions or _name_key(spec) in own:
            continue
        if spec.name in names:
            clashing.append(spec)
            continue
        names.add(spec.name)
        descriptions.add(_words(spec))
        tools.append(spec)
    for spec in clashing:
        if len(tools) >= n:
            break
        if _words(spec) not in descriptions:
            descriptions.add(_words(spec))
            # Not a copy: it would keep the digest of the other name.
            renamed = ToolSpec(
                name=free_name(spec.name, names), description=spec.description, parameters=spec.parameters
            )
            names.add(renamed.name)
            tools.append(renamed)
    rng = random.Random(f"order/{seed}/{record.id}")
    return replace(record, tools=tuple(rng.sample(tools, len(tools))))


def _name_key(spec: ToolSpec) -> tuple[str, ...]:
    return tuple(sorted(name_words(spec.name).split()))


def _words(spec: ToolSpec) -> str:
    return spec.words.strip().lower()


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
