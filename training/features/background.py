"""`Background`: mean and covariance of the hidden states of ordinary requests, independent of any tools."""

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, fields
from functools import partial
from importlib.resources import files
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from toolken.training.examples import Example
from toolken.training.features.decision_states import DecisionStates, decisions, query_states
from toolken.training.lm import FrozenLM, States
from toolken.training.lm.cache_files import in_cache, save_to_cache
from toolken.training.lm.embedded import cache_folder
from toolken.training.progress import default_progress
from toolken.training.prompts.conversation_format import ConversationFormat
from toolken.training.prompts.prompt_format import PromptFormat


@dataclass(frozen=True)
class Background:
    """Hidden states of requests of all kinds, computed once per LM and prompt format.

    Attributes
    ----------
    mean
        Mean state at the decision position of a request, `(d,) float64`.
    covariance
        Their covariance, `(d, d) float64`: the metric of a head that has seen no example.
    texts
        The requests.
    requests
        Decisions on the requests, with the label 0 of a call.
    no_calls
        Decisions of questions and answers that need no tool, with the label `NO_CALL`.
    """

    mean: torch.Tensor
    covariance: torch.Tensor
    texts: tuple[str, ...]
    requests: DecisionStates
    no_calls: DecisionStates

    @classmethod
    def of(cls, texts: Sequence[str], requests: States, no_calls: DecisionStates) -> "Background":
        """Compute the background from the states of the requests and the decisions of the plain examples."""
        exact = requests.hidden.double()
        mean = exact.mean(0)
        centred = exact - mean
        count = len(exact)
        zeros = torch.zeros(count, dtype=torch.long)
        points = DecisionStates(requests.hidden, requests.logsumexp, zeros, torch.arange(count), zeros)
        return cls(mean, centred.T @ centred / count, tuple(texts), points, no_calls)

    @property
    def decisions(self) -> DecisionStates:
        """The decisions that the call gate is fitted on: a sample of the requests, and those without a call."""
        return DecisionStates.join([self.requests.where(self.requests.examples < GATE_REQUESTS), self.no_calls])

    def extended(self, texts: Sequence[str], requests: States) -> "Background":
        """Return the background with further requests appended."""
        own = self.requests
        joined = States(torch.cat([own.hidden, requests.hidden]), torch.cat([own.logsumexp, requests.logsumexp]))
        return Background.of([*self.texts, *texts], joined, self.no_calls)


#: What the progress report of the background pass is called.
LABEL = "Running the LM over background requests (once per model)"
#: Number of requests that the call gate is fitted on.
GATE_REQUESTS = 500


def background_requests() -> list[str]:
    """Return the requests that the package ships, of many kinds and in mixed order."""
    text = (files("toolken.training") / "data" / "requests.txt").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line.strip()]


def plain_examples() -> list[Example]:
    """Return the shipped questions that need no tool, with their answers."""
    text = (files("toolken.training") / "data" / "plain.jsonl").read_text(encoding="utf-8")
    return [Example.model_validate(json.loads(line)) for line in text.splitlines() if line.strip()]


#: Cost of attending to a cached token relative to computing one, measured with 500 and 600 tokens.
ATTENDED = 0.055


def tokens_to_prefill(lm: FrozenLM, prompt: ConversationFormat) -> int:
    """Return the approximate number of tokens that the background pass has to compute; 0 if it is cached.

    The common prefix of all texts is computed once, but each text attends to it.
    """
    prompt = prompt.background_form()
    if in_cache(_path(lm, prompt)):
        return 0
    texts = [*background_requests(), *(f"{one.question} {one.answer}" for one in plain_examples())]
    alone, shared = prompt, 0
    if isinstance(prompt, PromptFormat) and prompt.preamble:
        alone = prompt.model_copy(update={"preamble": ""})
        shared = round(ATTENDED * len(lm.encode(prompt.preamble).ids))
    return sum(len(lm.encode(alone.query(text)).ids) + shared for text in texts)


def background(
    lm: FrozenLM, prompt: ConversationFormat, *, started: Callable[[int], Callable[[int], None]] | None = None
) -> Background:
    """Return the background of an LM and a prompt format, from the cache or by running the LM once (about a minute).

    A cached background that is damaged, or has states that are not finite, is computed again.

    Parameters
    ----------
    started
        Called with the number of texts before the LM runs; returns a function that is called with the number of texts
        done. By default a progress bar appears on a terminal and in a notebook.

    Raises
    ------
    HeadError
        If a hidden state is not a finite number; nothing is cached then.
    """
    prompt = prompt.background_form()
    requests, plain = background_requests(), plain_examples()
    path = _path(lm, prompt)
    known = cached_background(background_fingerprint(lm.fingerprint, prompt))
    if known is not None:
        return known
    if in_cache(path):
        with suppress(OSError):
            path.unlink()
    with ExitStack() as stack:
        begin = started or partial(stack.enter_context(default_progress()), LABEL)
        advance = begin(len(requests) + len(plain))
        states = query_states(lm, prompt, requests, advance=advance)
        no_calls = DecisionStates.join(decisions(lm, prompt, plain, [], advance=advance))
    computed = Background.of(requests, states, no_calls)
    _write(path, computed)
    return computed


def background_fingerprint(lm_fingerprint: str, prompt: ConversationFormat) -> str:
    """Return what identifies the background of an LM and a prompt format: both, and the texts that are read."""
    texts = [background_requests(), [example.model_dump() for example in plain_examples()]]
    digest = hashlib.sha256(json.dumps(texts).encode()).hexdigest()
    return f"{lm_fingerprint}-{prompt.background_form().fingerprint}-{digest[:8]}"


def cached_background(fingerprint: str) -> Background | None:
    """Return the background with a fingerprint from the cache; None where there is no usable file of it."""
    path = _file(fingerprint)
    if not in_cache(path):
        return None
    try:
        tensors = load_file(path)
        # A file may hold what an overflowing number format left.
        if all(bool(torch.isfinite(tensors[key]).all()) for key in ("requests.hidden", "no_calls.hidden")):
            return _from_tensors(background_requests(), tensors)
    except (SafetensorError, KeyError, OSError):
        pass  # a partial file
    return None


def _file(fingerprint: str) -> Path:
    return cache_folder() / "background" / f"{fingerprint}.safetensors"


def _path(lm: FrozenLM, prompt: ConversationFormat) -> Path:
    return _file(background_fingerprint(lm.fingerprint, prompt))


def _write(path: Path, computed: Background) -> None:
    tensors = {"requests.hidden": computed.requests.hidden, "requests.logsumexp": computed.requests.logsumexp}
    for one in fields(DecisionStates):
        tensors[f"no_calls.{one.name}"] = getattr(computed.no_calls, one.name)
    save_to_cache(path, save({key: value.contiguous() for key, value in tensors.items()}))


def _from_tensors(texts: Sequence[str], tensors: dict[str, torch.Tensor]) -> Background:
    no_calls = DecisionStates(*(tensors[f"no_calls.{one.name}"] for one in fields(DecisionStates)))
    return Background.of(texts, States(tensors["requests.hidden"], tensors["requests.logsumexp"]), no_calls)
