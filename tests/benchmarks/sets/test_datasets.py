"""Selection sets are read from any folder in their formats; unusable records are skipped and counted."""

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from toolken import Call, Example, ToolSpec
from toolken.benchmarks.sets.dataset import Dataset, Evaluation, leave_out
from toolken.benchmarks.sets.registry import folder_of, read_dataset
from toolken.errors import DataFormatError


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file."""
    path.write_text(json.dumps(content), encoding="utf-8")


def write_lines(path: Path, records: Iterable[Any]) -> None:
    """Write a JSON lines file."""
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


def write_tools(folder: Path, descriptions: dict[str, str]) -> None:
    """Write tools.json with ids in the order given and entries in reverse order."""
    ids = {f"<{name}>": i for i, name in enumerate(descriptions)}
    information = {f"<{name}>": {"tool_description": text} for name, text in descriptions.items()}
    write_json(folder / "tools.json", {"tool_dict": dict(reversed(list(ids.items()))), "tool_information": information})


def record(text: str, result: str, tool: str, *, start: int | None = None) -> dict[str, Any]:
    """Return a record of the training form; as published, the offset precedes the space before the result."""
    offset = text.rindex(result) if start is None else start
    return {
        "text": text,
        "start_str_idx": [offset - (start is None)],
        "tool_calling": [{"call_tool": f"<{tool}>", "call_param": ["x"], "return": [result]}],
    }


def supervised(question: str, result: str, tool: str) -> dict[str, Any]:
    """Return a record of KAMEL's supervised files."""
    return record(f"Question: {question}\nAnswer: The answer is {result}", result, tool)


@pytest.fixture
def kamel(tmp_path: Path) -> Path:
    """Write KAMEL with three relations, two tests and both kinds of training data."""
    write_tools(tmp_path, {"P17": "country(x): gets the country", "P170": "maker(x): gets the maker", "P6": "head(x)"})
    asked = [
        {"question": "Where is Bergen?", "answer": [{"chosen": "Norway"}], "api": "P17"},
        {"question": "Who made this vase?", "answer": [], "api": "P170"},
    ]
    write_json(tmp_path / "test_first_2.json", asked)
    write_json(tmp_path / "test_first_3.json", [*asked, {"question": "Who leads Norway?", "api": "P6"}])
    write_lines(
        tmp_path / "supervised_train.jsonl",
        [
            supervised("Where is Oslo?", "Norway", "P17"),
            supervised("where  is Bergen?", "Norway", "P17"),
            supervised("Who made that lamp?", "Aalto", "P170"),
            supervised("Where is Lund?", "Sweden", "P17"),
            supervised("Who leads Sweden?", "a minister", "P999"),
        ],
    )
    write_lines(tmp_path / "supervised_dev.jsonl", [supervised("Where is Lund?", "Sweden", "P17")])
    write_lines(
        tmp_path / "synthetic_train.jsonl",
        [
            record("I like fjords. Where is Voss? It is in Norway, I think.", "Norway", "P17"),
            record("The head of Peru is Dina, they say.", "Dina", "P6"),
            record("Is this chair or that chair Danish? That chair.", "chair", "P170", start=8),
            record("Oslo is in Norway.", "Norway", "P17", start=2),
            record("Oslo is in Norway.", "Norway", "P17", start=-1),
            record("Ask a German in Germany? He says Germany.", "German", "P17", start=16),
        ],
    )
    return tmp_path


def questions(examples: Iterable[Example]) -> list[str]:
    """Return the questions."""
    return [example.question for example in examples]


def test_kamel_has_a_test_for_each_number_of_tools(kamel: Path) -> None:
    dataset = read_dataset("kamel", kamel)
    assert [spec.name for spec in dataset.specs] == ["P17", "P170", "P6"]
    assert list(dataset.tests) == ["2", "3"]
    assert [spec.name for spec in dataset.tests["2"].specs] == ["P17", "P170"]
    first, second = dataset.tests["2"].examples
    assert (first.question, first.calls[0].tool, first.calls[0].result) == ("Where is Bergen?", "P17", "Norway")
    assert second.calls == (Call(tool="P170"),)


def test_questions_of_test_and_dev_are_not_trained_on_and_the_rest_is_counted(kamel: Path) -> None:
    dataset = read_dataset("kamel", kamel)
    assert questions(dataset.train["supervised"]) == ["Where is Oslo?", "Who made that lamp?"]
    assert questions(dataset.dev["supervised"]) == ["Where is Lund?"]
    assert dataset.train["supervised"][0].answer == "The answer is Norway"
    assert dataset.read["supervised_train.jsonl"] == 2
    assert sorted(dataset.dropped["supervised_train.jsonl"].values()) == [1, 2]
    lines = dataset.report()
    assert (
        "kamel/supervised_train.jsonl: 2 of 5 records dropped: the question also occurs in the test or dev data"
        in lines
    )
    assert "kamel/synthetic_dev.jsonl: missing" in lines


def test_the_synthetic_set_comes_as_questions_and_in_full(kamel: Path) -> None:
    dataset = read_dataset("kamel", kamel)
    cut, full = dataset.train["synthetic"], dataset.train["synthetic-text"]
    assert questions(cut) == ["I like fjords. Where is Voss?", "Is this chair or that chair Danish?"]
    assert [example.calls[0].tool for example in cut] == ["P17", "P170"]
    assert all(example.answer is None for example in cut)
    assert full[0].answer == "I like fjords. Where is Voss? It is in Norway, I think."
    assert (full[0].question, full[0].calls[0].start) == ("", 39)
    assert full[1].answer == "The head of Peru is Dina, they say."
    assert dataset.dropped["synthetic_train.jsonl, cut to questions"]["the text contains no question"] == 1


def test_a_synthetic_text_around_a_question_of_the_test_is_not_trained_on(kamel: Path) -> None:
    write_lines(
        kamel / "synthetic_train.jsonl",
        [
            record("Where is Bergen? In Norway.", "Norway", "P17"),
            record("Where is Hamar? In Norway.", "Norway", "P17"),
        ],
    )
    train = read_dataset("kamel", kamel).train
    assert questions(train["synthetic"]) == ["Where is Hamar?"]
    assert [example.answer for example in train["synthetic-text"]] == ["Where is Hamar? In Norway."]


def test_broken_offsets_are_left_out_and_told_from_words_cut_short(kamel: Path) -> None:
    dropped = read_dataset("kamel", kamel).dropped["synthetic_train.jsonl"]
    assert dropped == {
        "an offset does not point at the result": 2,
        "an offset points into a longer word or number": 1,
    }


def test_questions_that_call_no_tool_are_left_out_and_counted(kamel: Path, tmp_path: Path) -> None:
    uncalled = {"text": "Question: Who are you?\nAnswer: The answer is me", "start_str_idx": [], "tool_calling": []}
    write_lines(kamel / "supervised_train.jsonl", [supervised("Where is Oslo?", "Norway", "P17"), uncalled])
    statement = {"text": "Who are you? I am me.", "start_str_idx": [], "tool_calling": []}
    write_lines(kamel / "synthetic_train.jsonl", [record("Where is Voss? In Norway.", "Norway", "P17"), statement])
    dataset = read_dataset("kamel", kamel)
    assert questions(dataset.train["supervised"]) == ["Where is Oslo?"]
    assert dataset.dropped["supervised_train.jsonl"] == {"the record calls no tool": 1}
    assert questions(dataset.train["synthetic"]) == ["Where is Voss?"]
    assert dataset.dropped["synthetic_train.jsonl, cut to questions"] == {"the record calls no tool": 1}
    assert [len(example.calls) for example in dataset.train["synthetic-text"]] == [1, 0]


def test_a_question_of_a_knowledge_base_that_calls_no_tool_is_left_out_and_counted(tmp_path: Path) -> None:
    write_tools(tmp_path, {"film/film/genre": "gets a genre"})
    uncalled = {"text": "Who are you?", "start_str_idx": [], "tool_calling": []}
    write_lines(tmp_path / "dev.jsonl", [record("What is Fjols? Comedy", "Comedy", "film/film/genre"), uncalled])
    dataset = read_dataset("stq", tmp_path)
    assert questions(dataset.tests["dev"].examples) == ["What is Fjols?"]
    assert dataset.dropped["dev.jsonl"] == {"the record calls no tool": 1}


def test_a_file_of_ones_own_replaces_the_tests(kamel: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.jsonl"
    write_lines(own, [supervised("Where is Oslo?", "Norway", "P17"), supervised("Who knows?", "me", "P5")])
    dataset = read_dataset("kamel", kamel, test_file=own)
    assert list(dataset.tests) == ["3"]
    assert questions(dataset.tests["3"].examples) == ["Where is Oslo?"]
    assert "Where is Oslo?" not in questions(dataset.train["supervised"])
    assert f"{own}: 1 of 2 records dropped: a call names an unknown tool" in dataset.report()
    few = tmp_path / "other" / "test_first_2.json"
    few.parent.mkdir()
    write_json(few, [{"question": "Where is Rome?", "api": "P17"}, {"question": "Who leads Italy?", "api": "P6"}])
    assert list(read_dataset("kamel", kamel, test_file=few).tests) == ["2"]


def test_questions_of_a_knowledge_base_stand_in_front_of_the_result(tmp_path: Path) -> None:
    write_tools(tmp_path, {"people/person/born": "gets where a person was born", "film/film/genre": "gets a genre"})
    write_lines(tmp_path / "dev.jsonl", [record("Where was Ibsen born? Skien", "Skien", "people/person/born")])
    train = [
        record("Where was Undset born? Kalundborg", "Kalundborg", "people/person/born"),
        record("where was Ibsen born?  Skien", "Skien", "people/person/born"),
        record("What sort of film is Fjols? Comedy", "Comedy", "film/film/genre"),
    ]
    write_lines(tmp_path / "train.jsonl", train)
    dataset = read_dataset("stq", tmp_path)
    assert questions(dataset.tests["dev"].examples) == ["Where was Ibsen born?"]
    assert questions(dataset.train["supervised"]) == ["Where was Undset born?", "What sort of film is Fjols?"]
    assert dataset.train["supervised"][1].calls[0].tool == "film/film/genre"
    assert dataset.dev == {}


def metatool_folder(folder: Path, rows: list[tuple[str, str]]) -> Path:
    """Write a folder with three plugins and these requests."""
    write_json(folder / "plugin_des.json", {"maps": "Draw maps.", "jobs": "Find work.", "news": "Tell the news."})
    with (folder / "all_clean_data.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("Query", "Tool"), *rows])
    write_json(folder / "multi_tool_query_golden.json", [{"query": "Map the news", "tool": ["maps", "news"]}])
    return folder


def test_requests_are_split_the_same_way_in_whatever_order_they_stand(tmp_path: Path) -> None:
    rows = [(f'{what} "{i}", please', tool) for i in range(20) for what, tool in (("Draw", "maps"), ("Find", "jobs"))]
    (tmp_path / "there").mkdir()
    (tmp_path / "back").mkdir()
    there = read_dataset("metatool", metatool_folder(tmp_path / "there", rows))
    back = read_dataset("metatool", metatool_folder(tmp_path / "back", rows[::-1]))
    parts = [there.train["supervised"], there.dev["supervised"], there.tests["test"].examples]
    for part, share in zip(parts, (12, 4, 4), strict=True):
        for tool in ("maps", "jobs"):
            assert sum(example.calls[0].tool == tool for example in part) == share
    assert len({question for part in parts for question in questions(part)}) == 40
    assert sorted(questions(back.tests["test"].examples)) == sorted(questions(parts[2]))
    assert sorted(questions(back.train["supervised"])) == sorted(questions(parts[0]))


def test_requests_that_stand_twice_count_once_and_those_under_two_tools_not_at_all(tmp_path: Path) -> None:
    rows = [("Draw it", "maps"), ("draw  it", "maps"), ("Help me", "jobs"), ("Help me", "news"), ("Sing", "songs")]
    dataset = read_dataset("metatool", metatool_folder(tmp_path, rows))
    found = [dataset.train.get("supervised", []), dataset.dev.get("supervised", []), dataset.tests["test"].examples]
    assert [question for part in found for question in questions(part)] == ["Draw it"]
    assert dataset.dropped["all_clean_data.csv"] == {
        "a call names an unknown tool": 1,
        "the request occurs under several tools": 2,
        "the request is a duplicate": 1,
    }


def test_requests_for_two_tools_are_read_with_both(tmp_path: Path) -> None:
    dataset = read_dataset("metatool", metatool_folder(tmp_path, [("Draw it", "maps"), ("Draw that", "maps")]))
    (example,) = dataset.tests["multi-tool"].examples
    assert [call.tool for call in example.calls] == ["maps", "news"]


def test_requests_of_ones_own_replace_the_test_and_are_not_trained_on(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    folder = metatool_folder(tmp_path / "set", [(f"Draw {i}", "maps") for i in range(10)])
    own = tmp_path / "own.csv"
    own.write_text("Query,Tool\nDraw 3,maps\nFind work,jobs\n")
    dataset = read_dataset("metatool", folder, test_file=own)
    assert list(dataset.tests) == ["test"]
    assert questions(dataset.tests["test"].examples) == ["Draw 3", "Find work"]
    assert "Draw 3" not in questions([*dataset.train["supervised"], *dataset.dev["supervised"]])
    pairs = read_dataset("metatool", folder, test_file=folder / "multi_tool_query_golden.json")
    assert list(pairs.tests) == ["multi-tool"]


@pytest.mark.parametrize(("line", "content"), [(1, "Request,Tool\n"), (2, "Query,Tool\nDraw it,maps,3\n")])
def test_a_broken_line_of_requests_is_named(tmp_path: Path, line: int, content: str) -> None:
    folder = metatool_folder(tmp_path, [])
    (folder / "all_clean_data.csv").write_text(content)
    with pytest.raises(DataFormatError, match=rf"all_clean_data.csv, line {line} "):
        read_dataset("metatool", folder)


def seen_and_unseen() -> Dataset:
    """Return a data set of six tools with two questions per tool."""
    names = [f"tool{i}" for i in range(6)]
    asked = [
        Example(question=f"{word} {name}?", calls=(Call(tool=name),)) for name in names for word in ("Why", "When")
    ]
    specs = [ToolSpec(name=name, description=f"Tells of {name}.") for name in names]
    trained = [Example(question=f"Where is {name}?", calls=(Call(tool=name),)) for name in names]
    return Dataset(name="x", specs=specs, train={"supervised": trained}, tests={"dev": Evaluation(specs, asked)})


def test_tools_left_out_are_asked_for_and_never_trained_on() -> None:
    dataset = seen_and_unseen()
    rest = leave_out(dataset, 2)
    out = {spec.name for spec in rest.tests["left-out"].specs}
    assert len(out) == 2
    assert {example.calls[0].tool for example in rest.tests["left-out"].examples} == out
    assert len(rest.tests["left-out"].examples) == 4
    assert {example.calls[0].tool for example in rest.train["supervised"]} == {f"tool{i}" for i in range(6)} - out
    assert {example.calls[0].tool for example in rest.dev["supervised"]} == {spec.name for spec in rest.specs}
    assert not out & {spec.name for spec in rest.specs}


def test_the_same_seed_leaves_out_the_same_tools() -> None:
    dataset = seen_and_unseen()
    assert leave_out(dataset, 2, seed=3) == leave_out(dataset, 2, seed=3)
    drawn = {tuple(spec.name for spec in leave_out(dataset, 2, seed=seed).specs) for seed in range(8)}
    assert len(drawn) > 1


@pytest.mark.parametrize("count", [0, 6, 299])
def test_more_tools_than_there_are_cannot_be_left_out(count: int) -> None:
    with pytest.raises(DataFormatError, match=rf"^{count} tools cannot be left out of 6"):
        leave_out(seen_and_unseen(), count)


@pytest.mark.parametrize("name", ["kamel", "stq", "metatool", "gsm8k-xl", "funcqa", "virtualhome"])
def test_a_folder_without_the_files_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataFormatError, match=str(tmp_path)):
        read_dataset(name, tmp_path)
    with pytest.raises(DataFormatError, match="There is no folder"):
        read_dataset(name, tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["kamel", "stq", "gsm8k-xl", "funcqa"])
def test_tools_without_a_test_are_no_data_set(tmp_path: Path, name: str) -> None:
    write_tools(tmp_path, {"add": "Add numbers."})
    with pytest.raises(DataFormatError, match=r"has none of '.*': give the folder with the .* data as --data"):
        read_dataset(name, tmp_path)


def test_an_unknown_data_set_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(DataFormatError, match="'squad': choose one of kamel, stq, metatool"):
        read_dataset("squad", tmp_path)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("tools.json", "{", "tools.json' is not JSON"),
        ("tools.json", "[]", "tools.json' has no tool_dict and tool_information"),
        ("tools.json", '{"tool_dict": {}, "tool_information": {}}', "tools.json' has no tool:"),
        ("test_first_2.json", "[]", "test_first_2.json' has no usable record"),
        ("test_first_2.json", '[{"question": "Where?"}]', "test_first_2.json, record 1 is not a record of kamel"),
        ("test_first_2.json", '[{"question": "Where?", "api": "P9"}]', "1 x a call names an unknown tool"),
        ("supervised_train.jsonl", "", "supervised_train.jsonl' has no usable record"),
        ("supervised_train.jsonl", "{}\n{", "supervised_train.jsonl, line 1 is not a record of kamel"),
        ("supervised_train.jsonl", '\n{"text": ', "supervised_train.jsonl, line 2 is not JSON"),
        ("supervised_train.jsonl", "3\n", "supervised_train.jsonl, line 1 is not a JSON object"),
        ("supervised_dev.jsonl", '{"question": "Where?", "calls": []}', "supervised_dev.jsonl, line 1 is not a record"),
        ("synthetic_train.jsonl", b"\xff\xfe", "synthetic_train.jsonl' is not text in UTF-8"),
    ],
)
def test_a_broken_file_is_named_in_one_sentence(kamel: Path, file: str, content: str | bytes, message: str) -> None:
    (kamel / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataFormatError) as caught:
        read_dataset("kamel", kamel)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_of_folders_serves_each_set(tmp_path: Path) -> None:
    (tmp_path / "simpletoolquestions").mkdir()
    assert folder_of("stq", tmp_path) == tmp_path / "simpletoolquestions"
    assert folder_of("kamel", tmp_path) == tmp_path
