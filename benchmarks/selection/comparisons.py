"""`Comparison`: tools, training data, test questions and prompt format of each comparison on a data set."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from toolken.agents.household.plans import PLANS
from toolken.benchmarks.sets.dataset import Dataset, leave_out
from toolken.benchmarks.sets.metatool import learned_tools
from toolken.errors import DataFormatError
from toolken.training.examples import Example
from toolken.training.prompts.prompt_format import PromptFormat
from toolken.training.tool_spec import ToolSpec

#: Questions about facts, whose answer is an entity.
QUESTIONS = PromptFormat()
#: Requests, which have no single answer; the opening was chosen on MetaTool's training and dev requests.
REQUESTS = PromptFormat(opening=" The right tool for this is")
#: Reasoning in running text, with calls at any position.
REASONING = PromptFormat(opening="", everywhere=True)

#: Default numbers of training examples per tool; None for all.
EXAMPLES_PER_TOOL: dict[str, tuple[int | None, ...]] = {
    "kamel": (0, 1, 5, None),
    "stq": (0, 1, 5, None),
    "metatool": (0, 1, 5, 10, None),
    "gsm8k-xl": (25, 100, None),
    "funcqa": (0, 1, 5, None),
    "virtualhome": (None,),
}
#: Data sets whose numbers of examples count problems, since a problem calls several tools.
BY_PROBLEM = ("gsm8k-xl", "virtualhome")
#: Numbers of tools of the KAMEL comparisons, if the folder has their tests.
SIZES = ("30", "234")
#: Tools of SimpleToolQuestions that are left out of training and form the candidates of a test.
LEFT_OUT = 299


@dataclass(frozen=True)
class Comparison:
    """One set of tools, training data and test questions.

    Attributes
    ----------
    split
        supervised, synthetic, left-out, or dev if the questions come from the dev file (except for stq, whose
        published figures use the dev file); rows without training examples say zero-shot instead.
    prompt
        Format of all examples and descriptions.
    specs
        The tools of the training examples and test questions.
    candidates
        Names of the tools to choose among in the test.
    train, test
        Examples; those of `train` call only `specs`.
    examples_per_tool
        Numbers of training examples per tool to compare.
    firing
        Whether to measure the call decision at every position too.
    """

    split: str
    prompt: PromptFormat
    specs: list[ToolSpec]
    candidates: list[str]
    train: list[Example]
    test: list[Example]
    examples_per_tool: tuple[int | None, ...]
    firing: bool = False


def comparisons(dataset: Dataset) -> Iterator[Comparison]:
    """Yield the default comparisons of a data set.

    Raises
    ------
    DataFormatError
        If it is not a published set, or has no test.
    """
    if dataset.name not in EXAMPLES_PER_TOOL:
        raise DataFormatError(
            f"There is no default comparison on {dataset.name!r}: name one of {', '.join(EXAMPLES_PER_TOOL)}, or "
            "compare your own data with `compare`."
        )
    if not dataset.tests:
        raise DataFormatError(f"{dataset.name} has no test: give the folder with its data, or a file as --test.")
    counts = EXAMPLES_PER_TOOL[dataset.name]
    supervised = dataset.train.get("supervised", [])
    split = "dev" if next(iter(dataset.tests)) == "dev" else "supervised"
    match dataset.name:
        case "kamel":
            for name in [size for size in SIZES if size in dataset.tests] or sorted(dataset.tests, key=int):
                yield from _kamel(dataset, name, counts)
        case "stq":
            yield _whole(dataset, "supervised", QUESTIONS, supervised, counts)
            calling = {
                call.tool for test in dataset.tests.values() for example in test.examples for call in example.calls
            }
            if len(calling) > LEFT_OUT:
                remaining = leave_out(dataset, LEFT_OUT)
                left_out = remaining.tests["left-out"]
                specs = [*remaining.specs, *left_out.specs]
                names = [spec.name for spec in left_out.specs]
                test = [_first_call(example) for example in left_out.examples]
                train = [_first_call(example) for example in remaining.train.get("supervised", [])]
                yield Comparison("left-out", QUESTIONS, specs, names, train, test, (None,))
        case "metatool":
            whole = _whole(dataset, "supervised", REQUESTS, supervised, counts)
            yield whole
            # The tools that no prior was learned from, among each other and among all.
            unseen = [name for name in whole.candidates if name not in learned_tools(whole.candidates)]
            test = [one for one in whole.test if one.calls and one.calls[0].tool in unseen]
            if len(unseen) > 1 and test:
                for names in (unseen, whole.candidates):
                    yield Comparison("left-out", REQUESTS, whole.specs, names, [], test, (0,))
        case "gsm8k-xl":
            yield replace(_whole(dataset, split, REASONING, supervised, counts, first_call=False), firing=True)
        case "funcqa":
            yield _whole(dataset, split, QUESTIONS, supervised, counts)
            if "dev" in dataset.tests and len(dataset.tests) > 1:
                # In running text the formula precedes its result.
                written = _whole(dataset, "dev", REASONING, supervised, (None,), first_call=False, test="dev")
                yield replace(written, firing=True)
        case "virtualhome":
            yield _whole(dataset, split, plans_after(dataset.preamble), supervised, counts, first_call=False)


def plans_after(demonstrations: str) -> PromptFormat:
    """Return the format of plans with the published demonstrations before each request.

    On held-out training plans they raise toolken accuracy by 5 percentage points.
    """
    # Not a copy, which would keep a cached fingerprint.
    return PromptFormat(question=PLANS.question, joint=PLANS.joint, opening=PLANS.opening, preamble=demonstrations)


def _kamel(dataset: Dataset, name: str, counts: tuple[int | None, ...]) -> Iterator[Comparison]:
    test = dataset.tests[name]
    names = [spec.name for spec in test.specs]
    for kind in ("supervised", "synthetic"):
        train = [
            _first_call(one) for one in dataset.train.get(kind, []) if {call.tool for call in one.calls} <= set(names)
        ]
        chosen: tuple[int | None, ...] = counts if kind == "supervised" else (None,)
        if train or kind == "supervised":
            yield Comparison(kind, QUESTIONS, test.specs, names, train, [_first_call(e) for e in test.examples], chosen)


def _whole(
    dataset: Dataset,
    split: str,
    prompt: PromptFormat,
    train: list[Example],
    counts: tuple[int | None, ...],
    *,
    first_call: bool = True,
    test: str | None = None,
) -> Comparison:
    evaluation = next(iter(dataset.tests.values())) if test is None else dataset.tests[test]
    names = [spec.name for spec in evaluation.specs]
    examples, questions = (
        [_first_call(e) for e in part] if first_call else part for part in (train, evaluation.examples)
    )
    return Comparison(split, prompt, evaluation.specs, names, examples, questions, counts)


def _first_call(example: Example) -> Example:
    """Return the question with only its first call, which is then decided after the question."""
    if not example.question or not example.calls:
        return example
    first = example.calls[0].model_copy(update={"start": None, "result": ""})
    return Example(question=example.question, calls=(first,))
