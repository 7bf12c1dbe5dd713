"""Sets with calls in running text keep the positions of the calls."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from toolken import Example
from toolken.benchmarks.sets.dataset import Dataset
from toolken.benchmarks.sets.registry import read_dataset
from toolken.errors import DataFormatError
from toolken.tools.household import SimulatorMissingError

OFFSET = "an offset does not point at the result"


def write_lines(path: Path, records: Iterable[Any]) -> None:
    """Write a JSON lines file."""
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


def write_tools(folder: Path, names: Iterable[str]) -> None:
    """Write tools.json for arithmetic."""
    ids = {f"<{name}>": i for i, name in enumerate(names)}
    information = {name: {"tool_description": f"{name} numbers"} for name in ids}
    (folder / "tools.json").write_text(json.dumps({"tool_dict": ids, "tool_information": information}))


def published(text: str, *calls: tuple[str, str, int]) -> dict[str, Any]:
    """Return a record of the published form, with each call as tool, result and offset."""
    return {
        "text": text,
        "start_str_idx": [start for _, _, start in calls],
        "tool_calling": [
            {"call_tool": f"<{tool}>", "call_param": ["1"], "return": [result]} for tool, result, _ in calls
        ],
    }


def decided(example: Example) -> list[tuple[str, str]]:
    """Return the text before each call, and the call's tool."""
    assert example.answer is not None
    return [(example.answer[: call.start], call.tool) for call in example.calls]


GSM_DEV = "Tom has 2 pens and buys 3. How many? Let's think step by step. Tom has 2 + 3 = 5 pens.\n#### 5"


@pytest.fixture
def gsm8k_xl(tmp_path: Path) -> Path:
    """Write problems in each form of the set."""
    write_tools(tmp_path, ["add", "subtract", "multiply", "divide"])
    answer = "He has 4*2 = 8 pens.\nThat is 8-1 = 7 left.\n#### 7"
    calls = [
        {"tool": "multiply", "args": ["4", "2"], "result": "8", "start": answer.index("8")},
        {"tool": "subtract", "args": ["8", "1"], "result": "7", "start": answer.index("7")},
    ]
    train = [
        {"question": "Pens?", "answer": answer, "final": "7", "calls": calls},
        {"question": "Off?", "answer": answer, "final": "7", "calls": [{**calls[0], "start": 3}]},
        {"question": "Cut?", "answer": "2*5 = 1000", "calls": [{**calls[0], "result": "10", "start": 6}]},
        {"question": "tom has 2 pens and buys 3.  How many?", "answer": "5", "final": "5", "calls": []},
        {"question": "Let x be that. What is x?", "answer": "So x is 3.", "final": "3", "calls": []},
    ]
    write_lines(tmp_path / "train.jsonl", train)
    dev = [
        published(GSM_DEV, ("add", "5", GSM_DEV.index("5 pens"))),
        published("And? Let's think step by step. x = 2=2<eoe>2"),
        published("That? Let's think step by step. 60*2 = 1,200.", ("multiply", "1200", 39)),
        published("Are 5 many? Let's think step by step. 2+3 = 5.", ("add", "5", 4)),
    ]
    write_lines(tmp_path / "dev.jsonl", dev)
    steps = {
        "question": "Ann packs {v_1} boxes with {v_2} cups. How many?",
        "answer": "{v_1}*{v_2} = <<{v_1}*{v_2}={r_1}>>{r_1} cups.\nThen {r_1}/3=$<<{r_1}/3= {r_2}>>{r_2} more.",
        "enhanced_v": [4000, "1/4"],
        "enhanced_process": ["4000*1/4 = 1000.0", "1000.0/3 = 333.33333"],
    }
    two_at_once = {**steps, "answer": "<<{v_1}*{v_2}-1={r_1}>>{r_1}"}
    holes = {**steps, "question": "{v_3}?"}
    write_lines(tmp_path / "test_with_steps.jsonl", [steps, two_at_once, holes])
    return tmp_path


def test_word_problems_are_parted_into_question_and_solution(gsm8k_xl: Path) -> None:
    dataset = read_dataset("gsm8k-xl", gsm8k_xl)
    (example,) = dataset.tests["dev"].examples
    assert example.question == "Tom has 2 pens and buys 3. How many?"
    assert example.answer == "Tom has 2 + 3 = 5 pens.\n#### 5"
    assert decided(example) == [("Tom has 2 + 3 = ", "add")]
    assert dataset.dropped["dev.jsonl"] == {
        "the text contains markup of calls": 1,
        OFFSET: 1,
        "an offset points into the question": 1,
    }


def test_solutions_are_trained_on_where_their_offsets_hold(gsm8k_xl: Path) -> None:
    dataset = read_dataset("gsm8k-xl", gsm8k_xl)
    called, uncalled = dataset.train["supervised"]
    assert decided(called) == [
        ("He has 4*2 = ", "multiply"),
        ("He has 4*2 = 8 pens.\nThat is 8-1 = ", "subtract"),
    ]
    assert called.calls[0].args == {"0": "4", "1": "2"}
    assert (uncalled.question, uncalled.calls) == ("Let x be that. What is x?", ())
    assert dataset.dropped["train.jsonl"] == {
        OFFSET: 1,
        "an offset points into a longer word or number": 1,
        "the question also occurs in the test or dev data": 1,
    }


def test_steps_of_the_test_become_texts_with_calls(gsm8k_xl: Path) -> None:
    dataset = read_dataset("gsm8k-xl", gsm8k_xl)
    (example,) = dataset.tests["test"].examples
    assert example.question == "Ann packs 4000 boxes with 1/4 cups. How many?"
    assert example.answer == "4000*1/4 = 1000 cups.\nThen 1000/3=$333.33 more."
    assert [(call.tool, call.args, call.result) for call in example.calls] == [
        ("multiply", {"0": "4000", "1": "1/4"}, "1000"),
        ("divide", {"0": "1000", "1": "3"}, "333.33"),
    ]
    assert sum(dataset.dropped["test_with_steps.jsonl"].values()) == 2


def test_plain_problems_with_notes_serve_as_a_test(gsm8k_xl: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.jsonl"
    write_lines(own, [{"question": "How many?", "answer": "It is 48/2=<<48/2=24>>24, so 24.\n#### 24"}])
    dataset = read_dataset("gsm8k-xl", gsm8k_xl, test_file=own)
    assert list(dataset.tests) == ["test"]
    (example,) = dataset.tests["test"].examples
    assert example.answer == "It is 48/2=24, so 24.\n#### 24"
    assert decided(example) == [("It is 48/2=", "divide")]


@pytest.fixture
def funcqa(tmp_path: Path) -> Path:
    """Write arithmetic with one call, with several calls, and in running text."""
    write_tools(tmp_path, ["add", "log", "remainder"])
    one = [
        {"question": " What is 2 and 3?", "answer": 5, "func": "<add>(2, 3)=5"},
        {"question": "What pH is 0.01?", "answer": 2, "func": "-<log>(0.01)=2"},
        {"question": "What else?", "answer": 2, "func": "add 2 and 3"},
    ]
    (tmp_path / "test_one_hop.json").write_text(json.dumps(one))
    several = [{"question": "And then?", "answer": "4", "calculation": ["<add>(2,3)=5", "<remainder>(9,5)=4"]}]
    (tmp_path / "test_multi_hop.json").write_text(json.dumps(several))
    write_lines(tmp_path / "dev.jsonl", [published("Q: 7 by 4?\nA: 7 mod 4=3.", ("remainder", "3", 22))])
    train = [
        published("Q: 9 by 5?\nA: 9 mod 5 = 4.", ("remainder", " 4", 23)),
        published("Q: 8 by 5?\nA: 8-5=<subtract>(8,5)=3."),
        published("Q: 1 and 2?\nA: 1.22 litres.", ("add", "22", 17)),
        published("Q: 7 by 4?\nA: 3.", ("remainder", "3", 14)),
    ]
    write_lines(tmp_path / "train.jsonl", train)
    return tmp_path


def test_calls_of_arithmetic_questions_are_read_with_their_arguments(funcqa: Path) -> None:
    tests = read_dataset("funcqa", funcqa).tests
    assert list(tests) == ["one-hop", "multi-hop", "dev"]
    first, second = tests["one-hop"].examples
    assert (first.question, first.calls[0].args, first.calls[0].result) == (
        "What is 2 and 3?",
        {"0": "2", "1": "3"},
        "5",
    )
    assert (second.calls[0].tool, second.calls[0].result) == ("log", "2")
    assert [call.tool for call in tests["multi-hop"].examples[0].calls] == ["add", "remainder"]
    assert decided(tests["dev"].examples[0]) == [("7 mod 4=", "remainder")]


def test_broken_arithmetic_is_not_trained_on(funcqa: Path) -> None:
    dataset = read_dataset("funcqa", funcqa)
    (example,) = dataset.train["supervised"]
    assert decided(example) == [("9 mod 5 = ", "remainder")]
    assert sum(dataset.dropped["train.jsonl"].values()) == 3
    assert dataset.dropped["test_one_hop.json"] == {"a call is not written as <tool>(arguments)=result": 1}


def test_arithmetic_that_calls_no_tool_is_not_trained_on(funcqa: Path) -> None:
    train = [published("Q: 9 by 5?\nA: 9 mod 5 = 4.", ("remainder", " 4", 23)), published("Q: 1 by 1?\nA: One.")]
    write_lines(funcqa / "train.jsonl", train)
    dataset = read_dataset("funcqa", funcqa)
    assert [example.question for example in dataset.train["supervised"]] == ["9 by 5?"]
    assert dataset.dropped["train.jsonl"] == {"the record calls no tool": 1}


@pytest.mark.parametrize("name", ["one-hop", "multi-hop"])
def test_the_form_of_a_test_file_tells_which_test_it_is(funcqa: Path, tmp_path: Path, name: str) -> None:
    own = tmp_path / "own.json"
    own.write_bytes((funcqa / f"test_{name.replace('-', '_')}.json").read_bytes())
    assert list(read_dataset("funcqa", funcqa, test_file=own).tests) == [name]


DEMONSTRATION = "Task 1:\nGoal:\nSit\nPlan:\n[FIND] <chair>\n[SIT] <chair>\n[END]\n\nTask 2:\n"


def task(goal: str, plan: list[str], *, demonstration: str = DEMONSTRATION) -> dict[str, Any]:
    """Return a published household task; each offset precedes the white space before its toolken."""
    text = f"{demonstration}I am in ['bedroom'].\nGoal:\n{goal}\nPlan:\n"
    offsets = []
    for i, toolken in enumerate(plan):
        offsets.append(len(text))
        text += ("" if i == 0 else "\n" if toolken.startswith("[") else " ") + toolken
    return {"text": text, "start_str_idx": offsets, "tool_calling": [{"call_tool": toolken} for toolken in plan]}


PLAN = ["[FIND]", "<chair>", "[SIT]", "<chair>", "[END]"]


@pytest.fixture
def virtualhome(tmp_path: Path) -> Path:
    """Write four toolkens and a few plans."""
    ids = {"[FIND]": 0, "[SIT]": 1, "<chair>": 2, "[END]": 3}
    (tmp_path / "tools.json").write_text(json.dumps({"tool_dict": ids, "tool_information": {}}))
    moved = task("Move", PLAN)
    moved["start_str_idx"][1] += 3
    unmarked = task("Hide", PLAN)
    unmarked["start_str_idx"].pop()
    unmarked["tool_calling"].pop()
    train = [task("Rest", PLAN), moved, unmarked, task("sit  down", PLAN), task("Fly", ["[FLY]", "<chair>"])]
    write_lines(tmp_path / "train.jsonl", train)
    write_lines(tmp_path / "dev.jsonl", [task("Sit down", PLAN)])
    return tmp_path


def test_every_toolken_of_a_plan_is_a_call(virtualhome: Path) -> None:
    dataset = read_dataset("virtualhome", virtualhome)
    (example,) = dataset.tests["dev"].examples
    assert example.question == "I am in ['bedroom'].\nGoal:\nSit down\nPlan:"
    assert example.answer == "[FIND] <chair>\n[SIT] <chair>\n[END]"
    assert [tool for _, tool in decided(example)] == PLAN
    assert dataset.preamble == DEMONSTRATION
    assert dataset.preamble + example.question + "\n" + example.answer == task("Sit down", PLAN)["text"]


def test_toolkens_are_described_in_words(virtualhome: Path) -> None:
    specs = {spec.name: spec.description for spec in read_dataset("virtualhome", virtualhome).specs}
    assert list(specs) == ["[FIND]", "[SIT]", "<chair>", "[END]"]
    assert "chair" in specs["<chair>"]
    assert len(set(specs.values())) == 4


def test_plans_with_unmarked_or_unknown_toolkens_are_left_out(virtualhome: Path) -> None:
    dataset = read_dataset("virtualhome", virtualhome)
    assert len(dataset.train["supervised"]) == 1
    assert dataset.dropped["train.jsonl"] == {
        OFFSET: 1,
        "a toolken of the plan is not marked as a call": 1,
        "the question also occurs in the test or dev data": 1,
        "a call names an unknown tool": 1,
    }


def test_demonstrations_that_differ_stay_in_the_questions(virtualhome: Path) -> None:
    write_lines(virtualhome / "dev.jsonl", [task("Sit", PLAN, demonstration="")])
    dataset = read_dataset("virtualhome", virtualhome)
    assert dataset.preamble == ""
    assert dataset.train["supervised"][0].question.startswith(DEMONSTRATION)
    assert dataset.tests["dev"].examples[0].question.startswith("I am in")


def test_test_tasks_are_counted_as_dropped_without_the_simulator(
    virtualhome: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(folder: Path) -> None:
        raise SimulatorMissingError("Install it.")

    monkeypatch.setattr("toolken.tools.household.read_tasks", missing)
    write_lines(virtualhome / "test50.jsonl", [{"id": "a"}, {"id": "b"}])
    dataset = read_dataset("virtualhome", virtualhome)
    assert list(dataset.tests) == ["dev"]
    line = "virtualhome/test50.jsonl: 2 of 2 records dropped: the household simulator is not installed"
    assert line in dataset.report()


def broken(read: Path, name: str, content: str) -> Dataset:
    """Overwrite one file of a set and read the set."""
    (read / name).write_text(content)
    return read_dataset("virtualhome", read)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tools.json", '{"tool_dict": {"<chair>": "first"}}', "has no tool_dict of toolkens"),
        ("tools.json", '{"tool_dict": {"chair": 0}}', "does not list toolkens such as"),
        ("train.jsonl", '{"text": "Sit down."}', "train.jsonl, line 1 is not a record of virtualhome"),
        ("dev.jsonl", '{"text": "Plan:\\n[SIT]"}', "dev.jsonl, line 1 is not a record of virtualhome"),
        ("dev.jsonl", "null", "dev.jsonl, line 1 is not a JSON object"),
    ],
)
def test_a_broken_household_file_is_named(virtualhome: Path, name: str, content: str, message: str) -> None:
    with pytest.raises(DataFormatError) as caught:
        broken(virtualhome, name, content)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "line",
    ['{"question": "Why?"}', '{"question": 3, "answer": "2"}', '{"question": "Why?", "answer": "2", "calls": [{}]}'],
)
def test_a_broken_word_problem_is_named(gsm8k_xl: Path, line: str) -> None:
    (gsm8k_xl / "train.jsonl").write_text(f"\n{line}\n")
    with pytest.raises(DataFormatError, match=r"train.jsonl, line 2 is not a record of gsm8k-xl"):
        read_dataset("gsm8k-xl", gsm8k_xl)
