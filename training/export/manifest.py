"""The manifest of an export: the file that identifies it and maps tools to tokens."""

import json
from pathlib import Path
from typing import Any

from toolken.errors import ExportError

#: Name and format version of the file.
MANIFEST, FORMAT = "toolken.json", 1


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """Return the manifest of an export: tools with their token ids, prompt format, LM.

    Raises
    ------
    ExportError
        If the folder is not an export, or was written by another version.
    """
    try:
        manifest = json.loads((Path(folder) / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ExportError(f"{str(folder)!r} is not an exported head: write one with `toolken export`.") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ExportError(f"{str(folder)!r} was exported by another version: export the head again.")
    return manifest
