"""`write_corpora`: published sets with free licences as corpora that `toolken pretrain` learns from."""

import json
import random
from pathlib import Path
from typing import Any

from toolken.benchmarks.function_calling.call_sets import dev_and_test
from toolken.benchmarks.function_calling.seal_tools import read_seal_tools
from toolken.benchmarks.sets.metatool import learned_tools, read_metatool
from toolken.benchmarks.sets.registry import folder_of
from toolken.training.head.atomic_file import replace_file
from toolken.training.tool_spec import ToolSpec

#: Requests of each of MetaTool's learned tools, drawn from MetaTool's training part.
METATOOL_REQUESTS = 20


def write_corpora(data: Path, out: Path) -> dict[str, tuple[int, int]]:
    """Write `metatool.jsonl` (MIT) and `seal_tools.jsonl` (Apache-2.0); return the tools and requests of each.

    Parameters
    ----------
    data
        Parent folder of the published sets.
    out
        Folder for the files.

    Raises
    ------
    DataFormatError
        If a set is missing or has another form.
    OSError
        If a file cannot be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    written = {}
    for name, lines in (("metatool", _metatool(data)), ("seal_tools", _seal_tools(data))):
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        replace_file(out / f"{name}.jsonl", text.encode())
        written[name] = sum("tool" in line for line in lines), sum("request" in line for line in lines)
    return written


def _metatool(data: Path) -> list[dict[str, Any]]:
    found = read_metatool(folder_of("metatool", data))
    chosen = learned_tools(spec.name for spec in found.specs)
    requests: dict[str, list[str]] = {}
    for examples in found.train.values():
        for example in examples:
            requests.setdefault(example.calls[0].tool, []).append(example.question)
    rng = random.Random(0)
    drawn = {
        name: rng.sample(texts, min(METATOOL_REQUESTS, len(texts)))
        for name, texts in requests.items()
        if name in chosen
    }
    return [
        {"domain": "metatool", "split": "train", "source": "MetaTool, HowieHwong/MetaTool", "licence": "MIT"},
        *(_tool(spec) for spec in found.specs if spec.name in drawn),
        *({"request": text, "calls": [{"tool": name, "args": {}}]} for name, texts in drawn.items() for text in texts),
    ]


def _seal_tools(data: Path) -> list[dict[str, Any]]:
    # The test half of the records measures.
    dev, _ = dev_and_test(read_seal_tools(folder_of("seal-tools", data)))
    records = [one for one in dev if len(one.expected) == 1 and len(one.tools) == 1]
    specs = {spec.name: spec for record in records for spec in record.tools}
    requests = {record.request: record.expected[0].tool for record in records}
    return [
        {
            "domain": "seal_tools",
            "split": "train",
            "source": "Seal-Tools, fairyshine/Seal-Tools",
            "licence": "Apache-2.0",
        },
        *(_tool(spec) for spec in specs.values()),
        *({"request": text, "calls": [{"tool": name, "args": {}}]} for text, name in requests.items()),
    ]


def _tool(spec: ToolSpec) -> dict[str, Any]:
    # Only which tool is right is learned from these sets, so that arguments are left out of the calls.
    properties: dict[str, Any] = {name: {} for name in spec.arguments}
    parameters = {"type": "object", "properties": properties}
    return {"tool": {"name": spec.name, "description": spec.description, "parameters": parameters}}
