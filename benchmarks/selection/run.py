"""Runs comparisons: tool selection at given positions, and call decisions at every position."""

import random
import time
import warnings
from collections.abc import Callable, Iterator, Sequence

import torch

from toolken.benchmarks.methods.selection_methods import METHODS, NEEDS_ENCODER, Material
from toolken.benchmarks.selection.comparisons import BY_PROBLEM, Comparison, comparisons
from toolken.benchmarks.selection.method_plan import (
    RETRIEVER,
    MethodPlan,
    check_test,
    method_names,
    nothing_to_compare,
    plan_methods,
)
from toolken.benchmarks.selection.metrics import measure, rows_of, selection_hits
from toolken.benchmarks.selection.rows import Row
from toolken.benchmarks.selection.sampling import draw
from toolken.benchmarks.sets.dataset import Dataset
from toolken.errors import PromptTooLongError
from toolken.training.examples import Example
from toolken.training.features.decision_states import DecisionStates, decisions
from toolken.training.features.feature_cache import FeatureCache
from toolken.training.fit import Progress
from toolken.training.lm import FrozenLM
from toolken.training.prior.shipped import shipped_prior
from toolken.training.prior.teacher import Encoder
from toolken.training.tool_spec import ToolSpec

Advance = Callable[[int], None]
#: Random samples of the examples.
SEEDS = 5
#: Maximum of unlabelled training requests for the teacher.
UNLABELLED = 5000


def run(
    lm: FrozenLM,
    dataset: Dataset,
    *,
    methods: Sequence[str] | None = None,
    examples_per_tool: Sequence[int | None] | None = None,
    seeds: int = SEEDS,
    encoder: Encoder | None = None,
    cache: FeatureCache | None = None,
    progress: Progress | None = None,
) -> Iterator[Row]:
    """Yield the rows of all comparisons of a data set: one per seed and one for the mean over seeds.

    Every method gets the same LM, prompt format, examples and positions; the LM runs once over all of them.

    Parameters
    ----------
    methods
        Names from `METHODS`, and `minilm`; by default all.
    examples_per_tool
        Numbers of training examples per tool (of problems, if a problem calls several tools); None for all.
    encoder
        Sentence encoder of the teacher and the retriever; without it they are omitted.

    Raises
    ------
    DataFormatError
        If a method is unknown, or no comparison is possible with the given data.
    PromptTooLongError
        If a test question, or every training example, exceeds the LM's context.
    """
    cache = cache or FeatureCache(lm)
    chosen = method_names(methods)
    prior = shipped_prior(lm)
    planned = [(one, plan_methods(one, chosen, examples_per_tool, encoder, prior)) for one in comparisons(dataset)]
    compared = [(one, plan) for one, plan in planned if plan]
    if not compared:
        raise nothing_to_compare(dataset.name, *planned[0], encoder, prior)
    for comparison, _ in compared:
        check_test(lm, comparison, dataset.name)
    for comparison, plan in compared:
        yield from _compare(lm, comparison, plan, dataset.name, seeds, encoder, cache, progress)


def compare(
    lm: FrozenLM,
    comparison: Comparison,
    *,
    benchmark: str = "own",
    methods: Sequence[str] | None = None,
    examples_per_tool: Sequence[int | None] | None = None,
    seeds: int = SEEDS,
    encoder: Encoder | None = None,
    cache: FeatureCache | None = None,
    progress: Progress | None = None,
) -> Iterator[Row]:
    """Yield the rows of one comparison: one per seed and one for the mean over seeds.

    Parameters
    ----------
    comparison
        Tools, training examples and test questions from any source.
    benchmark
        Name in the rows. It selects the published epochs and step size of the trainers, if the name is that of a
        published data set.
    methods, examples_per_tool, seeds, encoder, cache, progress
        As for `run`.

    Raises
    ------
    DataFormatError
        If a method is unknown, or no comparison is possible with the given data.
    PromptTooLongError
        If a test question, or every training example, exceeds the LM's context.

    Warns
    -----
    UserWarning
        If some training examples do not fit; they are omitted.
    """
    prior = shipped_prior(lm)
    plan = plan_methods(comparison, method_names(methods), examples_per_tool, encoder, prior)
    if not plan:
        raise nothing_to_compare(benchmark, comparison, plan, encoder, prior)
    check_test(lm, comparison, benchmark)
    yield from _compare(lm, comparison, plan, benchmark, seeds, encoder, cache or FeatureCache(lm), progress)


def _compare(
    lm: FrozenLM,
    comparison: Comparison,
    plan: MethodPlan,
    benchmark: str,
    seeds: int,
    encoder: Encoder | None,
    cache: FeatureCache,
    progress: Progress | None,
) -> Iterator[Row]:
    """Yield the rows of a comparison whose plan is not empty."""
    names = [spec.name for spec in comparison.specs]
    tag = f"{benchmark}, {comparison.split}, {len(comparison.candidates)} tools"

    def started(label: str, total: int) -> Advance:
        return progress(f"{tag}: {label}", total) if progress else lambda _: None

    by_problem = benchmark in BY_PROBLEM
    numbers = [(k, seed) for k in plan.counts for seed in range(_seeds(k, seeds))]
    draws = {(k, seed): draw(comparison.train, k, seed, by_problem) for k, seed in numbers}
    needed = sorted({index for draw in draws.values() for index in draw})
    advance = started("reading the test", len(comparison.test))
    test = _decisions(lm, comparison, comparison.test, names, cache, advance)
    too_long: list[int] = []
    advance = started("reading examples", len(needed))
    shown = [comparison.train[i] for i in needed]
    read = _decisions(lm, comparison, shown, names, cache, advance, lambda number, _: too_long.append(number))
    _report(lm, comparison, benchmark, len(too_long), len(needed))
    unlabelled = list(dict.fromkeys(example.question for example in comparison.train if example.question))
    random.Random(0).shuffle(unlabelled)
    unlabelled = [] if comparison.firing or by_problem else unlabelled[:UNLABELLED]
    if any(name in NEEDS_ENCODER for name, _ in plan.fits):
        unlabelled = [text for text in unlabelled if len(lm.encode(comparison.prompt.query(text)).ids) <= lm.max_length]
    material = Material(
        benchmark,
        lm,
        comparison.prompt,
        comparison.specs,
        cache,
        encoder,
        unlabelled,
        lambda total: started("reading background requests", total),
    )
    position = {index: at for at, index in enumerate(needed)}
    advance = started("fitting", sum(_seeds(k, seeds) for _, k in plan.fits))
    candidates = torch.tensor([names.index(name) for name in comparison.candidates])
    for name, k in plan.fits:
        measured: list[dict[str, tuple[torch.Tensor, ...]]] = []
        seconds: list[float] = []
        for seed in range(_seeds(k, seeds)):
            members = torch.zeros(len(needed) + 1, dtype=torch.bool)
            members[[position[index] for index in draws[k, seed]]] = True
            points = read.where(members[read.examples])
            began = time.perf_counter()
            fitted = METHODS[name](material, points, seed)
            seconds.append(time.perf_counter() - began)
            measured.append(measure(fitted, test, candidates, comparison.firing))
            advance(1)
            yield from rows_of(benchmark, comparison, name, k, seed, measured[-1:], seconds[-1])
        yield from rows_of(benchmark, comparison, name, k, None, measured, sum(seconds) / len(seconds))
    asked = [example for example in comparison.test if example.calls]
    known = torch.tensor([comparison.candidates.index(example.calls[0].tool) for example in asked])
    specs = [comparison.specs[i] for i in candidates.tolist()]
    for name in plan.retrievers:
        began = time.perf_counter()
        scores = _similarities(lm, name, [one.question for one in asked], specs, encoder)
        found = selection_hits(scores, known)
        yield from rows_of(benchmark, comparison, name, 0, None, [found], time.perf_counter() - began)


def _similarities(
    lm: FrozenLM, name: str, requests: Sequence[str], specs: Sequence[ToolSpec], encoder: Encoder | None
) -> torch.Tensor:
    """Return the similarities `(n, T)` of requests to tools in a sentence encoder, or in the LM's pretrained prior."""
    if name == RETRIEVER:
        assert encoder is not None
        return encoder.encode(list(requests)) @ encoder.encode([spec.words for spec in specs]).T
    prior = shipped_prior(lm)
    assert prior is not None
    places = prior.metric.requests(prior.reader.read(lm, [[(request, "")] for request in requests]))
    return places @ prior.output_embeddings(lm, specs).T


def _report(lm: FrozenLM, comparison: Comparison, benchmark: str, too_long: int, examples: int) -> None:
    """Warn about training examples that were omitted; raise `PromptTooLongError` if all were."""
    if not too_long:
        return
    what = (
        f"{too_long} of {examples} training examples of {benchmark}, {comparison.split}, are longer than the "
        f"{lm.max_length} tokens {lm.name} takes"
    )
    if too_long == examples:
        raise PromptTooLongError(f"{what}: name an LM with a longer context, or shorten them.")
    warnings.warn(f"{what} and are omitted.", stacklevel=4)


def _seeds(k: int | None, seeds: int) -> int:
    """Return the number of samples: there is only one sample of no examples and of all."""
    return seeds if k else 1


def _decisions(
    lm: FrozenLM,
    comparison: Comparison,
    examples: Sequence[Example],
    names: Sequence[str],
    cache: FeatureCache,
    advance: Advance,
    skipped: Callable[[int, str], None] | None = None,
) -> DecisionStates:
    parts = decisions(
        lm,
        comparison.prompt,
        examples,
        names,
        no_calls=comparison.firing,
        cache=cache,
        advance=advance,
        skipped=skipped,
    )
    return DecisionStates.join([DecisionStates.none(lm.hidden_size), *parts])
