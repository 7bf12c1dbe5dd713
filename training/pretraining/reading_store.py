"""`read_stored`: the states of many texts, stored in parts as they are read, so that an interrupted run goes on."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save

from toolken.training.head.atomic_file import replace_file
from toolken.training.lm import FrozenLM
from toolken.training.prior.request_reader import Exchange, ReadTexts, RequestReader

#: Texts of one part.
PART = 256


def read_stored(
    lm: FrozenLM,
    reader: RequestReader,
    conversations: Sequence[Sequence[Exchange]],
    folder: Path,
    *,
    advance: Callable[[int], None] = lambda _: None,
) -> ReadTexts:
    """Return the states of conversations as float16.

    Parameters
    ----------
    folder
        Where the parts are kept. Parts of the same LM, layers and texts are not read again.
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
        part = _stored(path)
        if part is None:
            part = reader.read(lm, texts).half()
            replace_file(path, save({one.name: getattr(part, one.name).contiguous() for one in fields(part)}))
        parts.append(part)
        advance(len(texts))
    return ReadTexts.join(parts)


def _stored(path: Path) -> ReadTexts | None:
    try:
        return ReadTexts(**load_file(path))
    except (OSError, SafetensorError, TypeError):
        return None


def _key(lm: FrozenLM, reader: RequestReader, texts: Sequence[Sequence[Exchange]]) -> str:
    described = f"{lm.fingerprint} {lm.number_format} {reader.layers} {list(texts)}"
    return hashlib.sha256(described.encode()).hexdigest()[:32]
