"""The baselines parse and run the calls they write, and a batch writes the same texts as single runs."""

from collections.abc import Sequence
from typing import Any

import pytest

from toolken import Call, Example, FrozenLM
from toolken.agents.tool_runner import ToolRunner
from toolken.benchmarks.end_to_end.arithmetic import read_operands
from toolken.benchmarks.end_to_end.solved_examples import solved
from toolken.benchmarks.end_to_end.trials import Question
from toolken.benchmarks.methods import prompting as baselines
from toolken.benchmarks.methods.generation import Continuations
from toolken.benchmarks.methods.prompting import MAX_CALLS, Dialogue, dialogue_answerer
from toolken.tools.calculator import calculator_tools


@pytest.fixture(scope="module")
def runner() -> ToolRunner:
    tools = calculator_tools("operations")
    return ToolRunner({tool.name: tool for tool in tools}, timeout=None, retries=0)


SOLVED = solved(
    Example(
        question="Ann has 2 pens and 3 pencils. How many is that?",
        answer="She has 2 + 3 = 5 things.\n#### 5",
        calls=(Call(tool="add", args={"0": "2", "1": "3"}, result="5", start=16),),
    ),
    "5",
)


def test_demonstrations_are_written_as_each_baseline_needs_them() -> None:
    assert "= <add>(2, 3)=5 things." in SOLVED.inline
    assert "= 5 things." in SOLVED.plain
    assert "Action: add(2, 3)\nObservation: 5\n" in SOLVED.steps
    assert SOLVED.steps.endswith("Answer: 5")
    assert "The answer is 5." in baselines.chain_of_thought([SOLVED], max_tokens=8).beginning


@pytest.mark.parametrize(
    ("dialogue", "text"),
    [
        (baselines.in_context("", [SOLVED], max_tokens=8), " He has 40 + 2 = <add>(40, 2"),
        (baselines.react("", [SOLVED], max_tokens=8), " I need the sum.\nAction: add(40, 2)"),
    ],
)
def test_a_written_call_is_made_and_its_result_written_in(
    runner: ToolRunner, dialogue: baselines.Dialogue, text: str
) -> None:
    unfinished = baselines._UnfinishedAnswer()
    baselines._extend(unfinished, text, dialogue.call_stop, dialogue, runner, read_operands)
    assert not unfinished.done
    assert "42" in unfinished.text[len(text) :]
    assert unfinished.pieces[-1].tool == "add"
    assert unfinished.pieces[-1].result == "42"


def test_unknown_tools_and_bad_operands_fail_in_words(runner: ToolRunner) -> None:
    for tool, operands in (("teleport", "1"), ("power", "1, 2, 3"), ("divide", "1, 0")):
        piece = baselines._run(tool, operands, runner, read_operands)
        assert piece.failed
        assert piece.result


def test_words_that_are_no_call_end_the_answer(runner: ToolRunner) -> None:
    dialogue = baselines.in_context("", [], max_tokens=8)
    unfinished = baselines._UnfinishedAnswer()
    baselines._extend(unfinished, "no call here", dialogue.call_stop, dialogue, runner, read_operands)
    assert unfinished.done


@pytest.mark.parametrize(
    ("text", "answer"),
    [("So 2 + 2. The answer is 4.", "4"), ("It is 7.\n#### 7", "7"), ("first\nlast line", "last line"), ("", "")],
)
def test_the_final_answer_is_found(text: str, answer: str) -> None:
    assert baselines.final_answer(text) == answer


def test_a_batch_writes_what_single_texts_would(tiny_lm: FrozenLM) -> None:
    texts = ["What is the sum of 12 and 30?", "Where is Paris?", "The weather is"]
    together = Continuations(tiny_lm, "Question: ").write(texts, stop=("e",), max_tokens=12)
    alone = [Continuations(tiny_lm).write([f"Question: {text}"], stop=("e",), max_tokens=12)[0] for text in texts]
    assert together == alone
    assert all("e" not in text for text, _ in together)


def test_a_chat_template_with_tools_is_recognised(tiny_lm: FrozenLM) -> None:
    assert not baselines.has_tool_template(tiny_lm)


def test_an_answer_that_fills_the_context_ends_and_the_others_go_on(
    build_lm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm: FrozenLM = build_lm(context=256)
    texts: list[str] = []

    def write(_: Continuations, given: Sequence[str], **__: Any) -> list[tuple[str, str | None]]:
        texts.extend(given)
        return [("add(1, 2", ")=") if "long" in text else ("Done.", None) for text in given]

    monkeypatch.setattr(Continuations, "write", write)
    dialogue = Dialogue(
        "",
        str,
        ("\n",),
        str,
        8,
        call_stop=")=",
        parse_call=lambda _: ("add", "1, 2"),
        render_result=lambda text: "word " * 40 + text,
    )
    long, short = dialogue_answerer(lm, dialogue)([Question(0, "long", "3"), Question(1, "short", "3")])
    assert 1 <= len(long.calls) < MAX_CALLS
    assert short.answer == "Done."
    assert all(len(lm.encode(text).ids) <= lm.max_length for text in texts)
