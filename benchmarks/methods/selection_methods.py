"""The compared selection methods: the project's own, its ablations, and the published trainers."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import torch

from toolken.benchmarks.methods.published_priors import PriorSource, build_priors, published_prior, shuffled
from toolken.benchmarks.methods.published_trainers import PRESETS, SCHEDULES, train_reference
from toolken.training.estimation.estimate import Estimate
from toolken.training.estimation.gate import fit_gate
from toolken.training.estimation.settings import TAUGHT, ClosedFormSettings
from toolken.training.estimation.statistics import ToolStatistics
from toolken.training.estimation.tuning import tuned
from toolken.training.features.background import Background, background
from toolken.training.features.decision_states import NO_CALL, DecisionStates, query_states
from toolken.training.features.example_features import CALL_POINTS, CALLS_KEPT, NO_CALL_POINTS, no_call_weight
from toolken.training.features.feature_cache import FeatureCache
from toolken.training.lm import FrozenLM
from toolken.training.prior.geometry import PriorGeometry
from toolken.training.prior.moments import BackgroundMoments
from toolken.training.prior.sources import TEACHER
from toolken.training.prior.teacher import Encoder, Teacher
from toolken.training.prompts.prompt_format import PromptFormat
from toolken.training.tool_spec import ToolSpec


@dataclass(frozen=True)
class Fitted:
    """Output embeddings, biases and call decision that a method learned.

    Attributes
    ----------
    output_embeddings, biases
        `(T, d)` and `(T,) float32`.
    log_odds
        Returns the log odds of a call minus those of the threshold, `(n,)`, for states `(n, d)`, the logsumexp of the
        next-token logits `(n,)` and the number of results before each state `(n,)`.
    calibrated
        Whether the softmax over the tools is a probability estimate.
    """

    output_embeddings: torch.Tensor
    biases: torch.Tensor
    log_odds: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
    calibrated: bool = True


@dataclass
class Material:
    """Inputs that all methods share on one set of tools: LM, prompt format, descriptions and cached states.

    Attributes
    ----------
    benchmark
        Name of the data set, which selects the published schedule.
    encoder
        Sentence encoder of the teacher; None if it is not installed.
    unlabelled
        Training requests without their labels, for the teacher.
    started
        Starts a progress bar of the given length and returns the function that advances it.
    """

    benchmark: str
    lm: FrozenLM
    prompt: PromptFormat
    specs: list[ToolSpec]
    cache: FeatureCache
    encoder: Encoder | None = None
    unlabelled: list[str] = field(default_factory=list)
    started: Callable[[int], Callable[[int], None]] | None = None

    @cached_property
    def background(self) -> Background:
        """States of the shipped requests in this prompt format."""
        return background(self.lm, self.prompt, started=self.started)

    @cached_property
    def query_forms(self) -> torch.Tensor:
        """Query-form embedding of each tool, `(T, d) float64`."""
        return build_priors(self.lm, self.specs, self.prompt, cache=self.cache)

    @cached_property
    def taught(self) -> tuple[Background, Teacher, torch.Tensor]:
        """The background with the unlabelled requests, the teacher fitted on them, and its description embeddings."""
        assert self.encoder is not None
        states = query_states(self.lm, self.prompt, self.unlabelled, cache=self.cache)
        shared = self.background.extended(self.unlabelled, states) if self.unlabelled else self.background
        vectors = self.encoder.encode(shared.texts)
        geometry = PriorGeometry.of(shared.mean, shared.covariance, ClosedFormSettings())
        teacher = Teacher.of(self.encoder.name, geometry, shared.requests.hidden, vectors)
        return shared, teacher, teacher.forms(self.encoder.encode([spec.words for spec in self.specs]))

    def published(self, preset: str) -> torch.Tensor | None:
        """Return the prior of a published trainer, `(T, d)`."""
        prior = PRESETS[preset].prior
        if prior is None:
            return None
        return published_prior(self.lm, self.specs, source=prior.source, text=prior.text, scale=prior.scale)


#: Fits a method on decisions, of which there may be none; the seed is that of the sample of examples.
Method = Callable[[Material, DecisionStates, int], Fitted]


def toolken(
    material: Material,
    points: DecisionStates,
    seed: int,
    *,
    source: PriorSource = "query",
    shuffle: bool = False,
    teacher: bool = False,
    settings: ClosedFormSettings | None = None,
    refine: bool | None = None,
) -> Fitted:
    """Fit the project's method; the options are its ablations.

    Parameters
    ----------
    source, shuffle
        Source of the prior, and whether to shuffle it between tools.
    teacher
        Whether the fit uses the sentence encoder.
    settings
        Fixed settings; by default leave-one-out chooses them.
    refine
        As for `fit`.
    """
    names = [spec.name for spec in material.specs]
    own = material.query_forms if source == "query" else build_priors(material.lm, material.specs, source=source)
    forms: dict[str, torch.Tensor] = {source: shuffled(own, seed) if shuffle else own}
    shared = material.background
    if teacher:
        shared, _, forms[TEACHER] = material.taught
    statistics = ToolStatistics.empty(names, material.lm.hidden_size)
    calls = points.calls()
    statistics.add(calls.hidden, calls.labels)
    words = points.where(points.labels == NO_CALL)
    most = CALLS_KEPT if material.prompt.everywhere else CALL_POINTS
    shown, called = _evenly_spread(words, NO_CALL_POINTS), _evenly_spread(calls, most)
    gate, threshold = fit_gate(
        DecisionStates.join([called, shown]),
        material.background.decisions,
        running_text=material.prompt.everywhere,
        no_call_weight=no_call_weight(len(words.labels), len(shown.labels), len(calls.labels), len(called.labels)),
    )
    unlabelled = material.unlabelled if teacher else []
    estimate = Estimate(
        forms=forms,
        statistics=statistics,
        background=BackgroundMoments.of(shared, material.lm.fingerprint, material.prompt, unlabelled),
        settings=settings or (TAUGHT if teacher else ClosedFormSettings()),
    )
    if len(calls.labels):
        none = DecisionStates.none(material.lm.hidden_size)
        estimate, _ = tuned(estimate, _evenly_spread(calls), none, fixed=settings is not None, refined=refine)

    def log_odds(hidden: torch.Tensor, logsumexp: torch.Tensor, results: torch.Tensor) -> torch.Tensor:
        odds = gate.log_odds(hidden.double(), results=results)
        return odds - math.log(threshold / (1 - threshold))

    return Fitted(estimate.output_embeddings, estimate.biases, log_odds)


def reference(material: Material, points: DecisionStates, seed: int, *, preset: str) -> Fitted:
    """Train as published, on the same decisions, one example per step."""
    schedule = SCHEDULES.get(material.benchmark)
    used = points.calls() if schedule is not None and not schedule.words else points
    rows = train_reference(
        used,
        len(material.specs),
        PRESETS[preset],
        material.published(preset),
        seed=seed,
        epochs=schedule.epochs if schedule else None,
        lr=schedule.lr if schedule else None,
    )

    def log_odds(hidden: torch.Tensor, logsumexp: torch.Tensor, results: torch.Tensor) -> torch.Tensor:
        return torch.logsumexp(hidden @ rows.T, dim=1) - logsumexp

    return Fitted(rows, torch.zeros(len(rows)), log_odds, calibrated=False)


def _evenly_spread(points: DecisionStates, most: int = CALL_POINTS) -> DecisionStates:
    """Return at most `most` decisions, evenly spread."""
    count = len(points.labels)
    if count <= most:
        return points
    every = torch.arange(most) * count // most
    return points.where(torch.zeros(count, dtype=torch.bool).index_fill(0, every, True))


def _reference(preset: str) -> Method:
    return lambda material, points, seed: reference(material, points, seed, preset=preset)


#: Euclidean distances: shrinkage turns the covariance into a multiple of the identity.
_NO_METRIC = ClosedFormSettings(shrinkage=0.999, prior_shrinkage=0.999)

#: All methods by the name in their rows. Ablations of the closed form disable refinement.
METHODS: dict[str, Method] = {
    "toolken": toolken,
    "toolken-teacher": lambda m, p, s: toolken(m, p, s, teacher=True),
    "toolken-refined": lambda m, p, s: toolken(m, p, s, refine=True),
    "toolken-fixed-settings": lambda m, p, s: toolken(m, p, s, settings=ClosedFormSettings(), refine=False),
    "toolken-no-sharing": lambda m, p, s: toolken(
        m, p, s, settings=ClosedFormSettings(sharing=0, allowance=0), refine=False
    ),
    "toolken-no-metric": lambda m, p, s: toolken(m, p, s, settings=_NO_METRIC, refine=False),
    "toolken-output-rows": lambda m, p, s: toolken(m, p, s, source="output-rows", refine=False),
    "toolken-shuffled": lambda m, p, s: toolken(m, p, s, shuffle=True, refine=False),
    "toolken-random": lambda m, p, s: toolken(m, p, s, source="random-same-norm", refine=False),
    **{preset: _reference(preset) for preset in PRESETS},
}
#: Methods that need the encoder, and methods that need examples.
NEEDS_ENCODER, NEEDS_EXAMPLES = ("toolken-teacher",), tuple(PRESETS)
