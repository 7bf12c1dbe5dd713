"""The form of a folder is recognised; distractors keep the right tools; dev and test do not share conversations."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage

from toolken.benchmarks.function_calling.call_sets import (
    CallSet,
    dev_and_test,
    read_call_set,
    takes_distractors,
    with_distractors,
)
from toolken.benchmarks.function_calling.record import CallRecord, ExpectedCall
from toolken.errors import DataFormatError
from toolken.training.tool_spec import ToolSpec, check_descriptions, tool_specs

FUNCTION = {"name": "book", "description": "Books.", "parameters": {"type": "dict", "properties": {}}}


def write(file: Path, *lines: Any) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with a small set in each form."""
    question = [[{"role": "user", "content": "user: book"}]]
    write(tmp_path / "mine" / "x.jsonl", {"id": "1", "question": question, "function": [FUNCTION]})
    write(tmp_path / "mine" / "x_answers.jsonl", {"id": "1", "ground_truth": [{"book": {}}]})
    write(tmp_path / "bfcl" / "irrelevance.jsonl", {"id": "1", "question": question, "function": [FUNCTION]})
    write(tmp_path / "acebench" / "normal_x.jsonl", {"id": "1", "question": "user: book", "function": [FUNCTION]})
    write(tmp_path / "acebench" / "normal_x_answers.jsonl", {"id": "1", "ground_truth": {"book": {}}})
    tool = {"api_name": "book", "api_description": "Books.", "parameters": {}, "required": []}
    write(tmp_path / "seal-tools" / "tool.jsonl", tool)
    call = {"api": "book", "parameters": {}}
    write(tmp_path / "seal-tools" / "dev.jsonl", {"id": "1", "query": "book", "calling": [call]})
    lines = ({"domain": "d"}, {"tool": FUNCTION | {"parameters": {}}}, {"request": "hi", "calls": [], "kind": "thanks"})
    write(tmp_path / "own" / "d.jsonl", *lines)
    write(tmp_path / "odd" / "x.jsonl", {"text": "no form"})
    return tmp_path


@pytest.mark.parametrize(
    ("name", "category"),
    [
        *(("bfcl", "irrelevance"), ("mine", "x"), ("acebench", "x")),
        *(("seal-tools", "single"), ("own", "thanks"), ("own/d.jsonl", "thanks")),
    ],
)
def test_the_form_of_a_folder_is_recognised(data: Path, name: str, category: str) -> None:
    inside = read_call_set(name, data)
    given = read_call_set(data / name)
    assert list(inside.records) == list(given.records) == [category]
    assert inside.name == given.name == Path(name).stem


def test_the_folder_of_a_published_set_may_be_named_itself(data: Path) -> None:
    (data / "seal-tools").rename(data / "seal.v1")
    assert read_call_set("seal-tools", data / "seal.v1").name == "seal-tools"
    assert read_call_set("seal.v1", data).name == "seal.v1"
    with pytest.raises(DataFormatError, match="There is no"):
        read_call_set("bfcl", data / "seal.v1")


@pytest.mark.parametrize(
    ("name", "folder", "message"),
    [
        ("bfcl", None, "needs the folder that has it: give --data"),
        ("bfcl", "own", "There is no '.*own/bfcl': give one of"),
        ("nothing", None, "There is no 'nothing': give one of bfcl"),
        ("nothing", "own", "There is no 'nothing' and '.*own/nothing'"),
        ("odd", ".", "has none of the known forms: give a folder with X.jsonl"),
    ],
)
def test_what_is_no_set_is_refused(data: Path, name: str, folder: str | None, message: str) -> None:
    with pytest.raises(DataFormatError, match=message):
        read_call_set(name, data / folder if folder else None)


def spec(name: str, description: str = "") -> ToolSpec:
    return ToolSpec(name=name, description=description or f"Does {name}.")


def record(identifier: str = "1", *texts: str, category: str = "c", **fields: Any) -> CallRecord:
    messages = [(HumanMessage, AIMessage)[place % 2](text) for place, text in enumerate(texts or [identifier])]
    tools = fields.pop("tools", (spec("find_area"),))
    return CallRecord(identifier, category, tuple(messages), tools, **fields)


POOL = [
    *(spec(f"tool_{number}") for number in range(20)),
    *(spec("find_area"), spec("findArea", "Something."), spec("area.find", "Anything.")),
    *(spec("tool_3", "Another tool_3."), spec("twin", "Does tool_4."), spec("tool_5", "Does tool_6.")),
]


@given(st.integers(1, 30), st.integers(0, 3), st.permutations(POOL))
def test_distractors_fill_up_without_clashes(n: int, seed: int, pool: list[ToolSpec]) -> None:
    found = with_distractors(record(), pool, n, seed)
    # Twenty tools, one of them under two names, one tool of a name that is taken, and the record's own.
    assert len(found.tools) == min(n, 22)
    assert spec("find_area") in found.tools
    assert not {"findArea", "area.find"} & {tool.name for tool in found.tools}
    check_descriptions(tool_specs(found.tools))
    assert found.tools == with_distractors(record(), pool, n, seed).tools
    assert set(names(found)) >= set(names(with_distractors(record(), pool, max(n - 1, 1), seed)))


def names(found: CallRecord) -> list[str]:
    return [tool.name for tool in found.tools]


def test_clashing_names_get_a_number_only_where_no_other_tool_is_left() -> None:
    assert "tool_3_2" not in names(with_distractors(record(), POOL, 21))
    full = with_distractors(record(), POOL, 30)
    assert {"tool_3", "tool_3_2"} <= set(names(full))
    numbered = next(tool for tool in full.tools if tool.name == "tool_3_2")
    assert numbered.digest not in {tool.digest for tool in POOL}


def test_a_clashing_name_is_left_out_if_its_description_came_later() -> None:
    pool = [spec("a"), spec("a", "Does b."), spec("b")]
    for seed in range(20):
        found = with_distractors(record(), pool, 9, seed).tools
        assert len({tool.description for tool in found}) == len(found) == 3


def test_the_order_and_the_choice_depend_on_record_and_seed() -> None:
    first = names(with_distractors(record("1"), POOL, 12))
    assert first != names(with_distractors(record("2"), POOL, 12))
    assert first != names(with_distractors(record("1"), POOL, 12, seed=1))
    places = {names(with_distractors(record(str(number)), POOL, 5)).index("find_area") for number in range(40)}
    assert places == {0, 1, 2, 3, 4}


def test_a_record_keeps_more_tools_than_asked_for() -> None:
    tools = (spec("a"), spec("b"), spec("c"))
    assert sorted(names(with_distractors(record(tools=tools), POOL, 1))) == ["a", "b", "c"]


def test_requests_that_no_tool_fits_take_no_distractors() -> None:
    assert takes_distractors(record(expected=(ExpectedCall("find_area", {}),)))
    assert takes_distractors(record(category="negated"))
    assert takes_distractors(record(category="live_irrelevance", missing={"find_area": ("a",)}))
    assert not takes_distractors(record(category="live_irrelevance"))
    assert not takes_distractors(record(category="irrelevant"))
    assert not takes_distractors(record(category="no_tool"))


def test_half_of_the_requests_are_dev_and_copies_stay_together() -> None:
    records = [record(f"{number}-{copy}", f"Request  {number}") for number in range(200) for copy in "ab"]
    longer = [record(f"{number}-c", f"request {number}", "What?", "That.") for number in range(200)]
    found = CallSet("s", {"c": (*records, *longer)}, ())
    dev, test = dev_and_test(found)
    assert len(dev) + len(test) == 600
    assert 220 < len(dev) < 380
    assert not {one.id.split("-")[0] for one in dev} & {one.id.split("-")[0] for one in test}
    assert (dev, test) == dev_and_test(found)


def test_domains_are_split_as_their_files_say() -> None:
    domains = [record(f"{domain}{number}", domain=domain) for domain in ("a", "b", "c", "d") for number in range(5)]
    dev, test = dev_and_test(CallSet("s", {"c": tuple(domains)}, (), splits={"a": "train", "b": "dev", "c": "test"}))
    assert {"a", "b"} <= {one.domain for one in dev} <= {"a", "b", "d"}
    assert {"c"} <= {one.domain for one in test} <= {"c", "d"}
