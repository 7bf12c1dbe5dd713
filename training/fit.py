"""`fit`: tools and examples in, a head out."""

import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

from toolken.errors import ExampleError, HeadError, ToolkenError
from toolken.training.estimation.estimate import Estimate
from toolken.training.estimation.gate import fit_gate
from toolken.training.estimation.settings import TAUGHT, ClosedFormSettings
from toolken.training.estimation.tuning import tuned
from toolken.training.examples import Example, check_examples
from toolken.training.features.background import LABEL, background
from toolken.training.features.decision_states import DecisionStates, decisions, query_states, states_source
from toolken.training.features.example_features import CALLS_KEPT, ExampleFeatures, extract_features
from toolken.training.features.feature_cache import FeatureCache
from toolken.training.head.toolken_head import ToolkenHead
from toolken.training.lm import FrozenLM
from toolken.training.prior.geometry import PriorGeometry
from toolken.training.prior.moments import BackgroundMoments
from toolken.training.prior.sources import GIVEN, QUERY, TEACHER, WORDINGS, prior_forms
from toolken.training.prior.teacher import Encoder, Teacher
from toolken.training.progress import Progress as Progress
from toolken.training.prompts.conversation_format import ConversationFormat, FormatName, named_format
from toolken.training.tool_spec import ToolLike, ToolSpec, check_descriptions, tool_specs


def fit(
    lm: FrozenLM,
    tools: Iterable[ToolLike | ToolSpec],
    examples: Iterable[Example] | ExampleFeatures = (),
    *,
    prompt: ConversationFormat | FormatName | None = None,
    prior: torch.Tensor | None = None,
    encoder: Encoder | None = None,
    unlabelled: Iterable[str] = (),
    settings: ClosedFormSettings | None = None,
    refine: bool | None = None,
    validation: Iterable[Example] = (),
    cache: FeatureCache | None = None,
    progress: Progress | None = None,
    seed: int = 0,
) -> ToolkenHead:
    """Fit a head: the LM reads examples and descriptions once, and closed forms do the rest.

    Without examples the head knows its tools by their descriptions alone.

    Parameters
    ----------
    lm
        The frozen LM.
    tools
        The tools, in any form `ToolSpec.of` reads.
    examples
        Questions with their calls; examples without a call teach the gate when not to call. Or the features that the
        same LM computed from them before, in the same prompt format.
    prompt
        The format of conversations, or its name: `"chat"` for the LM's chat template, `"question"` for questions and
        answers in plain text, `"auto"` for the chat template where it takes tools. By default `"question"`.
    prior
        Embeddings of the descriptions from another source, `(T, d)`. By default the LM computes them: the hidden
        state at the decision position when the description is asked as a request. Only with these can the head take
        further tools.
    encoder
        A sentence encoder that helps to place descriptions (`SentenceEncoder()`); not needed once the head is fitted.
    unlabelled
        Requests of the kind that will be asked, without labels: a few thousand improve the encoder's help.
    settings
        Numbers of the closed form; by default they are chosen by leave-one-out on the examples.
    refine
        Whether the closed form is refined on the examples by logistic regression. By default where the validation
        examples gain by it or, without any, where held-out folds of the examples gain clearly; if True, where these
        gain at all, which is misleading if the examples differ from later requests.
    validation
        Examples to choose the settings on instead of leave-one-out.
    cache
        Stores hidden states; without one they are computed, used and dropped.
    progress
        Called at the start of each stage and as its steps finish.
    seed
        Seed of the sample of decisions that the gate is fitted on, where there are more than it keeps.

    Returns
    -------
    ToolkenHead
        Its `provenance.metrics` holds `selection.accuracy` and `selection.log_loss` on left-out examples (or on
        `validation`), unless there are no calls or a refinement was used.

    Raises
    ------
    ToolkenError
        If an argument is of another type: a name for an LM, a path for examples.
    ToolSpecError
        If there is no tool, or two have one name or one description.
    ExampleError
        If an example calls an unknown tool, or none fits the LM's context.
    FingerprintError
        If a cache or features are of another LM, or the features of another prompt format.
    HeadError
        If unlabelled requests are given without an encoder, hidden states are not finite numbers, or `prior` is not
        `(T, d)`.
    """
    _check_lm(lm)
    specs = tool_specs(tools)
    check_descriptions(specs)
    prompt = named_format(prompt or "question", lm) if prompt is None or isinstance(prompt, str) else prompt
    states_source(lm, cache)
    names = [spec.name for spec in specs]
    if isinstance(examples, ExampleFeatures):
        if examples.statistics.names != names:
            raise HeadError("The examples were read for other tools: give the same tools in the same order.")
        examples.check(lm.fingerprint, prompt.fingerprint)
    else:
        examples = _examples(examples, "examples")
        check_examples(examples, specs)
    validation, unlabelled = _examples(validation, "validation"), list(unlabelled)
    check_examples(validation, specs)
    if unlabelled and encoder is None:
        raise HeadError("Unlabelled requests only help an encoder: give one (`encoder=SentenceEncoder()`).")
    if prior is not None and tuple(prior.shape) != (len(specs), lm.hidden_size):
        raise HeadError(
            f"The prior has the shape {tuple(prior.shape)}: give one vector per tool, {(len(specs), lm.hidden_size)}."
        )

    def step(label: str) -> Callable[[int], Callable[[int], None]]:
        return lambda total: progress(label, total) if progress else (lambda _: None)

    shared = background(lm, prompt, started=step(LABEL) if progress else None)
    gate_background = shared.decisions
    teacher, start = None, settings or (TAUGHT if encoder else ClosedFormSettings())
    if encoder is not None:
        if unlabelled:
            advance = step("Reading unlabelled requests")(len(unlabelled))
            shared = shared.extended(unlabelled, query_states(lm, prompt, unlabelled, cache=cache, advance=advance))
        vectors = encoder.encode(shared.texts)
        geometry = PriorGeometry.of(shared.mean, shared.covariance, start)
        teacher = Teacher.of(encoder.name, geometry, shared.requests.hidden, vectors)
    moments = BackgroundMoments.of(shared, lm.fingerprint, prompt, unlabelled)
    sources = ([QUERY] if prior is None else []) + ([TEACHER] if teacher else [])
    given = {} if prior is None else {GIVEN: prior.float()}
    if isinstance(examples, ExampleFeatures):
        reading = examples
    else:
        advance = step("Reading examples")(len(examples))
        reading = extract_features(lm, prompt, examples, names, seed=seed, cache=cache, advance=advance)
    _report(lm, reading)
    points, no_call_weight = reading.points(CALLS_KEPT if prompt.everywhere else None)
    gate, threshold = fit_gate(points, gate_background, running_text=prompt.everywhere, no_call_weight=no_call_weight)
    del points
    described = step("Reading descriptions")(WORDINGS * len(specs))
    estimate = Estimate(
        forms=given | prior_forms(lm, specs, prompt, sources, teacher, encoder, cache=cache, advance=described),
        statistics=reading.statistics,
        background=moments,
        settings=start,
    )
    calls = reading.calls()
    metrics: dict[str, float] = {}
    if len(calls.labels):
        held_out = DecisionStates.join(
            [
                DecisionStates.none(lm.hidden_size),
                *decisions(lm, prompt, validation, names, no_calls=False, cache=cache),
            ]
        )
        estimate, metrics = tuned(estimate, calls, held_out.calls(), fixed=settings is not None, refined=refine)
    return ToolkenHead(
        lm_name=lm.name,
        lm_fingerprint=lm.fingerprint,
        prompt=prompt,
        specs=specs,
        estimate=estimate,
        gate=gate,
        threshold=threshold,
        few_shot=reading.few_shot,
        teacher=teacher,
        provenance=reading.provenance.model_copy(update={"metrics": metrics}),
    )


def _check_lm(lm: object) -> None:
    if isinstance(lm, str | os.PathLike):
        raise ToolkenError(
            f"`lm` is {str(lm)!r}, and fit needs a loaded LM: `fit(FrozenLM.from_pretrained({str(lm)!r}), tools, ...)`."
        )
    if not hasattr(lm, "fingerprint"):
        raise ToolkenError(f"`lm` is of the type {type(lm).__name__}: give a `FrozenLM`.")


def _examples(given: Any, name: str) -> list[Example]:
    """Return examples as a list; dicts and messages of what an example is made of are not examples."""
    if isinstance(given, str | os.PathLike):
        raise ExampleError(
            f"`{name}` is {str(given)!r}, and fit needs examples: `{name}=read_examples({str(given)!r})`."
        )
    if isinstance(given, Example | Mapping) or not isinstance(given, Iterable):
        raise ExampleError(f"`{name}` is of the type {type(given).__name__}: give a list of `Example`.")
    found = list(given)
    for number, one in enumerate(found, start=1):
        if isinstance(one, Mapping):
            raise ExampleError(
                f"Number {number} of `{name}` is a dict: make an example of it with `Example.model_validate(...)`."
            )
        if not isinstance(one, Example):
            raise ExampleError(
                f"Number {number} of `{name}` is of the type {type(one).__name__}: "
                "give `Example(question=..., calls=(Call(tool=..., args=...),))`."
            )
    return found


def _report(lm: FrozenLM, reading: ExampleFeatures) -> None:
    """Warn of examples that were left out, with the reason and the tools that have no other example."""
    reasons = (
        (
            reading.too_long,
            f"are longer than the {lm.max_length} tokens {lm.name} takes",
            "shorten them",
        ),
        (
            reading.unplaced,
            "call a tool where no text stands before, or at the decision position of another call",
            "correct them",
        ),
    )
    left_out = len(reading.too_long) + len(reading.unplaced)
    index = {name: i for i, name in enumerate(reading.statistics.names)}
    bare = [name for name in reading.omitted_tools if not reading.statistics.counts[index[name]]]
    known = f"; known by their descriptions alone are therefore {', '.join(map(repr, bare))}" if bare else ""
    for numbers, reason, cure in reasons:
        if not numbers:
            continue
        what = f"{len(numbers)} of {reading.examples} examples {reason}"
        if left_out == reading.examples:
            raise ExampleError(f"{what}: {cure}.")
        warnings.warn(f"{what} and are left out, the first being example {numbers[0] + 1}{known}.", stacklevel=3)
