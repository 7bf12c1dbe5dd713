"""Background: how the hidden states of ordinary requests spread, whatever tools there will be."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from importlib.resources import files
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from toolken.training.examples import Example
from toolken.training.features.decision_states import DecisionStates, decisions, query_states
from toolken.training.head.atomic_file import replace_file
from toolken.training.lm import FrozenLM, States
from toolken.training.lm.embedded import cache_folder
from toolken.training.prompts.prompt_format import PromptFormat


@dataclass(frozen=True)
class Background:
    """States of requests that need no particular tool, computed once for an LM and a prompt format.

    Attributes
    ----------
    mean
        Mean state at the decision on a request, `(d,) float64`.
    covariance
        Their covariance, `(d, d) float64`: the metric of a head that has seen no example.
    texts
        The requests.
    requests
        Decisions on the requests (labelled 0: something is called).
    words
        Decisions of questions and answers that need no tool (labelled `NO_CALL`).
    """

    mean: torch.Tensor
    covariance: torch.Tensor
    texts: tuple[str, ...]
    requests: DecisionStates
    words: DecisionStates

    @classmethod
    def of(cls, texts: Sequence[str], requests: States, words: DecisionStates) -> "Background":
        """Compute the background from the states of the requests and the decisions of the plain examples."""
        exact = requests.hidden.double()
        mean = exact.mean(0)
        centred = exact - mean
        count = len(exact)
        zeros = torch.zeros(count, dtype=torch.long)
        points = DecisionStates(requests.hidden, requests.logsumexp, zeros, torch.arange(count), zeros)
        return cls(mean, centred.T @ centred / count, tuple(texts), points, words)

    @property
    def decisions(self) -> DecisionStates:
        """A sample of the requests, and the words, as the gate sees them."""
        return DecisionStates.join([self.requests.where(self.requests.examples < GATE_REQUESTS), self.words])

    def joined_by(self, texts: Sequence[str], requests: States) -> "Background":
        """Return the background with further requests, which come behind its own."""
        own = self.requests
        joined = States(torch.cat([own.hidden, requests.hidden]), torch.cat([own.logsumexp, requests.logsumexp]))
        return Background.of([*self.texts, *texts], joined, self.words)


#: Requests that the gate is shown.
GATE_REQUESTS = 500


def background_requests() -> list[str]:
    """Return the requests that the package ships, one of every kind the authors could think of, in mixed order."""
    text = (files("toolken.training") / "data" / "requests.txt").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line.strip()]


def plain_examples() -> list[Example]:
    """Return the shipped questions that need no tool, with their answers."""
    text = (files("toolken.training") / "data" / "plain.jsonl").read_text(encoding="utf-8")
    return [Example.model_validate(json.loads(line)) for line in text.splitlines() if line.strip()]


#: What it costs to attend to a token that is there already, beside reading one; measured with 500 and 600 tokens.
ATTENDED = 0.055


def unread_tokens(lm: FrozenLM, prompt: PromptFormat) -> int:
    """Return about how many tokens are still to be read for the background of an LM and a prompt format.

    What all texts begin with is read once, but each of them attends to it. None are left where it is cached.
    """
    prompt = without_lead(prompt)
    if _path(lm, prompt).is_file():
        return 0
    texts = [*background_requests(), *(f"{one.question} {one.answer}" for one in plain_examples())]
    alone = prompt.model_copy(update={"preamble": ""})
    behind = round(ATTENDED * len(lm.encode(prompt.preamble).ids)) if prompt.preamble else 0
    return sum(len(lm.encode(alone.query(text)).ids) + behind for text in texts)


def background(
    lm: FrozenLM, prompt: PromptFormat, *, started: Callable[[int], Callable[[int], None]] | None = None
) -> Background:
    """Return the background of an LM and a prompt format, from the cache or by running the LM once (about a minute).

    A cached one that is damaged, or has states that are not numbers, is computed anew.

    Parameters
    ----------
    started
        Called with the number of texts before a run begins; returns what is called as they are done.

    Raises
    ------
    HeadError
        If a hidden state is not a finite number; nothing is cached then.
    """
    prompt = without_lead(prompt)
    requests, plain = background_requests(), plain_examples()
    path = _path(lm, prompt)
    known = cached_background(background_fingerprint(lm.fingerprint, prompt))
    if known is not None:
        return known
    path.unlink(missing_ok=True)
    advance = started(len(requests) + len(plain)) if started else None
    states = query_states(lm, prompt, requests, advance=advance)
    computed = Background.of(requests, states, DecisionStates.join(decisions(lm, prompt, plain, [], advance=advance)))
    _write(path, computed)
    return computed


def without_lead(prompt: PromptFormat) -> PromptFormat:
    """Return the format whose background a format shares: few requests have a number that would lead a decision."""
    return prompt.model_copy(update={"lead": ""})


def background_fingerprint(lm_fingerprint: str, prompt: PromptFormat) -> str:
    """Return what identifies the background of an LM and a prompt format: both, and the texts that are read."""
    texts = [background_requests(), [example.model_dump() for example in plain_examples()]]
    digest = hashlib.sha256(json.dumps(texts).encode()).hexdigest()
    return f"{lm_fingerprint}-{without_lead(prompt).fingerprint}-{digest[:8]}"


def cached_background(fingerprint: str) -> Background | None:
    """Return the background with a fingerprint from the cache; None where there is no usable file of it."""
    path = _file(fingerprint)
    if not path.is_file():
        return None
    try:
        tensors = load_file(path)
        # A file may hold what an overflowing number format left.
        if all(bool(torch.isfinite(tensors[key]).all()) for key in ("requests.hidden", "words.hidden")):
            return _from_tensors(background_requests(), tensors)
    except (SafetensorError, KeyError):
        pass  # a partial file
    return None


def _file(fingerprint: str) -> Path:
    return cache_folder() / "background" / f"{fingerprint}.safetensors"


def _path(lm: FrozenLM, prompt: PromptFormat) -> Path:
    return _file(background_fingerprint(lm.fingerprint, prompt))


def _write(path: Path, computed: Background) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {"requests.hidden": computed.requests.hidden, "requests.logsumexp": computed.requests.logsumexp}
    for one in fields(DecisionStates):
        tensors[f"words.{one.name}"] = getattr(computed.words, one.name)
    replace_file(path, save({key: value.contiguous() for key, value in tensors.items()}))


def _from_tensors(texts: Sequence[str], tensors: dict[str, torch.Tensor]) -> Background:
    words = DecisionStates(*(tensors[f"words.{one.name}"] for one in fields(DecisionStates)))
    return Background.of(texts, States(tensors["requests.hidden"], tensors["requests.logsumexp"]), words)
