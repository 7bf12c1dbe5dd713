"""Running a comparison: which tool is chosen at the given positions, and at which positions any is called."""

import random
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from toolken.errors import DataFormatError, PromptTooLongError
from toolken.training.benchmarks.comparisons import BY_PROBLEM, Comparison, comparisons
from toolken.training.benchmarks.dataset import Dataset
from toolken.training.benchmarks.methods import METHODS, NEEDS_ENCODER, NEEDS_EXAMPLES, Fitted, Material
from toolken.training.benchmarks.rows import Row, bootstrap_interval
from toolken.training.examples import Example
from toolken.training.feature_cache import FeatureCache
from toolken.training.features import WORDS, Decisions, decisions
from toolken.training.fit import Progress
from toolken.training.lm import FrozenLM
from toolken.training.refinement import calibration_error
from toolken.training.teacher import Encoder

Advance = Callable[[int], None]
#: Random draws of the examples.
SEEDS = 5
#: Training requests that the teacher sees without their labels, at most.
UNLABELLED = 5000
#: The retriever's name in the rows.
RETRIEVER = "minilm"


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
    """Yield the rows of all comparisons of a data set: one for each seed and one for the mean over seeds.

    Every method gets the same LM, prompt format, examples and positions; the LM runs once over all of them.

    Parameters
    ----------
    methods
        Names out of `METHODS`, and `minilm`; all but the costlier ablations by default.
    examples_per_tool
        Numbers of training examples of each tool (of problems, where a problem calls several tools), None for all.
    encoder
        For the teacher and the retriever; without it they are left out.

    Raises
    ------
    DataFormatError
        If there is no such method, or nothing can be compared with what is there.
    PromptTooLongError
        If test questions, or all training examples, do not fit the LM's context.
    """
    cache = cache or FeatureCache(lm)
    chosen = _named(methods)
    planned = [(one, _plan(one, chosen, examples_per_tool, encoder)) for one in comparisons(dataset)]
    compared = [one for one, plan in planned if plan]
    if not compared:
        raise _nothing(dataset.name, *planned[0], encoder)
    for comparison in compared:
        _check_test(lm, comparison, dataset.name)
    for comparison in compared:
        yield from compare(
            lm,
            comparison,
            benchmark=dataset.name,
            methods=methods,
            examples_per_tool=examples_per_tool,
            seeds=seeds,
            encoder=encoder,
            cache=cache,
            progress=progress,
        )


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
    """Yield the rows of one comparison: one for each seed and one for the mean over seeds.

    Parameters
    ----------
    comparison
        The tools, the training examples and the test questions, of any origin.
    benchmark
        Its name in the rows. The published trainers take their numbers of epochs and step sizes from it, where they
        are published for a data set of this name.
    methods, examples_per_tool, seeds, encoder, cache, progress
        As for `run`.

    Raises
    ------
    DataFormatError
        If there is no such method, or nothing can be compared with what is there.
    PromptTooLongError
        If test questions, or all training examples, do not fit the LM's context.

    Warns
    -----
    UserWarning
        If some training examples do not fit it; they are left out.
    """
    plan = _plan(comparison, _named(methods), examples_per_tool, encoder)
    if not plan:
        raise _nothing(benchmark, comparison, plan, encoder)
    _check_test(lm, comparison, benchmark)
    cache = cache or FeatureCache(lm)
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
            begun = time.perf_counter()
            fitted = METHODS[name](material, points, seed)
            seconds.append(time.perf_counter() - begun)
            measured.append(_measure(fitted, test, candidates, comparison.firing))
            advance(1)
            yield from _rows(benchmark, comparison, name, k, seed, measured[-1:], seconds[-1])
        yield from _rows(benchmark, comparison, name, k, None, measured, sum(seconds) / len(seconds))
    if plan.retrieves:
        assert encoder is not None
        begun = time.perf_counter()
        asked = [example for example in comparison.test if example.calls]
        specs = [comparison.specs[i] for i in candidates.tolist()]
        scores = encoder.encode([one.question for one in asked]) @ encoder.encode([spec.words for spec in specs]).T
        known = torch.tensor([comparison.candidates.index(example.calls[0].tool) for example in asked])
        found = _selected(scores, known)
        seconds_spent = time.perf_counter() - begun
        yield from _rows(benchmark, comparison, RETRIEVER, 0, None, [found], seconds_spent)


@dataclass(frozen=True)
class _Plan:
    """What is done in a comparison; false where that is nothing.

    Attributes
    ----------
    methods
        As they were asked for.
    counts
        Numbers of training examples that there can be.
    fits
        Methods that are fitted, each with one of these numbers.
    retrieves
        Whether the retriever is asked as well.
    """

    methods: list[str]
    counts: tuple[int | None, ...]
    fits: list[tuple[str, int | None]]
    retrieves: bool

    def __bool__(self) -> bool:
        return bool(self.fits or self.retrieves)


def _named(methods: Sequence[str] | None) -> list[str]:
    """Return the names of the methods, all of them by default; one that does not exist is an error."""
    named = list(methods) if methods is not None else [*METHODS, RETRIEVER]
    unknown = [name for name in named if name not in METHODS and name != RETRIEVER]
    if unknown:
        raise DataFormatError(
            f"There is no method called {unknown[0]!r}: choose among {', '.join([*METHODS, RETRIEVER])}."
        )
    return named


def _plan(
    comparison: Comparison,
    methods: list[str],
    examples_per_tool: Sequence[int | None] | None,
    encoder: Encoder | None,
) -> _Plan:
    counts = comparison.examples_per_tool
    if examples_per_tool is not None and counts != (None,):
        counts = tuple(examples_per_tool)
    if not comparison.train:
        counts = tuple(count for count in counts if count == 0)
    if not any(example.calls for example in comparison.test):
        return _Plan(methods, counts, [], False)
    fits = [
        (name, k)
        for k in counts
        for name in methods
        if name != RETRIEVER
        # Rows that only examples make are none for tools without any.
        and ((k != 0 and comparison.split != "left-out") or name not in NEEDS_EXAMPLES)
        and (encoder is not None or name not in NEEDS_ENCODER)
    ]
    without = 0 in counts or comparison.split == "left-out"
    retrieves = RETRIEVER in methods and encoder is not None and without and not comparison.prompt.everywhere
    return _Plan(methods, counts, fits, retrieves)


def _nothing(benchmark: str, comparison: Comparison, plan: _Plan, encoder: Encoder | None) -> DataFormatError:
    """Return the error that says why a comparison has no row."""
    what = f"Nothing can be compared on {benchmark}"
    if not any(example.calls for example in comparison.test):
        return DataFormatError(f"{what}, since no test question calls a tool: give a test with questions that do.")
    if not plan.counts and not comparison.train:
        zero = "" if comparison.examples_per_tool == (None,) else ", or compare without any by --examples 0"
        return DataFormatError(
            f"{what}, since there are no training examples: give the folder with the training data{zero}."
        )
    if not plan.counts or not plan.methods:
        return DataFormatError(f"{what} without a method and a number of examples: name at least one of each.")
    alone = [name for name in plan.methods if encoder is None and name in (*NEEDS_ENCODER, RETRIEVER)]
    bare = [name for name in plan.methods if name in NEEDS_EXAMPLES]
    reasons = [f"{' and '.join(alone)} cannot do without the sentence encoder, which is not installed"] * bool(alone)
    reasons += [f"{' and '.join(bare)} cannot do without training examples"] * bool(bare)
    if RETRIEVER in plan.methods and not alone:
        only = "in running text" if comparison.prompt.everywhere else "with examples, but by --examples 0"
        reasons.append(f"{RETRIEVER} is not compared {only}")
    return DataFormatError(
        f"{what}, since {', and '.join(reasons)}: give what is missing, or name other methods with --method."
    )


def _check_test(lm: FrozenLM, comparison: Comparison, benchmark: str) -> None:
    """Make sure, before any long work starts, that the LM's context takes all test questions."""
    lengths = [
        max(len(lm.encode(rendered.text).ids) for rendered in comparison.prompt.renderings(example))
        for example in comparison.test
    ]
    too_long = sum(length > lm.max_length for length in lengths)
    if too_long:
        raise PromptTooLongError(
            f"{too_long} of {len(lengths)} test questions of {benchmark}, {comparison.split}, are longer than the "
            f"{lm.max_length} tokens {lm.name} takes: name an LM with a longer context, or shorter questions with "
            "--test."
        )


def _report(lm: FrozenLM, comparison: Comparison, benchmark: str, too_long: int, examples: int) -> None:
    """Say how many training examples were left out."""
    if not too_long:
        return
    what = (
        f"{too_long} of {examples} training examples of {benchmark}, {comparison.split}, are longer than the "
        f"{lm.max_length} tokens {lm.name} takes"
    )
    if too_long == examples:
        raise PromptTooLongError(f"{what}: name an LM with a longer context, or shorten them.")
    warnings.warn(f"{what} and are left out.", stacklevel=3)


def _seeds(k: int | None, seeds: int) -> int:
    """Return how many draws there are: nothing, and everything, can be drawn in one way only."""
    return seeds if k else 1


def draw(train: Sequence[Example], k: int | None, seed: int, by_problem: bool) -> list[int]:
    """Return the indices of k examples of each tool (counted by their first call), or of k problems, or all."""
    if k is None:
        return list(range(len(train)))
    chosen = random.Random(seed)
    if by_problem:
        return chosen.sample(range(len(train)), min(k, len(train)))
    by_tool: dict[str, list[int]] = defaultdict(list)
    for index, example in enumerate(train):
        if example.calls:
            by_tool[example.calls[0].tool].append(index)
    return [i for _, indices in sorted(by_tool.items()) for i in chosen.sample(indices, min(k, len(indices)))]


def _decisions(
    lm: FrozenLM,
    comparison: Comparison,
    examples: Sequence[Example],
    names: Sequence[str],
    cache: FeatureCache,
    advance: Advance,
    skipped: Callable[[int, str], None] | None = None,
) -> Decisions:
    parts = decisions(
        lm,
        comparison.prompt,
        examples,
        names,
        words=comparison.firing,
        cache=cache,
        advance=advance,
        skipped=skipped,
    )
    return Decisions.join([Decisions.none(lm.hidden_size), *parts])


def _measure(
    fitted: Fitted, test: Decisions, candidates: torch.Tensor, firing: bool
) -> dict[str, tuple[torch.Tensor, ...]]:
    """Return the counts behind each metric, one entry a test example or call."""
    calls = test.calls()
    scores = (calls.hidden @ fitted.rows.T + fitted.biases)[:, candidates]
    known = (calls.labels[:, None] == candidates).long().argmax(1)
    found = _selected(scores, known)
    if fitted.calibrated:
        probabilities = torch.softmax(scores, dim=1)
        found["ece"] = (probabilities, known)
    if firing:
        fired = fitted.log_odds(test.hidden, test.logsumexp, test.results) > 0
        true = test.labels != WORDS
        size = int(test.examples.max()) + 1

        def per_example(mask: torch.Tensor) -> torch.Tensor:
            return torch.zeros(size).index_add_(0, test.examples, mask.float())

        found["firing"] = (per_example(fired & true), per_example(fired & ~true), per_example(~fired & true))
    return found


def _selected(scores: torch.Tensor, known: torch.Tensor) -> dict[str, tuple[torch.Tensor, ...]]:
    order = scores.topk(min(5, scores.shape[1]), dim=1).indices == known[:, None]
    return {"accuracy": (order[:, 0],), "top5": (order.any(1),)}


def _rows(
    benchmark: str,
    comparison: Comparison,
    method: str,
    k: int | None,
    seed: int | None,
    measured: Sequence[dict[str, tuple[torch.Tensor, ...]]],
    seconds: float,
) -> Iterator[Row]:
    figures: dict[str, tuple[float, float, float, int]] = {}
    for metric in measured[0]:
        values = [one[metric] for one in measured]
        if metric == "ece":
            pairs = [torch.stack([p.max(1).values, (p.argmax(1) == y).float()], dim=1) for p, y in values]
            counts = torch.stack(pairs)
            mean = float(_ece(counts).mean())
            figures["ece"] = (mean, *bootstrap_interval(counts, _ece, around=mean), counts.shape[1])
        elif metric == "firing":
            counts = torch.stack([torch.stack(one, 1) for one in values])
            for name, statistic in (("precision", _precision), ("recall", _recall), ("f1", _f1)):
                mean = float(torch.stack([statistic(one) for one in counts]).mean())
                figures[name] = (mean, *bootstrap_interval(counts, statistic), counts.shape[1])
        else:
            correct = torch.stack([one[0].double() for one in values])
            figures[metric] = (float(correct.mean()), *bootstrap_interval(correct[:, :, None], _mean), correct.shape[1])
    split = comparison.split if k != 0 or comparison.split == "left-out" else "zero-shot"
    for metric, (value, low, high, count) in figures.items():
        yield Row(
            benchmark=benchmark,
            split=split,
            method=method,
            tools=len(comparison.candidates),
            examples_per_tool=k,
            seed=seed,
            metric=metric,
            value=value,
            low=low,
            high=high,
            n=count,
            seconds=seconds,
        )


def _mean(counts: torch.Tensor) -> torch.Tensor:
    return counts[..., 0].mean(-1)


def _precision(counts: torch.Tensor) -> torch.Tensor:
    right, wrong, _ = counts.sum(-2).unbind(-1)
    return right / (right + wrong).clamp(min=1)


def _recall(counts: torch.Tensor) -> torch.Tensor:
    right, _, missed = counts.sum(-2).unbind(-1)
    return right / (right + missed).clamp(min=1)


def _f1(counts: torch.Tensor) -> torch.Tensor:
    right, wrong, missed = counts.sum(-2).unbind(-1)
    return 2 * right / (2 * right + wrong + missed).clamp(min=1)


def _ece(counts: torch.Tensor) -> torch.Tensor:
    confidence, hit = counts.unbind(-1)
    return calibration_error(confidence, hit)
