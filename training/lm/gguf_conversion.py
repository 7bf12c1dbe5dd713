"""GGUF conversions: GGUF files as safetensors checkpoints in the cache folder, each converted once.

transformers dequantises a GGUF file at each load, which takes half a minute for 0.5 billion parameters; a safetensors
checkpoint of the same weights loads in a second.
"""

import hashlib
import importlib.metadata
import json
import shutil
import stat
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError

from toolken.training.lm.progress_bars import without_gguf_progress_bars
from toolken.training.lm.pytorch.collector import collector_paused
from toolken.training.progress import announce

if TYPE_CHECKING:
    import torch

#: Bytes at the beginning and at the end of a file that its fingerprint covers.
SAMPLE_BYTES = 65536
#: Beginning of the names of the conversions' folders.
PREFIX = "gguf-"
#: Counts changes of what a conversion contains; conversions of earlier versions are made again.
VERSION = 2


def cached_conversion(gguf: Path, dtype: "torch.dtype", models: Path) -> Path | None:
    """Return a folder with the checkpoint of a GGUF file, which is converted if it is new or has changed.

    Conversions of earlier contents of the same file are deleted.

    Parameters
    ----------
    gguf
        The file.
    dtype
        Number format of the weights, which take as much space on the disk as in memory.
    models
        Folder of the conversions.

    Returns
    -------
    folder
        The checkpoint, or None, after a warning, if it cannot be written.

    Raises
    ------
    ValueError, KeyError, ImportError
        If transformers cannot read the file.
    """
    place = hashlib.sha256(f"{gguf.resolve()}{dtype}".encode()).hexdigest()[:8]
    target = models / f"{PREFIX}{gguf.stem}-{place}-{_content_key(gguf)}"
    try:
        if not is_whole(target):
            announce(f"Converting {gguf.name} to safetensors (once for this file)")
        folder = convert_once(target, lambda folder: write_conversion(gguf, folder, dtype))
    except (OSError, SafetensorError) as error:
        reason = str(error).strip().split("\n")[0]
        warnings.warn(
            f"The conversion of {gguf.name} cannot be cached in {str(models)!r} ({reason}), so each load converts it "
            "again: set TOOLKEN_CACHE to a writable folder with enough space.",
            stacklevel=2,
        )
        return None
    for stale in models.glob(f"{PREFIX}{_escaped(gguf.stem)}-{place}-*"):
        if stale != target:
            shutil.rmtree(stale, ignore_errors=True)
    return folder


def clear_conversions(models: Path) -> int:
    """Delete all conversions in a folder and return the number of bytes that this frees."""
    freed = 0
    for folder in models.glob(f"{PREFIX}*"):
        freed += sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        shutil.rmtree(folder, ignore_errors=True)
    return freed


def convert_once(target: Path, write: Callable[[Path], None]) -> Path:
    """Return a folder that holds a whole checkpoint, writing it if it is not there.

    The checkpoint is written to a folder beside `target` and renamed, so a process that is killed leaves no
    half-written one. Of several processes one converts, and the others wait for it.

    Parameters
    ----------
    target
        The folder.
    write
        Writes the checkpoint's files into an empty folder.

    Raises
    ------
    OSError
        If the folder cannot be written.
    """
    if is_whole(target):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    from filelock import FileLock

    with FileLock(target.parent / f".{target.name}.lock"):
        if not is_whole(target):
            # Only the holder of the lock converts, so any remains are those of a process that was killed.
            for remains in [target, *target.parent.glob(f".{_escaped(target.name)}-*")]:
                shutil.rmtree(remains, ignore_errors=True)
            partial = target.parent / f".{target.name}-partial"
            partial.mkdir()
            try:
                write(partial)
                _share_mode(partial)
                partial.rename(target)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    return target


def is_whole(folder: Path) -> bool:
    """Return whether a folder holds a conversion."""
    return (folder / "config.json").is_file()


def write_conversion(gguf: Path, folder: Path, dtype: "torch.dtype") -> None:
    """Write the tokenizer and the dequantised weights of a GGUF file as a checkpoint of transformers."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    # Parsing a GGUF file makes millions of objects that stay.
    with collector_paused(), without_gguf_progress_bars():
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        model = AutoModelForCausalLM.from_pretrained(
            gguf.parent, gguf_file=gguf.name, dtype=dtype, quantization_config=GgufConfig(dequantize=True)
        )
        # transformers refuses to save a model that it takes for a quantised one, although every weight is dense now.
        for mark in ("hf_quantizer", "is_quantized", "quantization_method"):
            if hasattr(model, mark):
                delattr(model, mark)
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
        model.config._name_or_path = gguf.stem
        tokenizer.save_pretrained(folder)
        _keep_tokenizer(folder / "tokenizer_config.json")
        model.save_pretrained(folder)


def _keep_tokenizer(settings: Path) -> None:
    """Name the class that takes `tokenizer.json` as it is.

    A model's own class replaces the pre-tokenizer and the normalizer, so that the checkpoint would tokenize otherwise
    than the GGUF file, and its fingerprint would differ from that of llama.cpp.
    """
    values = json.loads(settings.read_text(encoding="utf-8"))
    values["tokenizer_class"] = "PreTrainedTokenizerFast"
    settings.write_text(json.dumps(values, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def _content_key(gguf: Path) -> str:
    """Return a digest of a file's size, time, beginning and end, and of the version of transformers."""
    status = gguf.stat()
    digest = hashlib.sha256(f"{VERSION} {importlib.metadata.version('transformers')} {status.st_size} ".encode())
    digest.update(str(status.st_mtime_ns).encode())
    with gguf.open("rb") as file:
        digest.update(file.read(SAMPLE_BYTES))
        file.seek(max(0, status.st_size - SAMPLE_BYTES))
        digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()[:16]


def _share_mode(folder: Path) -> None:
    """Give all files the mode that the user's umask gives to a new file; safetensors writes its own with 600."""
    mode = stat.S_IMODE((folder / "config.json").stat().st_mode)
    for file in folder.iterdir():
        if file.is_file():
            file.chmod(mode)


def _escaped(name: str) -> str:
    """Return a file name as a pattern of `Path.glob` that matches only itself."""
    return "".join(f"[{character}]" if character in "*?[" else character for character in name)
