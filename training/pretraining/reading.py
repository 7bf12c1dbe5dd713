"""`read_views`: the views of many texts, stored in parts as they are read, so that an interrupted run goes on."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from toolken.training.head.atomic_file import replace_file
from toolken.training.lm import FrozenLM
from toolken.training.prior.pretrained import DecisionReader, Exchange

#: Texts of one part.
PART = 256


def read_views(
    lm: FrozenLM,
    reader: DecisionReader,
    conversations: Sequence[Sequence[Exchange]],
    folder: Path,
    *,
    advance: Callable[[int], None] = lambda _: None,
) -> torch.Tensor:
    """Return the views of conversations, `(n, v, d) float32`.

    Parameters
    ----------
    folder
        Where the parts are kept. Parts of the same LM, reader and texts are not read again.
    advance
        Called with the number of texts of each part.

    Raises
    ------
    OSError
        If the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    for begin in range(0, len(conversations), PART):
        texts = conversations[begin : begin + PART]
        path = folder / f"{_key(lm, reader, texts)}.safetensors"
        views = _stored(path)
        if views is None:
            views = reader.read(lm, texts).half()
            replace_file(path, save({"views": views}))
        parts.append(views.float())
        advance(len(texts))
    return torch.cat(parts)


def _stored(path: Path) -> torch.Tensor | None:
    try:
        return load_file(path)["views"]
    except (OSError, SafetensorError, KeyError):
        return None


def _key(lm: FrozenLM, reader: DecisionReader, texts: Sequence[Sequence[Exchange]]) -> str:
    digest = hashlib.sha256(f"{lm.fingerprint} {lm.number_format} {reader.layers} {list(texts)}".encode())
    if reader.virtual is not None:
        digest.update(reader.virtual.float().numpy().tobytes())
    return digest.hexdigest()[:32]
