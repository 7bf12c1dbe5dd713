"""Checkpoints: what the name, folder or file of an LM stands for, found and loaded."""

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch
from safetensors import SafetensorError

from toolken.errors import LMNotFoundError
from toolken.training.lm.embedded import EMBEDDED, embedded_folder
from toolken.training.lm.network import Network
from toolken.training.lm.pytorch.collector import collector_paused
from toolken.training.lm.pytorch.llama import Llama
from toolken.training.lm.pytorch.transformers_network import TransformersNetwork

#: What reading a checkpoint raises when the checkpoint is at fault.
FAULTS = (OSError, ValueError, KeyError, RuntimeError, SafetensorError, struct.error)


def load_embedded(dtype: torch.dtype, device: str) -> tuple[Network, Any]:
    """Return the embedded LM and its tokenizer.

    On the CPU its forward pass is the project's own: transformers' model classes take longer to import than all the
    rest of a start.

    Raises
    ------
    LMNotFoundError
        If it is not installed, or what was converted from it cannot be loaded.
    """
    folder = embedded_folder()
    try:
        with collector_paused():
            # Not the class that finds out the tokenizer's class, which imports a part of every model to do so.
            from transformers import PreTrainedTokenizerFast

            tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
            llama = Llama.from_folder(folder, dtype) if torch.device(device).type == "cpu" else None
            if llama is not None:
                return llama, tokenizer
            return TransformersNetwork(load_model(folder, dtype, device, {}), EMBEDDED), tokenizer
    except FAULTS as error:
        raise LMNotFoundError(
            f"The embedded model could not be loaded from {str(folder)!r}: if a file there is damaged, delete the "
            f"folder, and the next start converts the model anew ({first_line(error)})."
        ) from error


def load_checkpoint(name: str, dtype: torch.dtype, device: str) -> tuple[Network, Any]:
    """Return the LM and the tokenizer of a folder, a GGUF file or a model of the Hugging Face hub.

    Raises
    ------
    LMNotFoundError
        If there is none of these by that name, or it is not a causal LM.
    """
    source: Path | str = name
    extra: dict[str, Any] = {}
    if name.endswith(".gguf"):
        path = Path(name)
        if not path.is_file():
            raise LMNotFoundError(f"There is no GGUF file {name!r}: give the path of an existing file.")
        source, extra = path.parent, {"gguf_file": path.name}
    elif not Path(name).is_dir() and not hub_resolves():
        # Without a network the hub's client would try for a minute what can only come from its cache.
        extra = {"local_files_only": True}
    try:
        with collector_paused():
            from transformers import AutoTokenizer

            tokenizer = AutoTokenizer.from_pretrained(source, **extra)
            model = load_model(source, dtype, device, extra)
    except FAULTS as error:
        raise LMNotFoundError(
            f"No language model could be loaded from {name!r}: give a folder with a Hugging Face causal LM, a "
            f"GGUF file, a reachable hub id, or nothing for the embedded model ({first_line(error)})"
        ) from error
    return TransformersNetwork(model, name), tokenizer


def transformers_twin(llama: Llama) -> TransformersNetwork:
    """Return transformers' own model of the same checkpoint, in the same number format."""
    with collector_paused():
        return TransformersNetwork(load_model(llama.folder, llama.dtype, "cpu", {}), llama.folder.name)


def load_model(source: Path | str, dtype: torch.dtype, device: str, extra: dict[str, Any]) -> Any:
    """Return transformers' causal LM of a checkpoint.

    Raises
    ------
    ValueError
        If the checkpoint lacks weights, which transformers would draw at random.
    """
    from transformers import AutoModelForCausalLM, GgufConfig

    options: dict[str, Any] = {"quantization_config": GgufConfig(dequantize=True)} if "gguf_file" in extra else {}
    with without_progress_bars():
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            source, dtype=dtype, output_loading_info=True, **options, **extra
        )
    model, report = loaded
    # Weights that are tied to others are not among them.
    if missing := sorted(report["missing_keys"]):
        raise ValueError(f"it lacks weights that a causal LM needs, {missing[0]!r} among them")
    return model.to(device)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message."""
    return str(error).strip().split("\n")[0]


def hub_resolves() -> bool:
    """Tell whether the hub's host has an address from here."""
    from huggingface_hub import constants

    try:
        socket.getaddrinfo(urlsplit(constants.ENDPOINT).hostname, None)
    except OSError:
        return False
    return True


@contextmanager
def without_progress_bars() -> Iterator[None]:
    """Keep transformers from drawing bars for work of a second or two."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
