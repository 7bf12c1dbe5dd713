"""Checkpoints: find and load the embedded LM, a folder, a GGUF file or a model of the Hugging Face hub."""

import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch
from safetensors import SafetensorError

from toolken.errors import BackendError, LMNotFoundError
from toolken.training.lm.embedded import EMBEDDED, cache_folder, embedded_folder
from toolken.training.lm.gguf_conversion import cached_conversion
from toolken.training.lm.network import Network
from toolken.training.lm.progress_bars import without_gguf_progress_bars, without_progress_bars
from toolken.training.lm.pytorch.collector import collector_paused
from toolken.training.lm.pytorch.llama import Llama
from toolken.training.lm.pytorch.transformers_network import TransformersNetwork

#: What loading a checkpoint raises when the checkpoint or the arguments are at fault.
FAULTS = (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError, struct.error)
#: Model arguments that the tokenizer takes too.
SHARED_ARGUMENTS = ("trust_remote_code", "token", "cache_dir", "local_files_only", "subfolder", "force_download")


@dataclass(frozen=True)
class LoadOptions:
    """How to load a checkpoint; see `FrozenLM.from_pretrained`.

    Attributes
    ----------
    dtype
        Number format of the weights; None chooses it by `default_dtype`.
    device
        Device of the model; None is the CPU, or what `device_map` says.
    device_map, quantization_config, revision
        As in `transformers.PreTrainedModel.from_pretrained`.
    model_kwargs
        Further arguments of that method.
    """

    dtype: torch.dtype | None = None
    device: torch.device | None = None
    device_map: Any = None
    quantization_config: Any = None
    revision: str | None = None
    model_kwargs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_plain(self) -> bool:
        """Whether only dtype and device are chosen, and the device is the CPU."""
        others = (self.device_map, self.quantization_config, self.revision)
        on_cpu = self.device is None or self.device.type == "cpu"
        return on_cpu and all(one is None for one in others) and not self.model_kwargs

    @property
    def chosen_dtype(self) -> torch.dtype | str:
        """The given dtype, or the default one; `"auto"` is the checkpoint's own."""
        if self.dtype is not None:
            return self.dtype
        if self.device_map is not None:
            return default_dtype("cuda" if torch.accelerator.is_available() else "cpu")
        return default_dtype((self.device or torch.device("cpu")).type)


def default_dtype(device_type: str) -> torch.dtype | str:
    """Return the number format of weights that are loaded without a `dtype`.

    On accelerators it is the checkpoint's own (`"auto"`). On CPUs it is bfloat16 where x86-64 processors have
    instructions for its dot products (`avx512_bf16` or `amx_bf16`), and float32 elsewhere: processors that emulate
    bfloat16 take three times as long with it as with float32.
    """
    if device_type != "cpu":
        return "auto"
    flags = torch.cpu.get_capabilities()
    return torch.bfloat16 if flags.get("avx512_bf16") or flags.get("amx_bf16") else torch.float32


def usable_device(device: str | torch.device) -> torch.device:
    """Return a device that this installation of PyTorch can use.

    Raises
    ------
    BackendError
        If it cannot use the device.
    """
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        raise BackendError(
            f"PyTorch cannot use the device {str(device)!r} here ({first_error_line(error)}): "
            "name another one, such as 'cpu'."
        ) from error
    return chosen


def load_embedded(options: LoadOptions) -> tuple[Network, Any]:
    """Return the embedded LM and its tokenizer.

    On the CPU the project's own forward pass runs it, because importing transformers' model classes takes longer than
    the rest of a start.

    Raises
    ------
    LMNotFoundError
        If it is not installed, or its conversion cannot be loaded.
    BackendError
        If a library that the options need is not installed.
    """
    folder = embedded_folder()
    try:
        with collector_paused():
            # AutoTokenizer would import a part of every model to find the tokenizer's class.
            from transformers import PreTrainedTokenizerFast

            tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
            dtype = options.chosen_dtype
            if options.is_plain and isinstance(dtype, torch.dtype):
                llama = Llama.from_folder(folder, dtype)
                if llama is not None:
                    return llama, tokenizer
            return TransformersNetwork(load_model(folder, options), EMBEDDED), tokenizer
    except ImportError as error:
        raise missing_library(EMBEDDED, error) from error
    except FAULTS as error:
        raise LMNotFoundError(
            f"The embedded model could not be loaded from {str(folder)!r}: if a file there is damaged, delete the "
            f"folder, and the next start converts the model again ({first_error_line(error)})."
        ) from error


def load_checkpoint(name: str, options: LoadOptions) -> tuple[Network, Any]:
    """Return the LM and the tokenizer of a folder, a GGUF file or a model of the Hugging Face hub.

    The first load of a GGUF file converts it to safetensors in the cache folder, and later loads read those.

    Raises
    ------
    LMNotFoundError
        If there is none of these by that name, or it is not a causal LM.
    BackendError
        If a library that the options need is not installed.
    """
    source: Path | str = name
    converted: Path | None = None
    extra: dict[str, Any] = {key: options.model_kwargs[key] for key in SHARED_ARGUMENTS if key in options.model_kwargs}
    if options.revision is not None:
        extra["revision"] = options.revision
    try:
        if name.endswith(".gguf"):
            path = Path(name)
            if not path.is_file():
                raise LMNotFoundError(f"There is no GGUF file {name!r}: give the path of an existing file.")
            dtype = options.chosen_dtype
            converted = cached_conversion(
                path, dtype if isinstance(dtype, torch.dtype) else torch.bfloat16, cache_folder() / "models"
            )
            source = converted or path.parent
            if converted is None:
                extra["gguf_file"] = path.name
        elif not Path(name).is_dir() and not hub_resolves():
            # Without a network the hub's client would try for a minute what can only come from its cache.
            extra["local_files_only"] = True
        with collector_paused():
            from transformers import AutoTokenizer, PreTrainedTokenizerFast

            # The class that AutoTokenizer finds for a conversion may replace rules of the GGUF file by the class's own.
            reader = AutoTokenizer if converted is None else PreTrainedTokenizerFast
            tokenizer = reader.from_pretrained(source, **extra)
            model = load_model(source, options, **extra)
        return TransformersNetwork(model, name), tokenizer
    except ImportError as error:
        raise missing_library(name, error) from error
    except FAULTS as error:
        raise LMNotFoundError(
            f"No language model could be loaded from {name!r}: give a folder with a Hugging Face causal LM, a "
            f"GGUF file, a reachable hub id, or nothing for the embedded model ({first_error_line(error)})"
        ) from error


def transformers_twin(llama: Llama) -> TransformersNetwork:
    """Return transformers' own model of the same checkpoint, in the same number format."""
    with collector_paused():
        return TransformersNetwork(load_model(llama.folder, LoadOptions(dtype=llama.dtype)), llama.folder.name)


def load_model(source: Path | str, options: LoadOptions, **extra: Any) -> Any:
    """Return transformers' causal LM of a checkpoint.

    Parameters
    ----------
    source
        A folder or a hub id.
    options
        How to load it.
    extra
        Further arguments of `from_pretrained`, such as `gguf_file`.

    Raises
    ------
    ValueError
        If the checkpoint lacks weights, which transformers would draw at random.
    """
    from transformers import AutoModelForCausalLM, GgufConfig

    dtype = options.chosen_dtype
    arguments: dict[str, Any] = {"dtype": dtype}
    if "gguf_file" in extra:
        # A GGUF file has no dtype that torch computes in.
        arguments |= {
            "dtype": torch.bfloat16 if dtype == "auto" else dtype,
            "quantization_config": GgufConfig(dequantize=True),
        }
    device_map = options.device_map
    if options.quantization_config is not None:
        arguments["quantization_config"] = options.quantization_config
        if device_map is None and options.device is not None:
            device_map = {"": str(options.device)}  # quantised models refuse to be moved
    if device_map is not None:
        arguments["device_map"] = device_map
    arguments |= {**options.model_kwargs, **extra, "output_loading_info": True}
    with without_gguf_progress_bars() if "gguf_file" in extra else without_progress_bars():
        loaded: Any = AutoModelForCausalLM.from_pretrained(source, **arguments)
    model, report = loaded
    # Tied weights do not count as missing.
    if missing := sorted(report["missing_keys"]):
        raise ValueError(f"it lacks weights that a causal LM needs, {missing[0]!r} among them")
    return model if device_map is not None else model.to(options.device or "cpu")


def missing_library(name: str, error: ImportError) -> BackendError:
    """Return the error for a model that needs a library which is not installed."""
    return BackendError(
        f"Loading {name!r} as asked needs a library that is not installed: install it, or leave out the option that "
        f"needs it ({first_error_line(error)})."
    )


def first_error_line(error: BaseException) -> str:
    """Return the first line of an error's message."""
    return str(error).strip().split("\n")[0]


def hub_resolves() -> bool:
    """Return whether the name of the hub's host resolves to an address."""
    from huggingface_hub import constants

    try:
        socket.getaddrinfo(urlsplit(constants.ENDPOINT).hostname, None)
    except OSError:
        return False
    return True
