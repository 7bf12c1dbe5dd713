"""Priors: what a tool's description says of the states at which it will be called, before any example is seen."""

import re
from collections.abc import Callable, Sequence

import torch

from toolken.training.features import query_states
from toolken.training.lm import FrozenLM
from toolken.training.prompt import PromptFormat
from toolken.training.tool_spec import ToolSpec, name_words

#: Verbs with which descriptions begin and questions do not.
_LEADING_VERB = re.compile(
    r"^(?:gets?|returns?|finds?|fetch(?:es)?|retrieves?|looks? up|computes?|calculates?|determines?|provides?"
    r"|shows?)\s+(?:out\s+)?",
    re.IGNORECASE,
)
#: A signature in front of a description, `name(arguments): `.
_SIGNATURE = re.compile(r"^(?P<name>\w+)\((?P<arguments>[^()]*)\)\s*[:.-]\s*")


def requests_of(spec: ToolSpec) -> list[str]:
    """Return wordings of a tool's description as a user's request.

    A description is written about a tool, a request to one. Averaging several wordings takes out what belongs to the
    wording alone.
    """
    text = spec.words
    name, arguments = name_words(spec.name), list(spec.arguments)
    signature = _SIGNATURE.match(text)
    if signature:
        text = text[signature.end() :]
        name, arguments = name_words(signature["name"]), re.findall(r"\w+", signature["arguments"])
    sentence = text.strip().rstrip(".")
    body = _LEADING_VERB.sub("", sentence)
    owner = f" of the {name_words(arguments[0])}" if arguments else ""
    asked = f"What is {body[:1].lower()}{body[1:]}?" if body != sentence else f"{sentence}?"
    return [sentence, asked, f"What is the {name}{owner}?", f"What is the {name}{owner}? {sentence}."]


def query_forms(
    lm: FrozenLM, specs: Sequence[ToolSpec], prompt: PromptFormat, *, advance: Callable[[int], None] | None = None
) -> torch.Tensor:
    """Return the query form of each tool, `(T, d) float64`: the mean state at the decision on its description.

    Source: design/method, fact 4; the average over wordings is this project's.
    """
    wordings = [requests_of(spec) for spec in specs]
    flat = [request for requests in wordings for request in requests]
    states = query_states(lm, prompt, flat, advance=advance).hidden.to(torch.float64)
    parts = torch.split(states, [len(requests) for requests in wordings])
    return torch.stack([part.mean(0) for part in parts])
