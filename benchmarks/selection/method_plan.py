"""`MethodPlan`: the methods and numbers of examples of a comparison, and errors if there are none."""

from collections.abc import Sequence
from dataclasses import dataclass

from toolken.benchmarks.methods.selection_methods import METHODS, NEEDS_ENCODER, NEEDS_EXAMPLES
from toolken.benchmarks.selection.comparisons import Comparison
from toolken.errors import DataFormatError, PromptTooLongError
from toolken.training.lm import FrozenLM
from toolken.training.prior.pretrained import PretrainedPrior
from toolken.training.prior.teacher import Encoder

#: Names in the rows of what chooses by descriptions alone: a sentence encoder, and the LM's pretrained prior.
RETRIEVER, PRIOR = "minilm", "toolken-prior"


@dataclass(frozen=True)
class MethodPlan:
    """The work of a comparison; false if there is none.

    Attributes
    ----------
    methods
        Requested methods.
    counts
        Possible numbers of training examples.
    fits
        (method, number of examples) pairs to fit.
    retrievers
        Which of the retriever and the pretrained prior to run too.
    """

    methods: list[str]
    counts: tuple[int | None, ...]
    fits: list[tuple[str, int | None]]
    retrievers: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.fits or self.retrievers)


def method_names(methods: Sequence[str] | None) -> list[str]:
    """Return the names of the requested methods, by default all; raise `DataFormatError` for an unknown one."""
    named = list(methods) if methods is not None else [*METHODS, PRIOR, RETRIEVER]
    unknown = [name for name in named if name not in (*METHODS, PRIOR, RETRIEVER)]
    if unknown:
        raise DataFormatError(
            f"There is no method called {unknown[0]!r}: choose among {', '.join([*METHODS, PRIOR, RETRIEVER])}."
        )
    return named


def plan_methods(
    comparison: Comparison,
    methods: list[str],
    examples_per_tool: Sequence[int | None] | None,
    encoder: Encoder | None,
    prior: PretrainedPrior | None = None,
) -> MethodPlan:
    """Return the possible part of the requested work."""
    counts = comparison.examples_per_tool
    if examples_per_tool is not None and counts != (None,):
        counts = tuple(examples_per_tool)
    if not comparison.train:
        counts = tuple(count for count in counts if count == 0)
    if not any(example.calls for example in comparison.test):
        return MethodPlan(methods, counts, [], ())
    fits = [
        (name, k)
        for k in counts
        for name in methods
        if name not in (PRIOR, RETRIEVER)
        # Trainers learn nothing for tools without examples.
        and ((k != 0 and comparison.split != "left-out") or name not in NEEDS_EXAMPLES)
        and (encoder is not None or name not in NEEDS_ENCODER)
    ]
    without = 0 in counts or comparison.split == "left-out"
    there = {RETRIEVER: encoder is not None, PRIOR: prior is not None}
    possible = without and not comparison.prompt.everywhere
    return MethodPlan(methods, counts, fits, tuple(name for name in methods if possible and there.get(name)))


def nothing_to_compare(
    benchmark: str,
    comparison: Comparison,
    plan: MethodPlan,
    encoder: Encoder | None,
    prior: PretrainedPrior | None = None,
) -> DataFormatError:
    """Return an error that explains why a comparison has no rows."""
    what = f"Nothing can be compared on {benchmark}"
    if not any(example.calls for example in comparison.test):
        return DataFormatError(
            f"{what}, since no test question calls a tool: give a test with questions that call one."
        )
    if not plan.counts and not comparison.train:
        zero = "" if comparison.examples_per_tool == (None,) else ", or compare without any by --examples 0"
        return DataFormatError(
            f"{what}, since there are no training examples: give the folder with the training data{zero}."
        )
    if not plan.counts or not plan.methods:
        return DataFormatError(f"{what} without a method and a number of examples: name at least one of each.")
    alone = [name for name in plan.methods if encoder is None and name in (*NEEDS_ENCODER, RETRIEVER)]
    bare = [name for name in plan.methods if name in NEEDS_EXAMPLES]
    reasons = [f"{' and '.join(alone)} cannot run without the sentence encoder, which is not installed"] * bool(alone)
    reasons += [f"{' and '.join(bare)} cannot run without training examples"] * bool(bare)
    if PRIOR in plan.methods and prior is None:
        reasons.append(f"{PRIOR} cannot run, as no prior comes with toolken for this LM")
    for name in (PRIOR, RETRIEVER):
        if name in plan.methods and name not in alone and (name != PRIOR or prior is not None):
            where = "in running text" if comparison.prompt.everywhere else "with examples, only with --examples 0"
            reasons.append(f"{name} is not compared {where}")
    return DataFormatError(
        f"{what}, since {', and '.join(reasons)}: add the missing input, or name other methods with --method."
    )


def check_test(lm: FrozenLM, comparison: Comparison, benchmark: str) -> None:
    """Raise `PromptTooLongError`, before any long work, if a test question exceeds the LM's context."""
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
