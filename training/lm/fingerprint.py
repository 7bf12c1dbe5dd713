"""The fingerprint of an LM: what makes two LMs the same for a head."""

import hashlib
import json
import re
from collections.abc import Iterable
from typing import Any

import torch

#: Settings that say which architecture it is.
SHAPE = ("model_type", "vocab_size", "hidden_size", "num_hidden_layers")
#: Names of the settings, beside the shape, that change what the same weights compute: rotary positions, norms, windows,
#: activations, scales and caps of attention and logits, numbers of heads, routing to experts.
COMPUTING = re.compile(
    r"rope|rotary|alibi|norm|eps|window|layer_types|act(ivation)?($|_)|_act|scal|multiplier|softcap|query_pre_attn"
    r"|head|bias|parallel|experts_per_tok|topk|residual|position_embedding_type"
)
#: Names among them that do not: training, the class that runs the model, and other modalities.
NOT_COMPUTING = re.compile(r"dropout|initializer|implementation|init_|aux_loss|loss|_config$|pruned|tp_plan|^_")


def fingerprint_of(config: Any, tokenizer: Any, weights: Iterable[tuple[str, torch.Tensor]]) -> str:
    """Return a hex digest of configuration, tokenizer and 64 numbers of each weight, rounded to bfloat16.

    Parameters
    ----------
    config
        The model's configuration.
    tokenizer
        Its fast tokenizer.
    weights
        Every weight once, in any order, by its name in a checkpoint of transformers.
    """
    digest = hashlib.sha256()
    digest.update(json.dumps(computing_settings(config), sort_keys=True).encode())
    digest.update(_lasting(tokenizer.backend_tokenizer.to_str()).encode())
    for _, parameter in sorted(weights):
        rows = parameter.detach().reshape(-1)
        sample = rows[:: max(1, rows.numel() // 64)][:64].to(torch.bfloat16).view(torch.int16)
        digest.update(sample.cpu().numpy().tobytes())
    return digest.hexdigest()[:32]


def computing_settings(config: Any) -> dict[str, Any]:
    """Return the settings of a configuration that change what a model computes, in a form that is the same everywhere.

    A setting that is None counts as absent, and numbers are rounded to six digits: GGUF files keep them in single
    precision.
    """
    text_config = getattr(config, "get_text_config", None)
    config = config if text_config is None else text_config(decoder=True)
    found = {key: getattr(config, key, None) for key in SHAPE}
    found |= {
        key: value for key, value in vars(config).items() if COMPUTING.search(key) and not NOT_COMPUTING.search(key)
    }
    return {key: _rounded(value) for key, value in found.items() if value is not None}


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _rounded(one) for key, one in value.items() if one is not None}
    if isinstance(value, list | tuple):
        return [_rounded(one) for one in value]
    if isinstance(value, bool | str):
        return value
    return f"{value:.6g}" if isinstance(value, int | float) else str(value)


def _lasting(tokenizer: str) -> str:
    """Return a tokenizer's JSON without the truncation and padding of its last call; the rest stays unchanged."""
    reader = json.JSONDecoder()
    for key in ('"truncation":', '"padding":'):  # both precede everything that a tokenizer's author chooses
        start = tokenizer.index(key) + len(key)
        _, end = reader.raw_decode(tokenizer, start)
        tokenizer = f"{tokenizer[:start]}null{tokenizer[end:]}"
    return tokenizer
