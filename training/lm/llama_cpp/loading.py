"""Load GGUF files for llama.cpp, with the tokenizer and configuration that transformers reads from them."""

from pathlib import Path
from typing import Any

from toolken.errors import LMNotFoundError
from toolken.training.lm.checkpoint import FAULTS, first_error_line
from toolken.training.lm.embedded import EMBEDDED, embedded_folder, embedded_gguf
from toolken.training.lm.llama_cpp.library import library
from toolken.training.lm.llama_cpp.network import LlamaCpp
from toolken.training.lm.pytorch.collector import collector_paused


def load_gguf(name: str) -> tuple[LlamaCpp, Any]:
    """Return a network that llama.cpp runs, and its tokenizer.

    transformers builds the tokenizer, so tokens and their character offsets are the same on both backends. It does not
    read the weights.

    Parameters
    ----------
    name
        Path of a GGUF file, or the embedded LM's name.

    Raises
    ------
    LMNotFoundError
        If there is no such file, or it cannot be loaded.
    BackendError
        If llama.cpp is not installed.
    """
    library()  # the most likely error, raised before any file is read
    if name == EMBEDDED:
        path, folder = embedded_gguf(), embedded_folder()
        source: dict[str, Any] = {"pretrained_model_name_or_path": folder}
    else:
        path = Path(name)
        if not name.endswith(".gguf") or not path.is_file():
            raise LMNotFoundError(
                f"{name!r} is not a GGUF file: give the path of one, or omit it for the embedded model."
            )
        source = {"pretrained_model_name_or_path": path.parent, "gguf_file": path.name}
    try:
        with collector_paused():
            tokenizer, config = _tokenizer(source), _config(source)
    except FAULTS as error:
        raise LMNotFoundError(
            f"The GGUF file {name!r} cannot be used: it is damaged, or transformers does not know its architecture or "
            f"tokenizer ({first_error_line(error)})."
        ) from error
    network = LlamaCpp(path, config, name)
    if len(tokenizer) > network.vocab_size:
        raise LMNotFoundError(
            f"The GGUF file {name!r} has a tokenizer of {len(tokenizer)} tokens and a vocabulary of "
            f"{network.vocab_size}: it is damaged."
        )
    return network, tokenizer


def _tokenizer(source: dict[str, Any]) -> Any:
    if "gguf_file" in source:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(**source)
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast.from_pretrained(**source)


def _config(source: dict[str, Any]) -> Any:
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(**source)
