"""Arithmetic end to end: equal questions for all methods, the published rules, and the stages of an attempt."""

import pytest
import torch

from toolken import Call, Example, FrozenLM
from toolken.benchmarks.end_to_end.arithmetic import TEXT_THRESHOLDS, Sums, read_operands
from toolken.benchmarks.end_to_end.run import Options
from toolken.benchmarks.end_to_end.sum_examples import calls_alone, in_one_line
from toolken.benchmarks.end_to_end.sum_numbers import last_number, number
from toolken.benchmarks.end_to_end.sum_scores import is_exact, is_right, score, sum_question
from toolken.benchmarks.end_to_end.traces import Attempt, TracePiece
from toolken.training.estimation.gate import best_threshold


@pytest.mark.parametrize(("text", "value"), [("1,200", 1200), ("$3.5", 3.5), ("5%", 5), ("x", None), ("", None)])
def test_numerals_are_read(text: str, value: float | None) -> None:
    assert number(text) == value


def test_the_last_number_is_the_answer() -> None:
    assert last_number("The answer is 24, then 72.") == 72
    assert last_number("It costs $1,250.50.") == 1250.5
    assert last_number("of 3,4 and 1,2") == 2
    assert last_number("It fell to -12 degrees.") == -12
    assert last_number("10-5km") == 5
    assert last_number("1.5e3") == 1500
    assert last_number("none") is None


def test_the_published_rules() -> None:
    assert is_right(2.0141, "2.014", "two decimals")
    assert not is_right(2.03, "2.014", "two decimals")
    assert is_right(1556751.0, "1556750.9", "0.1 %")
    assert is_right(1000.9, "1000", "0.1 %")
    assert not is_right(1002, "1000", "0.1 %")


def test_the_strict_rule_asks_for_all_published_digits() -> None:
    assert is_exact(0.39364, "0.3936")
    assert not is_exact(0.3931, "0.3936")
    assert is_exact(32040.0, "32040.0")
    assert not is_exact(32041.0, "32040.0")


def test_solutions_become_calls_alone_only_where_operands_can_be_copied() -> None:
    calls = (Call(tool="divide", args={"0": "48", "1": "2"}, result="24", start=0),)
    shared = calls_alone(Example(question=" What is 48 shared by 2? ", answer="24", calls=calls))
    assert shared is not None
    assert (shared.question, shared.calls[0].args) == ("What is 48 shared by 2?", {"numbers": [48, 2]})
    # A number in words cannot be copied.
    assert calls_alone(Example(question="What is half of 48?", answer="24", calls=calls)) is None


def test_stages_tell_where_an_attempt_went_wrong() -> None:
    way = Example(question="q", calls=(Call(tool="add", args={"0": "2", "1": "3"}, result="5"),))
    question = sum_question(0, "What is 2 plus 3?", "5", "two decimals", way)

    def scores(tool: str, operands: list[int], answer: str) -> dict[str, float]:
        return score(question, Attempt(pieces=(TracePiece(tool=tool, arguments={"numbers": operands}),), answer=answer))

    right = scores("add", [3, 2], "The answer is 5.")
    assert set(right.values()) == {1.0}
    assert scores("add", [2, 2], "4")["tools"] == 1.0
    assert scores("add", [2, 2], "4")["arguments"] == 0.0
    assert scores("subtract", [3, 2], "1")["tools"] == 0.0
    assert score(question, Attempt(answer="5"))["call"] == 0.0


def test_operands_of_a_written_call_are_named() -> None:
    assert read_operands("power", "2, 3") == {"base": "2", "exponent": "3"}
    with pytest.raises(ValueError, match="at most 2"):
        read_operands("power", "1, 2, 3")


def test_a_solution_in_one_line_keeps_its_calls_where_their_results_stand() -> None:
    answer = "He has 2*3 = 6 pens.\nThat is 6+1 = 7.\n#### 7"
    calls = (
        Call(tool="multiply", args={"0": "2", "1": "3"}, result="6", start=answer.index("6")),
        Call(tool="add", args={"0": "6", "1": "1"}, result="7", start=answer.index("7")),
    )
    line = in_one_line(Example(question="How many?", answer=answer, calls=calls), "7")
    assert line is not None
    assert line.answer == "He has 2*3 = 6 pens. That is 6+1 = 7. The answer is 7."
    assert [call.args for call in line.calls] == [{"numbers": [2, 3]}, {"numbers": [6, 1]}]
    wrong = calls[0].model_copy(update={"args": {"0": "two", "1": "3"}})
    assert in_one_line(Example(question="How many?", answer=answer, calls=(wrong,)), "7") is None


@pytest.mark.usefixtures("tiny_background")
def test_thresholds_of_running_text_are_chosen_by_the_calls_in_dev_solutions(tiny_lm: FrozenLM) -> None:
    def solution(first: int, second: int) -> Example:
        answer = f"He has {first}+{second} = {first + second} pens."
        call = Call(
            tool="add",
            args={"0": str(first), "1": str(second)},
            result=str(first + second),
            start=answer.index("= ") + 2,
        )
        return Example(question=f"How many pens are {first} and {second}?", answer=answer, calls=(call,))

    solved = [solution(first, first + 3) for first in range(10, 40)]
    texts = [text for one in solved if (text := in_one_line(one, one.calls[0].result)) is not None]
    question = sum_question(0, "What is 2 plus 3?", "5", "two decimals")
    sums = Sums(
        benchmark="own",
        lm=tiny_lm,
        options=Options(),
        names=["add", "multiply"],
        solutions=solved[:20],
        finals=[one.calls[0].result for one in solved[:20]],
        tests={"test": [question]},
        dev={},
        dev_texts={"test": texts[20:]},
        reasoned=True,
    )
    by_method = {trial.method: trial for trial in sums.trials()}
    for method in ("toolken", "toolkengpt"):
        trial = by_method[method]
        assert trial.dev is None
        assert trial.choose is not None
        assert trial.choose() in trial.candidates
    assert by_method["react"].choose is None
    sums.dev_texts.clear()
    assert all(trial.choose is None for trial in sums.trials())


def test_the_best_threshold_parts_calls_from_words() -> None:
    probabilities = torch.tensor([0.9, 0.66, 0.58, 0.1])
    calls, weights = torch.tensor([True, True, False, False]), torch.ones(4, dtype=torch.float64)
    tried = torch.tensor(TEXT_THRESHOLDS, dtype=torch.float64)
    assert best_threshold(probabilities, calls, weights, tried) == pytest.approx(0.6)
    heavy = torch.tensor([1.0, 9.0, 1.0, 1.0], dtype=torch.float64)
    assert best_threshold(probabilities, ~calls, heavy, tried) == pytest.approx(0.2)
