"""Priors: what a tool's description says of the states at which it will be called, before any example is seen."""

import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import Literal, get_args

import torch

from toolken.benchmarks.methods.published_priors import (
    PRESETS,
    Scale,
    Text,
    published_prior,
    random_same_norm,
    shuffled,
)
from toolken.errors import HeadError
from toolken.training.features.decision_states import query_states, states_source
from toolken.training.features.feature_cache import FeatureCache
from toolken.training.lm import FrozenLM
from toolken.training.prior.teacher import Encoder, SentenceEncoder, Teacher
from toolken.training.prompts.prompt_format import PromptFormat
from toolken.training.tool_spec import ToolLike, ToolSpec, name_words, tool_specs

#: Where a prior comes from; see `build_priors`.
PriorSource = Literal[
    "query",
    "embedding-rows",
    "output-rows",
    "hidden-mean",
    "hidden-last",
    "paper-figure",
    "released-code",
    "random-same-norm",
    "shuffled",
]
#: The source that needs an encoder; see `prior_forms`.
TEACHER = "teacher"

#: Wordings of a tool's description that are read, and tools whose wordings are in memory at a time.
WORDINGS, TOOLS_AT_A_TIME = 4, 2048
#: Verbs with which descriptions begin and questions do not.
_LEADING_VERB = re.compile(
    r"^(?:gets?|returns?|finds?|fetch(?:es)?|retrieves?|looks? up|computes?|calculates?|determines?|provides?"
    r"|shows?)\s+(?:out\s+)?",
    re.IGNORECASE,
)


def requests_of(spec: ToolSpec) -> list[str]:
    """Return wordings of a tool's description as a user's request.

    A description is written about a tool, a request to one. Averaging several wordings takes out what belongs to the
    wording alone.
    """
    text, name, arguments = spec.words, name_words(spec.name), list(spec.arguments)
    if spec.signature:
        text, name, arguments = spec.signature.rest, name_words(spec.signature.name), spec.signature.arguments
    sentence = text.strip().rstrip(".")
    body = _LEADING_VERB.sub("", sentence)
    owner = f" of the {name_words(arguments[0])}" if arguments else ""
    asked = f"What is {body[:1].lower()}{body[1:]}?" if body != sentence else f"{sentence}?"
    return [sentence, asked, f"What is the {name}{owner}?", f"What is the {name}{owner}? {sentence}."]


def query_forms(
    lm: FrozenLM,
    specs: Sequence[ToolSpec],
    prompt: PromptFormat,
    *,
    cache: FeatureCache | None = None,
    advance: Callable[[int], None] | None = None,
) -> torch.Tensor:
    """Return the query form of each tool, `(T, d) float64`: the mean state at the decision on its description.

    Source: design/method, fact 4; the average over wordings is this project's.
    """
    forms = torch.empty(len(specs), lm.hidden_size, dtype=torch.float64)
    for begin in range(0, len(specs), TOOLS_AT_A_TIME):
        wordings = [requests_of(spec) for spec in specs[begin : begin + TOOLS_AT_A_TIME]]
        flat = [request for requests in wordings for request in requests]
        states = query_states(lm, prompt, flat, cache=cache, advance=advance).hidden.to(torch.float64)
        parts = torch.split(states, [len(requests) for requests in wordings])
        forms[begin : begin + len(parts)] = torch.stack([part.mean(0) for part in parts])
    return forms


def build_priors(
    lm: FrozenLM,
    tools: Iterable[ToolLike | ToolSpec],
    prompt: PromptFormat | None = None,
    *,
    source: PriorSource = "query",
    text: Text = "description",
    scale: Scale = "none",
    seed: int = 0,
    cache: FeatureCache | None = None,
    advance: Callable[[int], None] | None = None,
) -> torch.Tensor:
    """Return one prior vector a tool, `(T, d) float64`.

    Parameters
    ----------
    prompt
        The wording in which a description poses as a request; the default format if absent.
    source
        `query`, the state at the decision on the description (this project's); `embedding-rows`, `output-rows`,
        `hidden-mean` or `hidden-last` of the tool's text; the published presets `paper-figure` and `released-code`;
        or their controls `random-same-norm` (random rows as long as the paper's) and `shuffled` (the paper's rows,
        each at another tool). The last four take neither `text` nor `scale`.
    text, scale
        What is read of a tool by the four in the middle, and how long the rows are made; see `published_prior`.
    seed
        Of the controls.

    Raises
    ------
    ToolSpecError
        If there is no tool, or two have one name.
    FingerprintError
        If the cache is of another LM.
    HeadError
        If the rows of a word matrix are not as wide as the LM's hidden states, a hidden state is not a finite number,
        or there is no such source.
    """
    states_source(lm, cache)
    specs = tool_specs(tools)
    match source:
        case "query":
            return query_forms(lm, specs, prompt or PromptFormat(), cache=cache, advance=advance)
        case "embedding-rows" | "output-rows" | "hidden-mean" | "hidden-last":
            return published_prior(lm, specs, source=source, text=text, scale=scale)
        case "paper-figure" | "released-code":
            return published_prior(lm, specs, **asdict(PRESETS[source]))
        case "random-same-norm":
            return random_same_norm(build_priors(lm, specs, source="paper-figure"), seed)
        case "shuffled":
            return shuffled(build_priors(lm, specs, source="paper-figure"), seed)
    raise HeadError(f"There is no prior from {source!r}: choose one of {', '.join(get_args(PriorSource))}.")


def prior_forms(
    lm: FrozenLM,
    specs: Sequence[ToolSpec],
    prompt: PromptFormat,
    sources: Sequence[str],
    teacher: Teacher | None = None,
    encoder: Encoder | None = None,
    *,
    cache: FeatureCache | None = None,
    advance: Callable[[int], None] | None = None,
) -> dict[str, torch.Tensor]:
    """Return where each of several sources puts the tools, `(T, d) float32` each.

    Besides those of `build_priors` there is `teacher`. Where its encoder cannot be loaded the others decide alone, and
    a warning says so; its forms are not numbers then.
    """
    forms: dict[str, torch.Tensor] = {}
    for source in sources:
        if source != TEACHER:
            built = build_priors(lm, specs, prompt, source=source, cache=cache, advance=advance)  # type: ignore[arg-type]
            forms[source] = built.float()
        elif teacher is not None:
            try:
                encoder = encoder or SentenceEncoder(teacher.encoder)
                forms[source] = teacher.forms(encoder.encode([spec.words for spec in specs])).float()
            except HeadError as error:
                warnings.warn(f"{error} Until then the teacher says nothing of the new tools.", stacklevel=3)
                forms[source] = torch.full((len(specs), lm.hidden_size), torch.nan)
    return forms
