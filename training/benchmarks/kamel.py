"""KAMEL: factual questions, one tool a relation; how often the right tool is chosen."""

import json
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from toolken.errors import DataFormatError
from toolken.training.background import background
from toolken.training.benchmarks.rows import Row, bootstrap_interval
from toolken.training.closed_form import PriorGeometry, Settings, closed_form
from toolken.training.examples import Example, read_examples
from toolken.training.features import Decisions, decisions, query_states
from toolken.training.fit import Progress
from toolken.training.lm import FrozenLM
from toolken.training.priors import query_forms
from toolken.training.prompt import PromptFormat
from toolken.training.statistics import ToolStatistics
from toolken.training.tool_spec import ToolSpec

NAME = "kamel"
TRAIN = "supervised_train.jsonl"
TOOLS = (30, 234)
EXAMPLES_PER_TOOL = (0, 5)
SEEDS = 5


@dataclass(frozen=True)
class KamelTest:
    """The test with the first N tools: the tools, the questions, and the index of each question's tool."""

    specs: list[ToolSpec]
    questions: list[str]
    labels: list[int]


def read_tools(folder: Path) -> list[ToolSpec]:
    """Read the relations in the order of their ids.

    Raises
    ------
    DataFormatError
        If the file is missing or in another format.
    """
    raw = _read_json(folder / "tools.json")
    try:
        ids, information = raw["tool_dict"], raw["tool_information"]
        return [
            ToolSpec(name=name.strip("<>"), description=information[name]["tool_description"])
            for name in sorted(ids, key=lambda name: int(ids[name]))
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise DataFormatError(f"{folder / 'tools.json'} has no tool_dict and tool_information: {error!r}.") from error


def read_test(folder: Path, tools: int) -> KamelTest:
    """Read the test among the first `tools` relations.

    Raises
    ------
    DataFormatError
        If the file is missing, in another format, or names a tool outside these.
    """
    path = folder / f"test_first_{tools}.json"
    specs = read_tools(folder)[:tools]
    index = {spec.name: i for i, spec in enumerate(specs)}
    try:
        pairs = [(str(record["question"]), index[record["api"]]) for record in _read_json(path)]
    except (KeyError, TypeError) as error:
        raise DataFormatError(
            f"{path} is not a list of {{question, api}} with tools among the first {tools}: {error!r}."
        ) from error
    if not pairs:
        raise DataFormatError(f"{path} has no question: give a file with some.")
    return KamelTest(specs, [question for question, _ in pairs], [label for _, label in pairs])


def read_train(folder: Path, exclude: Sequence[str]) -> dict[str, list[Example]]:
    """Read the supervised training examples of each tool, without the questions in `exclude` (the test's)."""
    left_out = set(exclude)
    by_tool: dict[str, list[Example]] = defaultdict(list)
    for example in read_examples(folder / TRAIN):
        if example.question not in left_out:
            by_tool[example.calls[0].tool].append(example)
    return by_tool


def run(
    lm: FrozenLM,
    folder: Path,
    *,
    tools: Sequence[int] = TOOLS,
    examples_per_tool: Sequence[int] = EXAMPLES_PER_TOOL,
    seeds: int = SEEDS,
    progress: Progress | None = None,
) -> Iterator[Row]:
    """Yield the selection accuracy with N tools and k examples a tool, for each seed and as the mean over seeds.

    Training examples of a seed are drawn at random; those of all seeds go through the LM once. Settings are the
    defaults of the closed form, which were chosen on `supervised_dev`.

    Raises
    ------
    DataFormatError, ExampleError
        If a file of the folder is missing or broken; before any long work.
    """
    tests = {count: read_test(folder, count) for count in tools}
    pool = read_train(folder, [q for test in tests.values() for q in test.questions])
    prompt = PromptFormat()

    def step(label: str) -> Callable[[int], Callable[[int], None]]:
        return lambda total: progress(label, total) if progress else (lambda _: None)

    shared = background(lm, prompt, started=step("Reading background requests (once for this model)"))
    geometry = PriorGeometry.of(shared.mean, shared.covariance, Settings())
    for count, test in tests.items():
        begun = time.perf_counter()
        forms = query_forms(lm, test.specs, prompt)
        seconds_forms = time.perf_counter() - begun
        questions = query_states(lm, prompt, test.questions).hidden
        truth = torch.tensor(test.labels)
        names = [spec.name for spec in test.specs]
        most = max(examples_per_tool)
        draws = [_draw(pool, names, most, seed) for seed in range(seeds)]
        states: dict[tuple[str, int], torch.Tensor] = {}
        seconds_each = 0.0
        wanted = sorted({key for draw in draws for keys in draw.values() for key in keys})
        if wanted:
            begun = time.perf_counter()
            advance = step(f"Reading KAMEL examples, {count} tools")(len(wanted))
            examples = [pool[name][i] for name, i in wanted]
            read = Decisions.join(decisions(lm, prompt, examples, names, words=False, advance=advance))
            seconds_each = (time.perf_counter() - begun) / len(wanted)
            states = {wanted[int(e)]: read.hidden[i] for i, e in enumerate(read.examples.tolist())}
        for k in examples_per_tool:
            outcomes, seconds = [], []
            for seed in range(seeds if k else 1):
                begun = time.perf_counter()
                statistics = ToolStatistics.empty(names, lm.hidden_size)
                keys = [(i, key) for i, name in enumerate(names) for key in draws[seed][name][:k]]
                if keys:
                    hidden = torch.stack([states[key] for _, key in keys])
                    statistics.add(hidden, torch.tensor([i for i, _ in keys]))
                rows, biases = closed_form(geometry, forms, statistics, Settings())
                correct = (questions @ rows.T + biases).argmax(1) == truth
                outcomes.append(correct)
                seconds.append(time.perf_counter() - begun + seconds_forms + seconds_each * len(keys))
                yield _row(count, k, seed, correct, seconds[-1])
            yield _row(count, k, None, torch.stack(outcomes), sum(seconds) / len(seconds))


def check_folder(folder: Path, tools: Sequence[int]) -> None:
    """Make sure that a folder holds the tests and the training examples, before anything long begins.

    Raises
    ------
    DataFormatError
        If a file is missing or in another format.
    """
    for count in tools:
        read_test(folder, count)
    if not (folder / TRAIN).is_file():
        raise DataFormatError(f"There is no {str(folder / TRAIN)!r}: give the folder with the KAMEL data as --data.")


def _draw(
    pool: dict[str, list[Example]], names: Sequence[str], most: int, seed: int
) -> dict[str, list[tuple[str, int]]]:
    chosen = random.Random(seed)
    return {
        name: [(name, i) for i in chosen.sample(range(len(pool[name])), min(most, len(pool[name])))] for name in names
    }


def _row(tools: int, k: int, seed: int | None, correct: torch.Tensor, seconds: float) -> Row:
    low, high = bootstrap_interval(correct)
    return Row(
        benchmark=NAME,
        split="supervised" if k else "zero-shot",
        method="toolken",
        tools=tools,
        examples_per_tool=k,
        seed=seed,
        metric="accuracy",
        value=float(correct.double().mean()),
        low=low,
        high=high,
        n=correct.shape[-1],
        seconds=seconds,
    )


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataFormatError(
            f"There is no {str(path)!r}: give the folder with the KAMEL data as --data ({error.strerror})."
        ) from error
    except ValueError as error:
        raise DataFormatError(f"{str(path)!r} is not JSON: {error}.") from error
