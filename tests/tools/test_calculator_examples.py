"""The generated training examples are varied, sensible and correct."""

import json
from collections import Counter
from itertools import islice

import pytest

from toolken.tools.calculator import OPERATIONS, calculator_tools, examples
from toolken.tools.calculator.word_problems import MULTI_STEP, ONE_STEP, WORDS

RECORDS = list(examples(3000, seed=7))
TOOLS = {tool.name: tool for tool in calculator_tools("operations")}


def operands(call):
    values = [value for value in call["args"].values() for value in (value if isinstance(value, list) else [value])]
    return [value if isinstance(value, str) else json.dumps(value) for value in values]


def test_a_seed_fixes_the_stream_whatever_its_length():
    assert list(islice(examples(500, seed=7), 50)) == RECORDS[:50] == list(examples(50, seed=7))
    assert list(examples(50, seed=8)) != RECORDS[:50]
    assert list(examples(0)) == []


def test_no_question_comes_twice():
    assert len({record["question"] for record in RECORDS}) == len(RECORDS)


def test_every_operation_is_covered_and_a_third_takes_several_calls():
    one_step = Counter(record["calls"][0]["tool"] for record in RECORDS if len(record["calls"]) == 1)
    assert set(one_step) == set(OPERATIONS)
    assert min(one_step.values()) > len(RECORDS) / 13 * 2 / 3 / 2
    several = [record for record in RECORDS if len(record["calls"]) > 1]
    assert 0.28 < len(several) / len(RECORDS) < 0.39
    assert {call["tool"] for record in several for call in record["calls"]} == set(OPERATIONS)
    assert max(len(record["calls"]) for record in RECORDS) == 3


def test_the_number_of_calls_can_be_limited():
    assert {len(record["calls"]) for record in examples(300, max_calls=1)} == {1}
    assert {len(record["calls"]) for record in examples(300, max_calls=2)} == {1, 2}
    with pytest.raises(ValueError, match="max_calls"):
        examples(3, max_calls=0)


def test_every_argument_stands_in_the_question_or_in_an_earlier_result():
    for record in RECORDS:
        known = record["question"]
        for call in record["calls"]:
            for operand in operands(call):
                assert operand in known, record
            known += f" {call['result']}"


def test_the_last_call_uses_an_earlier_result():
    for record in RECORDS:
        if len(record["calls"]) > 1:
            earlier = {call["result"] for call in record["calls"][:-1]}
            assert earlier & set(operands(record["calls"][-1])), record


def test_every_result_is_what_the_tool_says():
    for record in RECORDS[:600]:
        for call in record["calls"]:
            assert TOOLS[call["tool"]].invoke(call["args"]) == call["result"]


def test_results_are_sensible():
    whole = {"lcm", "gcd", "choose", "permutate"}
    for record in RECORDS:
        assert "{" not in record["question"]
        assert "  " not in record["question"]
        for call in record["calls"]:
            assert "e" not in call["result"], record
            if call["tool"] in whole:
                assert call["result"].isdigit(), record
            if call["tool"] not in ("log", "ln"):
                assert not call["result"].startswith("-"), record
                assert call["result"] != "0", record


def test_there_are_hundreds_of_wordings():
    one_step = [scenario for scenarios in ONE_STEP.values() for scenario in scenarios]
    assert sum(len(scenario.stories) * len(scenario.asks) for scenario in one_step) > 300
    assert sum(len(scenario.stories) * len(scenario.asks) for scenario in MULTI_STEP) > 100
    assert all(len(ONE_STEP[name]) >= 3 for name in OPERATIONS)
    words = [word for choices in WORDS.values() for word in choices]
    assert len(words) == len(set(words))
