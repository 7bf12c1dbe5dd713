"""The published sets are read in full, and their gold calls are right by the scoring rules."""

from collections import Counter
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from toolken.benchmarks.function_calling.call_sets import CallSet, dev_and_test, read_call_set, with_distractors
from toolken.benchmarks.function_calling.record import CallOutcome, CallRecord, MadeCall
from toolken.benchmarks.function_calling.scoring import score
from toolken.benchmarks.function_calling.seal_tools import SCHEMA

#: Records per category, as the data's own description counts them.
CATEGORIES = {
    "bfcl": {"simple_python": 400, "multiple": 200, "parallel": 200, "parallel_multiple": 200, "irrelevance": 240},
    "acebench": {
        **dict.fromkeys(("atom_bool", "atom_enum", "atom_list", "atom_number", "similar_api"), 50),
        **dict.fromkeys(("incomplete", "error_param", "irrelevant"), 50),
        **dict.fromkeys(("single_turn_single_function", "single_turn_parallel_function"), 100),
        "multi_turn_user_adjust": 123,
    },
    "seal-tools": {"single": 200, "multiple": 468, "nested": 28},
}
DROPPED: dict[str, dict[str, dict[str, int]]] = {"seal-tools": {"dev.jsonl": {SCHEMA: 4}}}
#: The published answer has an argument that the function does not have.
BEYOND_SCHEMA = {"parallel_multiple_12", "parallel_multiple_26"}
#: Published answers that do not pass the schema of their function.
INVALID = {"bfcl": 6, "acebench": 6, "seal-tools": 0}
TOOLS = {"bfcl": 1362, "acebench": 1845, "seal-tools": 4076}


@pytest.fixture(scope="module", params=list(CATEGORIES))
def call_set(request: pytest.FixtureRequest, data_folder: Path) -> CallSet:
    """Return each published set whose folder exists."""
    return read(request.param, data_folder)


@cache
def read(name: str, data_folder: Path) -> CallSet:
    """Read a published set, once for all tests."""
    if not (data_folder / name).is_dir():
        pytest.skip(f"There is no {name} data in {data_folder}: set TOOLKEN_DATA to a folder that has it.")
    return read_call_set(name, data_folder)


def test_all_records_are_read_or_counted(call_set: CallSet) -> None:
    assert {category: len(records) for category, records in call_set.records.items()} == CATEGORIES[call_set.name]
    assert call_set.dropped == DROPPED.get(call_set.name, {})
    assert sum(call_set.read.values()) == len(call_set)
    assert len({record.id for record in call_set}) == len(call_set)


def test_every_schema_is_compiled(call_set: CallSet) -> None:
    assert len(call_set.pool) == TOOLS[call_set.name]
    assert call_set.uncompiled == {}


def test_gold_calls_are_right_in_any_order(call_set: CallSet) -> None:
    invalid = 0
    for record in call_set:
        metrics = score(record, CallOutcome(tuple(reversed(gold(record)))))
        assert metrics.get("exact", True) is (record.id not in BEYOND_SCHEMA), record.id
        assert metrics.get("tools", True)
        invalid += not metrics.get("valid", True)
    assert invalid == INVALID[call_set.name]


def test_gold_calls_of_another_record_are_wrong(call_set: CallSet) -> None:
    records = [record for record in call_set if record.expected]
    right = Counter(score(record, CallOutcome(gold(other)))["exact"] for record, other in pairwise(records))
    # Some requests stand in two categories.
    assert right[True] <= 2


def test_what_no_call_answers_says_why(call_set: CallSet) -> None:
    without = Counter(record.category for record in call_set if not record.expected)
    assert without == {
        category: count
        for category, count in CATEGORIES[call_set.name].items()
        if category in ("irrelevance", "irrelevant", "incomplete", "error_param")
    }
    for record in call_set:
        assert bool(record.missing) == (record.category == "incomplete")
        assert bool(record.wrong) == (record.category == "error_param")
        assert record.messages[-1].type == "human"


def test_a_thousand_tools_keep_the_gold_tools(call_set: CallSet) -> None:
    for record in [record for record in call_set if record.expected][::40]:
        found = with_distractors(record, call_set.pool, 1000)
        assert len({tool.name for tool in found.tools}) == len(found.tools) == 1000
        assert {call.tool for call in record.expected} <= {tool.name for tool in found.tools}


def test_dev_and_test_are_halves_without_common_requests(call_set: CallSet) -> None:
    dev, test = dev_and_test(call_set)
    assert abs(len(dev) - len(test)) < 0.1 * len(call_set)
    assert not {record.messages[-1].text for record in dev if len(record.messages) == 1} & {
        record.messages[-1].text for record in test if len(record.messages) == 1
    }


def gold(record: CallRecord) -> tuple[MadeCall, ...]:
    """Return the right calls of a record, with the first accepted value of each argument."""
    return tuple(
        MadeCall(call.tool, {name: plain(values[0]) for name, values in call.accepted.items() if values})
        for call in record.expected
    )


def plain(value: Any) -> Any:
    """Return an accepted value as a call has it: without the lists of accepted values in objects."""
    if isinstance(value, dict):
        return {key: plain(options[0]) for key, options in value.items() if options != [""]}
    return [plain(one) for one in value] if isinstance(value, list) else value
