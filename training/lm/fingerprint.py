"""The fingerprint of an LM: what makes two LMs the same for a head."""

import hashlib
import json
from collections.abc import Iterable
from typing import Any

import torch


def fingerprint_of(config: Any, tokenizer: Any, weights: Iterable[tuple[str, torch.Tensor]]) -> str:
    """Return a hex digest of architecture, tokenizer and 64 numbers of each weight, rounded to bfloat16.

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
    keys = ("model_type", "vocab_size", "hidden_size", "num_hidden_layers")
    shape = {key: getattr(config, key, None) for key in keys}
    digest.update(json.dumps(shape, sort_keys=True).encode())
    digest.update(_lasting(tokenizer.backend_tokenizer.to_str()).encode())
    for _, parameter in sorted(weights):
        rows = parameter.detach().reshape(-1)
        sample = rows[:: max(1, rows.numel() // 64)][:64].to(torch.bfloat16).view(torch.int16)
        digest.update(sample.cpu().numpy().tobytes())
    return digest.hexdigest()[:32]


def _lasting(tokenizer: str) -> str:
    """Return a tokenizer's JSON without the truncation and padding of its last call.

    All the rest stays as it is to the letter, so that a tokenizer that has neither keeps its digest.
    """
    reader = json.JSONDecoder()
    for key in ('"truncation":', '"padding":'):  # both stand before everything that a tokenizer's author chooses
        start = tokenizer.index(key) + len(key)
        _, end = reader.raw_decode(tokenizer, start)
        tokenizer = f"{tokenizer[:start]}null{tokenizer[end:]}"
    return tokenizer
