"""`shipped_prior`: the prior that comes with toolken for an LM, found by the LM's fingerprint."""

import json
from functools import cache
from importlib.resources import files
from pathlib import Path

from toolken.training.lm import FrozenLM
from toolken.training.prior.pretrained import CARD, PretrainedPrior


def shipped_prior(lm: FrozenLM) -> PretrainedPrior | None:
    """Return the prior that comes with toolken for this LM; None if there is none, or its backend cannot use one."""
    if not lm.gives_layer_states:
        return None
    folder = _folders().get(lm.fingerprint)
    return None if folder is None else _read(folder)


@cache
def _folders() -> dict[str, Path]:
    """Return the folders of the shipped priors by the fingerprint of their LM."""
    found = {}
    for folder in Path(str(files("toolken.training") / "data" / "priors")).glob("*"):
        card = folder / CARD
        if card.is_file():
            found[json.loads(card.read_text(encoding="utf-8"))["lm_fingerprint"]] = folder
    return found


@cache
def _read(folder: Path) -> PretrainedPrior:
    return PretrainedPrior.from_pretrained(folder)
