"""`fit`: examples and descriptions in, a head out."""

import warnings
from collections.abc import Callable, Iterable

import torch

from toolken.errors import ExampleError, HeadError
from toolken.training.estimation.closed_form import closed_form
from toolken.training.estimation.gate import fit_gate
from toolken.training.estimation.leave_one_out import choose_settings
from toolken.training.estimation.refinement import PENALTIES, Anchor, Correction, choose_refinement, held_out_refinement
from toolken.training.estimation.refinement import refine as run_refinement
from toolken.training.estimation.settings import TAUGHT, ClosedFormSettings
from toolken.training.estimation.statistics import ToolStatistics
from toolken.training.examples import Example, check_examples
from toolken.training.features.background import LABEL, background
from toolken.training.features.decision_states import DecisionStates, decisions, query_states, states_source
from toolken.training.features.example_features import CALLS_KEPT, ExampleFeatures, extract_features
from toolken.training.features.feature_cache import FeatureCache
from toolken.training.head.toolken_head import ToolkenHead
from toolken.training.lm import FrozenLM
from toolken.training.prior.geometry import PriorGeometry
from toolken.training.prior.sources import TEACHER, WORDINGS, PriorSource, prior_forms
from toolken.training.prior.teacher import Encoder, Teacher
from toolken.training.progress import Progress as Progress
from toolken.training.prompts.prompt_format import PromptFormat
from toolken.training.tool_spec import ToolLike, ToolSpec, check_descriptions, tool_specs

#: Examples a tool from which it is tried whether a refinement helps; with fewer it never did on KAMEL's dev split.
ENOUGH_TO_REFINE = 10

#: Share of held-out examples that a refinement must win to be used without having been asked for. Where examples are
#: written to a pattern, folds share the pattern and show a gain that requests do not have: .003 on KAMEL's synthetic
#: training sentences. Where tools are called in many situations it is clear: .087 on VirtualHome's training plans.
CLEAR_GAIN = 0.05
#: Penalties that are tried then: the cautious ones, which won on VirtualHome's training plans.
CAUTIOUS = (60.0, 20.0)


def fit(
    lm: FrozenLM,
    tools: Iterable[ToolLike | ToolSpec],
    examples: Iterable[Example] | ExampleFeatures = (),
    *,
    prompt: PromptFormat | None = None,
    prior: PriorSource = "query",
    encoder: Encoder | None = None,
    unlabelled: Iterable[str] = (),
    settings: ClosedFormSettings | None = None,
    refine: bool | None = None,
    validation: Iterable[Example] = (),
    cache: FeatureCache | None = None,
    progress: Progress | None = None,
    seed: int = 0,
) -> ToolkenHead:
    """Fit a head: one run of the LM over examples and descriptions, then closed forms.

    Without examples the head knows its tools by their descriptions alone.

    Parameters
    ----------
    lm
        The frozen LM.
    tools
        The tools, in any form `ToolSpec.of` reads.
    examples
        Questions with their calls; examples without a call teach the gate when not to call. Or what another pass of
        the same LM over them left, in the same wording.
    prompt
        The wording around them; the default one if absent.
    prior
        What the prior is made from; see `build_priors`.
    encoder
        A sentence encoder that helps to place descriptions (`SentenceEncoder()`); not needed once the head is fitted.
    unlabelled
        Requests of the kind that will be asked, without any label: the encoder's help is worth more with some
        thousands of them.
    settings
        Numbers of the closed form; by default they are chosen by leave-one-out on the examples.
    refine
        Whether the closed form is polished on the examples. By default where the validation examples gain by it or,
        without any, where held-out folds of the examples gain `CLEAR_GAIN`; if True, where these gain at all, which
        examples that are unlike the requests to come can deceive.
    validation
        Examples to choose the settings on instead of leave-one-out.
    cache
        Where hidden states are kept; by default they are computed, used and forgotten.
    progress
        Told what is being done, and how far it has come.
    seed
        Of the sample of decisions that the gate is fitted on, where there are more than it keeps.

    Raises
    ------
    ToolSpecError
        If there is no tool, or two have one name or one description.
    ExampleError
        If an example calls an unknown tool, or none fits the LM's context.
    FingerprintError
        If a cache or a reading of examples is of another LM, or the reading of another wording.
    HeadError
        If unlabelled requests are given without an encoder, or hidden states are not finite numbers.
    """
    specs = tool_specs(tools)
    check_descriptions(specs)
    prompt = prompt or PromptFormat()
    states_source(lm, cache)
    names = [spec.name for spec in specs]
    if isinstance(examples, ExampleFeatures):
        if examples.statistics.names != names:
            raise HeadError("The examples were read for other tools: name the same tools in the same order.")
        examples.check(lm.fingerprint, prompt.fingerprint)
    else:
        examples = list(examples)
        check_examples(examples, specs)
    validation, unlabelled = list(validation), list(unlabelled)
    check_examples(validation, specs)
    if unlabelled and encoder is None:
        raise HeadError("Unlabelled requests are of use to an encoder only: give one (`encoder=SentenceEncoder()`).")

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
    sources = [prior, TEACHER] if teacher else [prior]
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
    head = ToolkenHead(
        lm_name=lm.name,
        lm_fingerprint=lm.fingerprint,
        prompt=prompt,
        specs=specs,
        forms=prior_forms(lm, specs, prompt, sources, teacher, encoder, cache=cache, advance=described),
        statistics=reading.statistics,
        mean=shared.mean,
        covariance=shared.covariance,
        gate=gate,
        threshold=threshold,
        few_shot=reading.few_shot,
        settings=start,
        teacher=teacher,
        provenance=reading.provenance,
    )
    calls = reading.calls()
    if len(calls.labels):
        held_out = DecisionStates.join(
            [
                DecisionStates.none(lm.hidden_size),
                *decisions(lm, prompt, validation, names, no_calls=False, cache=cache),
            ]
        )
        choose(head, calls, held_out.calls(), fixed=settings is not None, refine=refine)
    return head


def choose(
    head: ToolkenHead,
    calls: DecisionStates,
    held_out: DecisionStates,
    *,
    fixed: bool = False,
    refine: bool | None = None,
) -> None:
    """Choose a head's settings, temperature and refinement by the examples it was fitted on, or by held-out ones.

    Parameters
    ----------
    calls
        Some or all of the calls behind its statistics.
    held_out
        Calls of other examples to choose by; none for leave-one-out.
    fixed
        Whether the settings of the closed form stay as they are.
    refine
        Whether to refine: None where `held_out` gains by it, or without any where held-out folds of `calls` gain
        clearly; True where these gain at all.
    """
    geometry, statistics = head.geometry, head.statistics
    choice = choose_settings(geometry, head.forms, statistics, calls, head.settings, held_out, fixed=fixed)
    head.settings, head.temperature = choice.settings, max(choice.temperature, 1.0)
    head.forget()
    measured = {"selection.accuracy": choice.accuracy, "selection.log_loss": choice.log_loss}
    head.provenance = head.provenance.model_copy(update={"metrics": measured})
    by_folds = refine is True or not len(held_out.labels)
    enough = len(calls.labels) >= ENOUGH_TO_REFINE * len(head.specs)
    # Where the closed form is right nearly always, no gain can be a clear one.
    hopeless = refine is None and choice.accuracy > 1 - CLEAR_GAIN
    if refine is False or (by_folds and (not enough or hopeless)):
        return
    scale = 1 / head.temperature

    def anchor(mask: torch.Tensor) -> Anchor:
        part = ToolStatistics.empty(statistics.names, statistics.hidden_size)
        part.add(calls.hidden[mask], calls.labels[mask])
        form = closed_form(geometry, head.forms, part, head.settings)
        return Anchor(form.output_embeddings, form.biases, form.covariance)

    if not by_folds:
        whole = closed_form(geometry, head.forms, statistics, head.settings)
        chosen = held_out_refinement(
            calls.hidden,
            calls.labels,
            Anchor(whole.output_embeddings, whole.biases, whole.covariance),
            held_out.hidden,
            held_out.labels,
            scale=scale,
        )
    else:
        chosen = choose_refinement(
            calls.hidden,
            calls.labels,
            anchor,
            penalties=CAUTIOUS if refine is None else PENALTIES,
            scales=[scale],
            examples=calls.examples,
            least=CLEAR_GAIN if refine is None else 0.0,
        )
    if chosen is not None:
        whole = closed_form(geometry, head.forms, statistics, head.settings)
        rows, biases = run_refinement(
            calls.hidden,
            calls.labels,
            whole.output_embeddings,
            whole.biases,
            whole.covariance,
            penalty=chosen.penalty,
            scale=scale,
        )
        head.correction = Correction(
            tuple(head.names), rows - scale * whole.output_embeddings, biases - scale * whole.biases
        )
        head.forget()  # what was measured was the closed form


def _report(lm: FrozenLM, reading: ExampleFeatures) -> None:
    """Say which examples were left out and why, and which tools lost all of theirs by it."""
    reasons = (
        (
            reading.too_long,
            f"are longer than the {lm.max_length} tokens {lm.name} takes",
            "shorten them",
        ),
        (
            reading.unplaced,
            "call a tool where no text stands in front, or where another call is decided",
            "mend them",
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
