"""Used and skipped records of the published data sets add up to the published counts."""

from functools import cache
from pathlib import Path

import pytest

from toolken.benchmarks.sets.data_files import normalised
from toolken.benchmarks.sets.dataset import Dataset, leave_out
from toolken.benchmarks.sets.registry import read_dataset
from toolken.training.examples import Example

FOLDERS = {"stq": "simpletoolquestions"}
#: Records of each file, as the data's own description counts them.
COUNTS = {
    "kamel": {
        "supervised_train.jsonl": 19000,
        "supervised_dev.jsonl": 1000,
        "synthetic_train.jsonl": 8095,
        "synthetic_train.jsonl, cut to questions": 8095,
        "synthetic_dev.jsonl": 1000,
        "synthetic_dev.jsonl, cut to questions": 1000,
        "test_first_10.json": 500,
        "test_first_20.json": 500,
        "test_first_30.json": 500,
        "test_first_234.json": 500,
    },
    "stq": {"train.jsonl": 10483, "dev.jsonl": 1707},
    "metatool": {"all_clean_data.csv": 20614, "multi_tool_query_golden.json": 497},
    "gsm8k-xl": {"train.jsonl": 5258, "dev.jsonl": 1000, "test_with_steps.jsonl": 568},
    "funcqa": {"train.jsonl": 611, "dev.jsonl": 39, "test_one_hop.json": 60, "test_multi_hop.json": 68},
    "virtualhome": {"train.jsonl": 200, "dev.jsonl": 47, "test50.jsonl": 50},
}
TOOLS = {"kamel": 234, "stq": 999, "metatool": 199, "gsm8k-xl": 4, "funcqa": 13, "virtualhome": 58}


@pytest.fixture(scope="module", params=list(COUNTS))
def dataset(request: pytest.FixtureRequest, data_folder: Path) -> Dataset:
    """Return each published set whose folder exists."""
    return read(request.param, data_folder)


@cache
def read(name: str, data_folder: Path) -> Dataset:
    """Read a published set, once for all tests."""
    folder = data_folder / FOLDERS.get(name, name)
    if not (folder / next(iter(COUNTS[name]))).is_file():
        pytest.skip(f"There is no {name} data in {folder}: set TOOLKEN_DATA to a folder that has it.")
    return read_dataset(name, folder)


def examples(dataset: Dataset) -> dict[str, list[Example]]:
    """Return the examples of each split by name, so that splits can be compared."""
    tests = {f"test {name}": test.examples for name, test in dataset.tests.items()}
    dev = {f"dev {kind}": part for kind, part in dataset.dev.items()}
    return {f"train {kind}": part for kind, part in dataset.train.items()} | dev | tests


def test_used_and_dropped_records_add_up_to_what_was_published(dataset: Dataset) -> None:
    total = {file: dataset.read[file] + sum(dataset.dropped.get(file, {}).values()) for file in dataset.read}
    assert total == COUNTS[dataset.name]
    assert len(dataset.specs) == TOOLS[dataset.name]
    assert not dataset.missing
    assert len(dataset.report()) == sum(map(len, dataset.dropped.values()))


def test_every_call_is_of_a_known_tool_and_stands_where_it_says(dataset: Dataset) -> None:
    names = {spec.name for spec in dataset.specs}
    for part in examples(dataset).values():
        for example in part:
            assert {call.tool for call in example.calls} <= names
            for call in example.calls:
                if example.answer is not None:
                    assert call.start is not None
                    assert example.answer[call.start :].startswith(call.result)


def test_no_question_of_a_test_is_trained_on(dataset: Dataset) -> None:
    asked = {normalised(example.question) for test in dataset.tests.values() for example in test.examples}
    chosen_on = {normalised(example.question) for part in dataset.dev.values() for example in part} - {""}
    trained = {normalised(example.question) for part in dataset.train.values() for example in part}
    assert not asked & trained
    assert not chosen_on & trained
    assert not asked & chosen_on


def test_the_one_question_that_kamel_asks_twice_is_left_out(data_folder: Path) -> None:
    dataset = read("kamel", data_folder)
    assert dataset.dropped["supervised_train.jsonl"] == {"the question also occurs in the test or dev data": 1}
    assert [len(test.specs) for test in dataset.tests.values()] == [10, 20, 30, 234]
    assert {"P17", "P170"} <= {spec.name for spec in dataset.specs}


def test_every_tool_but_those_left_out_has_examples(data_folder: Path) -> None:
    dataset = read("stq", data_folder)
    assert len({example.calls[0].tool for example in dataset.train["supervised"]}) == 999
    rest = leave_out(dataset)
    assert (len(rest.specs), len(rest.tests["left-out"].specs)) == (700, 299)
    assert len(rest.dev["supervised"]) + len(rest.tests["left-out"].examples) == 1707


def test_each_plugin_has_its_share_of_every_part(data_folder: Path) -> None:
    dataset = read("metatool", data_folder)
    parts = [dataset.train["supervised"], dataset.dev["supervised"], dataset.tests["test"].examples]
    for part in parts:
        assert len({example.calls[0].tool for example in part}) == 199
    assert all(len(example.calls) == 2 for example in dataset.tests["multi-tool"].examples)
    for part, share in zip(parts, (0.6, 0.2, 0.2), strict=True):
        assert len(part) == pytest.approx(share * dataset.read["all_clean_data.csv"], rel=0.01)


def test_steps_of_the_enlarged_problems_are_right(data_folder: Path) -> None:
    tests = read("gsm8k-xl", data_folder).tests
    checked = 0
    for example in tests["test"].examples:
        for call in example.calls:
            if call.tool == "multiply" and all(value.isdigit() for value in call.args.values()):
                product = 1
                for value in call.args.values():
                    product *= int(value)
                assert float(call.result) == pytest.approx(product, rel=1e-2)
                checked += 1
    assert checked > 200


def test_one_hop_questions_are_spread_over_the_thirteen_tools(data_folder: Path) -> None:
    tests = read("funcqa", data_folder).tests
    assert len({example.calls[0].tool for example in tests["one-hop"].examples}) == 13
    assert sum(len(example.calls) > 1 for example in tests["multi-hop"].examples) == 64


def test_plans_end_and_the_demonstrations_are_shared(data_folder: Path) -> None:
    dataset = read("virtualhome", data_folder)
    assert dataset.preamble.endswith("Task 4:\n")
    for part in examples(dataset).values():
        assert all(example.calls[-1].tool == "[END]" for example in part)
        assert all(example.question.startswith("I am in ['") for example in part)
    assert sum(len(example.calls) for example in dataset.tests["dev"].examples) == 969
