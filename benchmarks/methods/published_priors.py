"""Published priors, averaged from embedding matrices or hidden states over a tool's text, and control priors."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import torch

from toolken.errors import HeadError
from toolken.training.features.decision_states import states_source
from toolken.training.features.feature_cache import FeatureCache
from toolken.training.lm import FrozenLM
from toolken.training.prior.sources import query_forms
from toolken.training.prompts.prompt_format import PromptFormat
from toolken.training.tool_spec import ToolLike, ToolSpec, name_words, tool_specs

#: Source of a prior: rows of the input embedding matrix or of the output matrix, averaged over the text's tokens; or
#: hidden states of the text, averaged or at its last token.
Source = Literal["embedding-rows", "output-rows", "hidden-mean", "hidden-last"]
#: Sources of `build_priors`.
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
