"""`toolken bench function-calling`: bad input is one sentence before any work, and a run is resumed and shown."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from toolken import cli
from toolken.training.lm import FrozenLM

Run = Callable[..., tuple[int, str, str]]

TEMPLATE = (
    "{% for tool in tools or [] %}[{{ tool.function.name }}]{% endfor %}"
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}"
    "{% for c in m.tool_calls or [] %}<tool_call>"
    '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}</tool_call>{% endfor %}'
    "{% endfor %}<assistant>"
)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run the command in this process; return exit code, standard output and standard error on one line."""
    monkeypatch.setenv("TOOLKEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["toolken", *map(str, arguments)])
        try:
            cli.main()
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, " ".join(captured.err.split())

    return call


@pytest.fixture
def no_lm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the test fail if an LM is loaded."""

    def load(*_: object, **__: object) -> FrozenLM:
        raise AssertionError("the LM was loaded before the input was checked")

    monkeypatch.setattr(FrozenLM, "from_pretrained", load)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small set in BFCL's form."""
    found = tmp_path / "mine"
    found.mkdir()
    city = {"type": "dict", "properties": {"city": {"type": "string", "maxLength": 8}}, "required": ["city"]}
    function = {"name": "weather", "description": "Weather of a city.", "parameters": city}
    asked = [{"role": "user", "content": "How is Oslo?"}]
    write(found / "simple.jsonl", *({"id": f"s{at}", "question": [asked], "function": [function]} for at in range(2)))
    answers = ({"id": f"s{at}", "ground_truth": [{"weather": {"city": ["Oslo"]}}]} for at in range(2))
    write(found / "simple_answers.jsonl", *answers)
    return found


def write(file: Path, *lines: Any) -> None:
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.mark.usefixtures("no_lm")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "nothing"], "There is no 'nothing': give one of bfcl"),
        (["--set", "bfcl"], "The set 'bfcl' needs the folder that has it: give --data."),
        (["--set", "MINE", "--split", "train"], "There is no split 'train': use test or dev."),
        (["--set", "ODD"], "has none of the known forms"),
        (["--set", "BROKEN"], "broken/simple.jsonl, line 2"),
        (["--set", "MINE", "--json", "no/such/folder/rows.json"], "no/such/folder"),
    ],
)
def test_bad_input_is_one_sentence_before_any_work(run: Run, folder: Path, arguments: list[str], message: str) -> None:
    odd, broken = folder.with_name("odd"), folder.with_name("broken")
    for other in (odd, broken):
        other.mkdir()
    write(odd / "x.jsonl", {"text": "no form"})
    for file in folder.iterdir():
        (broken / file.name).write_text(file.read_text())
    lines = (broken / "simple.jsonl").read_text().splitlines()
    (broken / "simple.jsonl").write_text(f"{lines[0]}\n{lines[1][:-9]}\n")
    places = {"MINE": folder, "ODD": odd, "BROKEN": broken}
    code, out, err = run("bench", "function-calling", *(places.get(one, one) for one in arguments))
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err


@pytest.fixture
def tiny(build_lm: Any, monkeypatch: pytest.MonkeyPatch) -> FrozenLM:
    """A tiny LM with a chat template, which the command loads."""
    from copy import copy

    lm: FrozenLM = copy(build_lm(context=2048))
    lm.tokenizer = copy(lm.tokenizer)
    lm.tokenizer.chat_template = TEMPLATE
    monkeypatch.setattr(FrozenLM, "from_pretrained", lambda *_, **__: lm)
    monkeypatch.setattr("toolken.benchmarks.function_calling.methods.MAX_TOKENS", 8)
    return lm


def test_an_lm_without_a_tool_template_has_no_native_method(run: Run, folder: Path, tiny: FrozenLM) -> None:
    tiny.tokenizer.chat_template = None
    code, _, err = run("bench", "function-calling", "--set", folder, "--split", "dev", "--method", "native")
    found = run("bench", "function-calling", "--set", folder, "--method", "native")
    assert 2 in (code, found[0])
    assert "whose chat template takes no tools: choose among toolken, toolken-k, few-shot" in err + found[2]


def test_a_run_prints_an_estimate_and_is_resumed_and_shown(
    run: Run, folder: Path, tiny: FrozenLM, tmp_path: Path
) -> None:
    from toolken.benchmarks.function_calling.call_sets import dev_and_test, read_call_set

    split = "dev" if dev_and_test(read_call_set(folder))[0] else "test"
    rows, traces = tmp_path / "rows.json", tmp_path / "traces"
    options = ("--set", folder, "--split", split, "--method", "native", "--json", rows, "--traces", traces)
    code, out, err = run("bench", "function-calling", *options, "--limit", "1")
    assert code == 0, err
    assert "1 trials, 1 attempts: about" in err
    assert f"The traces are in {traces}" in err
    assert "exact calls" in out
    assert {row["metric"] for row in json.loads(rows.read_text())} >= {"exact", "over_declined", "median seconds"}
    (file,) = traces.glob("*.jsonl")
    assert len(file.read_text().splitlines()) == 1
    code, _, err = run("bench", "function-calling", *options)
    assert (code, "1 trials, 1 attempts" in err) == (0, True)  # the other record
    code, _, err = run("bench", "function-calling", *options)
    assert (code, "attempts" in err) == (0, False)
    code, out, err = run("trace", file, "--question", "0")
    assert code == 0, err
    assert "How is Oslo?" in out
    assert "weather(city='Oslo')" in out
    code, out, err = run("bench", "report", rows)
    assert code == 0, err
    assert "| mine | own | exact calls | 2 |" in out
