"""Background: how the hidden states of ordinary requests spread, whatever tools there will be."""

import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, fields
from importlib.resources import files
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from toolken.training.examples import Example
from toolken.training.features import Decisions, decisions, query_states
from toolken.training.lm import FrozenLM
from toolken.training.lm.embedded import cache_folder
from toolken.training.prompt import PromptFormat


@dataclass(frozen=True)
class Background:
    """States of requests that need no particular tool, computed once for an LM and a prompt format.

    Attributes
    ----------
    mean
        Mean state at the decision on a request, `(d,) float64`.
    covariance
        Their covariance, `(d, d) float64`: the metric of a head that has seen no example.
    count
        Number of requests behind it.
    requests
        Decisions on a sample of the requests, as the gate sees them (labelled 0: something is called).
    words
        Decisions of questions and answers that need no tool (labelled `WORDS`).
    """

    mean: torch.Tensor
    covariance: torch.Tensor
    count: int
    requests: Decisions
    words: Decisions

    @property
    def decisions(self) -> Decisions:
        """The requests and the words together."""
        return Decisions.join([self.requests, self.words])


#: Requests whose single states are kept for the gate.
GATE_REQUESTS = 500


def background_requests() -> list[str]:
    """Return the requests that the package ships, one of every kind the authors could think of, in mixed order."""
    text = (files("toolken.training") / "data" / "requests.txt").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line.strip()]


def plain_examples() -> list[Example]:
    """Return the shipped questions that need no tool, with their answers."""
    text = (files("toolken.training") / "data" / "plain.jsonl").read_text(encoding="utf-8")
    return [Example.model_validate(json.loads(line)) for line in text.splitlines() if line.strip()]


def background(
    lm: FrozenLM, prompt: PromptFormat, *, started: Callable[[int], Callable[[int], None]] | None = None
) -> Background:
    """Return the background of an LM and a prompt format, from the cache or by running the LM once (about a minute).

    Parameters
    ----------
    started
        Called with the number of texts before a run begins; returns what is called as they are done.
    """
    path = cache_folder() / "background" / f"{lm.fingerprint}-{prompt.fingerprint}.safetensors"
    if path.is_file():
        try:
            return _from_tensors(load_file(path))
        except (SafetensorError, KeyError):
            path.unlink(missing_ok=True)  # half a file of an older version: it is computed anew
    requests, plain = background_requests(), plain_examples()
    advance = started(len(requests) + len(plain)) if started else None
    states = query_states(lm, prompt, requests, advance=advance)
    words = Decisions.join(decisions(lm, prompt, plain, [], advance=advance))
    computed = _background(states.hidden, states.logsumexp, words)
    _write(path, computed)
    return computed


def _background(hidden: torch.Tensor, logsumexp: torch.Tensor, words: Decisions) -> Background:
    exact = hidden.to(torch.float64)
    mean = exact.mean(0)
    centred = exact - mean
    kept = min(GATE_REQUESTS, len(hidden))
    labels, behind = torch.zeros(kept, dtype=torch.long), torch.zeros(kept, dtype=torch.bool)
    sample = Decisions(hidden[:kept].clone(), logsumexp[:kept].clone(), labels, torch.arange(kept), behind)
    return Background(mean, centred.T @ centred / len(exact), len(exact), sample, words)


def _write(path: Path, computed: Background) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {
        "mean": computed.mean,
        "covariance": computed.covariance,
        "count": torch.tensor([computed.count]),
    }
    for part in ("requests", "words"):
        for one in fields(Decisions):
            tensors[f"{part}.{one.name}"] = getattr(getattr(computed, part), one.name).contiguous()
    handle, partial = tempfile.mkstemp(dir=path.parent, suffix=".partial")
    os.close(handle)
    try:
        save_file(tensors, partial)
        Path(partial).replace(path)
    finally:
        Path(partial).unlink(missing_ok=True)


def _from_tensors(tensors: dict[str, torch.Tensor]) -> Background:
    parts = {
        part: Decisions(*(tensors[f"{part}.{one.name}"] for one in fields(Decisions))) for part in ("requests", "words")
    }
    return Background(
        tensors["mean"], tensors["covariance"], int(tensors["count"].item()), parts["requests"], parts["words"]
    )
