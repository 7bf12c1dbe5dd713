"""Priors: embeddings of the tools' descriptions, which predict the states at calls before any example is seen."""

import re
import warnings
from collections.abc import Callable, Sequence

import torch

from toolken.errors import HeadError
from toolken.training.features.decision_states import query_states
from toolken.training.features.feature_cache import FeatureCache
from toolken.training.lm import FrozenLM
from toolken.training.prior.teacher import Encoder, SentenceEncoder, Teacher
from toolken.training.prompts.conversation_format import ConversationFormat
from toolken.training.tool_spec import ToolSpec, name_words

#: Names of the sources in a head: query forms of the LM, a sentence encoder's forms, and vectors given to `fit`.
QUERY, TEACHER, GIVEN = "query", "teacher", "given"

#: Wordings read per description, and tools whose wordings are in memory at a time.
WORDINGS, TOOLS_AT_A_TIME = 4, 2048
#: Verbs with which descriptions begin and questions do not.
_LEADING_VERB = re.compile(
    r"^(?:gets?|returns?|finds?|fetch(?:es)?|retrieves?|looks? up|computes?|calculates?|determines?|provides?"
    r"|shows?)\s+(?:out\s+)?",
    re.IGNORECASE,
)


def requests_of(spec: ToolSpec) -> list[str]:
    """Return several wordings of a tool's description as a user's request.

    Averaging their states removes most of what depends on the wording alone.
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
    prompt: ConversationFormat,
    *,
    cache: FeatureCache | None = None,
    advance: Callable[[int], None] | None = None,
) -> torch.Tensor:
    """Return the query form of each tool, `(T, d) float64`.

    It is the mean hidden state at the decision position when the description is asked as a request.
    """
    forms = torch.empty(len(specs), lm.hidden_size, dtype=torch.float64)
    for begin in range(0, len(specs), TOOLS_AT_A_TIME):
        wordings = [requests_of(spec) for spec in specs[begin : begin + TOOLS_AT_A_TIME]]
        flat = [request for requests in wordings for request in requests]
        states = query_states(lm, prompt, flat, cache=cache, advance=advance).hidden.to(torch.float64)
        parts = torch.split(states, [len(requests) for requests in wordings])
        forms[begin : begin + len(parts)] = torch.stack([part.mean(0) for part in parts])
    return forms


def prior_forms(
    lm: FrozenLM,
    specs: Sequence[ToolSpec],
    prompt: ConversationFormat,
    sources: Sequence[str],
    teacher: Teacher | None = None,
    encoder: Encoder | None = None,
    *,
    cache: FeatureCache | None = None,
    advance: Callable[[int], None] | None = None,
) -> dict[str, torch.Tensor]:
    """Return the embeddings of the tools' descriptions from each of some sources, `(T, d) float32` each.

    The sources are `QUERY` and `TEACHER`. Where the teacher's encoder cannot be loaded, the query forms decide alone
    and a warning says so; the teacher's forms are NaN then.

    Raises
    ------
    HeadError
        If a source is neither: vectors that were given to `fit` cannot be computed for other tools.
    """
    forms: dict[str, torch.Tensor] = {}
    for source in sources:
        if source == QUERY:
            forms[source] = query_forms(lm, specs, prompt, cache=cache, advance=advance).float()
        elif source == TEACHER and teacher is not None:
            try:
                encoder = encoder or SentenceEncoder(teacher.encoder)
                forms[source] = teacher.forms(encoder.encode([spec.words for spec in specs])).float()
            except HeadError as error:
                warnings.warn(f"{error} Until then the teacher is ignored for the new tools.", stacklevel=4)
                forms[source] = torch.full((len(specs), lm.hidden_size), torch.nan)
        elif source != TEACHER:
            raise HeadError(
                f"The head was fitted with a given prior ({source!r}), which is not known for new tools: "
                "fit a head of all tools, or one without `prior`."
            )
    return forms
