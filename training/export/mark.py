"""The file that tells an export from other folders, and says which tools it has."""

import json
from pathlib import Path
from typing import Any

from toolken.errors import ExportError

#: The file, and its format.
MARK, FORMAT = "toolken.json", 1


def read_mark(folder: str | Path) -> dict[str, Any]:
    """Return what an export says of itself: its tools with their token ids, its wording, its LM.

    Raises
    ------
    ExportError
        If the folder is no export.
    """
    try:
        mark = json.loads((Path(folder) / MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ExportError(f"{str(folder)!r} is no exported head: make one with `toolken export`.") from error
    if not isinstance(mark, dict) or mark.get("format") != FORMAT:
        raise ExportError(f"{str(folder)!r} was exported by another version: export the head anew.")
    return mark
