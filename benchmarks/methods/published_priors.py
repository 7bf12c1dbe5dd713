"""Published priors, averaged from embedding matrices or hidden states over a tool's text, and control priors."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from toolken.errors import HeadError
from toolken.training.lm import FrozenLM
from toolken.training.tool_spec import ToolSpec, name_words

#: Source of a prior: rows of the input embedding matrix or of the output matrix, averaged over the text's tokens; or
#: hidden states of the text, averaged or at its last token.
Source = Literal["embedding-rows", "output-rows", "hidden-mean", "hidden-last"]
#: Part of a tool that the prior is computed from.
Text = Literal["name", "description", "arguments", "all"]
#: Norm of the vectors: unchanged; 1; 1 / sqrt(5120); the mean row norm of the output matrix; or a number.
Scale = Literal["none", "unit", "released", "output"] | float

#: The released code divides unit vectors by the square root of this width, that of a 13B LLaMA, for every model.
RELEASED_WIDTH = 5120


@dataclass(frozen=True)
class PublishedPrior:
    """Settings of a published prior; the fields are the arguments of `published_prior`."""

    source: Source
    text: Text
    scale: Scale


#: The two priors of "Re-initialization token learning" (Li et al. 2025, arXiv 2506.14248): its figure and its released
#: code, which differ.
PRESETS: dict[str, PublishedPrior] = {
    "paper-figure": PublishedPrior("output-rows", "description", "none"),
    "released-code": PublishedPrior("hidden-mean", "name", "released"),
}


def published_prior(
    lm: FrozenLM, specs: Sequence[ToolSpec], *, source: Source, text: Text, scale: Scale = "none"
) -> torch.Tensor:
    """Return one vector per tool, `(T, d) float64`, computed from its text without a prompt.

    Raises
    ------
    HeadError
        If the embedding matrix is not as wide as the LM's hidden states, or the scale is not a positive number.
    PromptTooLongError
        If `source` is hidden states and a text is longer than the LM's context.
    """
    ids = [_ids(lm, prior_text(spec, text)) for spec in specs]
    if source in ("embedding-rows", "output-rows"):
        weight = _matrix(lm, source)
        rows = [weight[torch.tensor(one, device=weight.device)].double().mean(0).cpu() for one in ids]
    else:
        rows = [torch.empty(0)] * len(ids)
        positions = [list(range(len(one))) if source == "hidden-mean" else [len(one) - 1] for one in ids]
        for index, states in lm.hidden_states(ids, positions):
            rows[index] = states.hidden.double().mean(0)
    return _scaled(lm, torch.stack(rows), scale)


def prior_text(spec: ToolSpec, text: Text) -> str:
    """Return the text of a tool that a prior is computed from; the words of its name if it has no such text."""
    arguments = "; ".join(
        f"{name_words(name)}: {schema['description']}" if schema.get("description") else name_words(name)
        for name, schema in spec.arguments.items()
    )
    match text:
        case "name":
            # As released: the name unchanged, without the brackets that some data sets write around it.
            found = spec.name.strip("[]<>")
        case "description":
            found = spec.words
        case "arguments":
            found = arguments
        case "all":
            found = ". ".join(part for part in (name_words(spec.name), spec.description.strip(" ."), arguments) if part)
    return found.strip() or name_words(spec.name)


def random_same_norm(prior: torch.Tensor, seed: int) -> torch.Tensor:
    """Return vectors of random direction with the prior's norms, which isolates the effect of the norm."""
    random = torch.Generator().manual_seed(seed)
    drawn = torch.randn(prior.shape, generator=random, dtype=prior.dtype)
    lengths: torch.Tensor = torch.linalg.vector_norm(prior, dim=1, keepdim=True)
    return lengths * torch.nn.functional.normalize(drawn, dim=1)


def shuffled(prior: torch.Tensor, seed: int) -> torch.Tensor:
    """Return the prior's vectors permuted so that no tool keeps its own, which removes the prior's meaning.

    Raises
    ------
    HeadError
        If there is a single tool.
    """
    if len(prior) < 2:
        raise HeadError(f"A prior of {len(prior)} tools cannot be shuffled between tools: give at least two.")
    # One random cycle through all tools moves every one of them.
    order = torch.randperm(len(prior), generator=torch.Generator().manual_seed(seed))
    permuted = torch.empty_like(prior)
    permuted[order] = prior[order.roll(1)]
    return permuted


def _ids(lm: FrozenLM, text: str) -> list[int]:
    """Return the tokens of a text without those that the tokenizer adds, such as BOS, which cover no character."""
    encoding = lm.encode(text)
    own = [token for token, (start, end) in zip(encoding.ids, encoding.spans, strict=True) if end > start]
    return own or encoding.ids


def _matrix(lm: FrozenLM, source: Literal["embedding-rows", "output-rows"]) -> torch.Tensor:
    model: Any = lm.model
    embedding = model.get_input_embeddings() if source == "embedding-rows" else model.get_output_embeddings()
    weight: torch.Tensor = embedding.weight.detach()
    if weight.shape[-1] != lm.hidden_size:
        raise HeadError(
            f"The token embeddings of {lm.name} are {weight.shape[-1]} wide and its hidden states {lm.hidden_size}, so "
            "they cannot be toolkens: take a prior from the output matrix or from hidden states."
        )
    return weight


def _scaled(lm: FrozenLM, rows: torch.Tensor, scale: Scale) -> torch.Tensor:
    if scale == "none":
        return rows
    length: float
    match scale:
        case "unit":
            length = 1.0
        case "released":
            length = RELEASED_WIDTH**-0.5
        case "output":
            weight = _matrix(lm, "output-rows")
            length = float(torch.linalg.vector_norm(weight, dim=1, dtype=torch.float32).mean())
        case _:
            length = scale
    if not 0 < length < float("inf"):
        raise HeadError(f"A prior cannot have vectors of norm {length}: give a positive number.")
    return torch.nn.functional.normalize(rows, dim=1) * length
