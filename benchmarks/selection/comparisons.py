"""What is compared on each data set: training data, tools, test questions, and the prompt format they are asked in."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from toolken.agents.household.plans import PLANS
from toolken.benchmarks.sets.dataset import Dataset, leave_out
from toolken.errors import DataFormatError
from toolken.training.examples import Example
from toolken.training.prompts.prompt_format import PromptFormat
from toolken.training.tool_spec import ToolSpec

#: Questions about facts, whose answer is a thing.
QUESTIONS = PromptFormat()
#: Requests for help, which have no one answer; the wording was chosen on MetaTool's training and dev requests.
REQUESTS = PromptFormat(opening=" The right tool for this is")
#: Reasoning in running text, with calls anywhere in it.
REASONING = PromptFormat(opening="", everywhere=True)

#: Training examples a tool that are compared by default; None for all there are.
EXAMPLES_PER_TOOL: dict[str, tuple[int | None, ...]] = {
    "kamel": (0, 1, 5, None),
    "stq": (0, 1, 5, None),
    "metatool": (0, 1, 5, 10, None),
    "gsm8k-xl": (25, 100, None),
    "funcqa": (0, 1, 5, None),
    "virtualhome": (None,),
}
#: Data sets in which a number of examples is one of problems, since a problem calls several tools.
BY_PROBLEM = ("gsm8k-xl", "virtualhome")
#: Numbers of tools that KAMEL is compared with, where the folder has their tests.
SIZES = ("30", "234")
#: Tools of SimpleToolQuestions that are left out of training to be chosen among.
LEFT_OUT = 299


@dataclass(frozen=True)
class Comparison:
    """One set of tools, training data and test questions.

    Attributes
    ----------
    split
        supervised, synthetic, left-out, or dev where the questions are those of the dev file (but not for stq, on
        whose dev file figures are published); without training examples it is called zero-shot.
    prompt
        The wording of all examples and descriptions.
    specs
        The tools that there are training examples or test questions for.
    candidates
        Names of the tools to choose among at the test.
    train, test
        Examples; those of `train` may call `specs` only.
    examples_per_tool
        Numbers of training examples to compare.
    firing
        Whether it is measured as well at which positions a tool is called at all.
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
    """Yield what is compared on a data set by default.

    Raises
    ------
    DataFormatError
        If it is none of the published sets, or has no test.
    """
    if dataset.name not in EXAMPLES_PER_TOOL:
        raise DataFormatError(
            f"Nothing is known to compare on {dataset.name!r}: name one of {', '.join(EXAMPLES_PER_TOOL)}, or compare "
            "data of your own with `compare`."
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
                rest = leave_out(dataset, LEFT_OUT)
                unseen = rest.tests["left-out"]
                specs = [*rest.specs, *unseen.specs]
                names = [spec.name for spec in unseen.specs]
                test = [_asked(example) for example in unseen.examples]
                train = [_asked(example) for example in rest.train.get("supervised", [])]
                yield Comparison("left-out", QUESTIONS, specs, names, train, test, (None,))
        case "metatool":
            yield _whole(dataset, "supervised", REQUESTS, supervised, counts)
        case "gsm8k-xl":
            yield replace(_whole(dataset, split, REASONING, supervised, counts, asked=False), firing=True)
        case "funcqa":
            yield _whole(dataset, split, QUESTIONS, supervised, counts)
            if "dev" in dataset.tests and len(dataset.tests) > 1:
                # Here the formula stands in front of its result.
                written = _whole(dataset, "dev", REASONING, supervised, (None,), asked=False, test="dev")
                yield replace(written, firing=True)
        case "virtualhome":
            yield _whole(dataset, split, plans_after(dataset.preamble), supervised, counts, asked=False)


def plans_after(demonstrations: str) -> PromptFormat:
    """Return the format of plans with the published demonstrations before each request.

    On held-out training plans they raise the share of right toolkens by five hundredths.
    """
    # Not a copy: that would take the fingerprint along, once it has been computed.
    return PromptFormat(question=PLANS.question, joint=PLANS.joint, opening=PLANS.opening, preamble=demonstrations)


def _kamel(dataset: Dataset, name: str, counts: tuple[int | None, ...]) -> Iterator[Comparison]:
    test = dataset.tests[name]
    names = [spec.name for spec in test.specs]
    for kind in ("supervised", "synthetic"):
        train = [_asked(one) for one in dataset.train.get(kind, []) if {call.tool for call in one.calls} <= set(names)]
        chosen: tuple[int | None, ...] = counts if kind == "supervised" else (None,)
        if train or kind == "supervised":
            yield Comparison(kind, QUESTIONS, test.specs, names, train, [_asked(e) for e in test.examples], chosen)


def _whole(
    dataset: Dataset,
    split: str,
    prompt: PromptFormat,
    train: list[Example],
    counts: tuple[int | None, ...],
    *,
    asked: bool = True,
    test: str | None = None,
) -> Comparison:
    evaluation = next(iter(dataset.tests.values())) if test is None else dataset.tests[test]
    names = [spec.name for spec in evaluation.specs]
    examples, questions = ([_asked(e) for e in part] if asked else part for part in (train, evaluation.examples))
    return Comparison(split, prompt, evaluation.specs, names, examples, questions, counts)


def _asked(example: Example) -> Example:
    """Return the question with its first call alone, which is then decided behind the question."""
    if not example.question or not example.calls:
        return example
    first = example.calls[0].model_copy(update={"start": None, "result": ""})
    return Example(question=example.question, calls=(first,))
