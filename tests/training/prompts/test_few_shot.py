"""The prompt for arguments contains the few-shot examples whose states are nearest to that of the call."""

import torch

from toolken import Call, Example
from toolken.training.features.decision_states import DecisionStates
from toolken.training.prompts.few_shot import KEPT, SHOWN, FewShotExamples

SIZE = 3


def added(examples: list[Example], states: torch.Tensor, numbers: list[int]) -> FewShotExamples:
    """Return the few-shot examples of calls: their states, and the index of the example of each call."""
    made = FewShotExamples()
    count = len(numbers)
    part = DecisionStates(
        states, torch.zeros(count), torch.zeros(count, dtype=torch.long), torch.tensor(numbers), torch.zeros(count) > 0
    )
    made.add(examples, part)
    return made


def asked(number: int, **fields: object) -> Example:
    """Return an example with one call."""
    call = Call.model_validate({"tool": "add", "args": {"n": number}, "result": str(number)} | fields)
    return Example(question=f"Q{number}", calls=(call,))


def test_the_most_similar_few_shot_example_comes_last() -> None:
    count = SHOWN + 3
    states = torch.arange(count).float()[:, None].repeat(1, SIZE)
    made = added([asked(i) for i in range(count)], states, list(range(count)))
    shown = made.nearest("add", torch.full((SIZE,), 6.2), torch.eye(SIZE))
    assert [one.args["n"] for one in shown] == [3, 4, 5, 6]
    assert made.nearest("other", torch.zeros(SIZE), torch.eye(SIZE)) == []


def test_in_running_text_the_sentence_of_a_call_is_shown() -> None:
    answer = "He has 2.5 boxes. They hold 2.5*4 = 10 pens."
    call = Call(tool="multiply", args={"numbers": [2.5, 4]}, result="10", start=answer.index("10"))
    part = DecisionStates(
        torch.zeros(1, SIZE), torch.zeros(1), torch.tensor([0]), torch.tensor([0]), torch.zeros(1) > 0
    )
    made = FewShotExamples()
    made.add([Example(question="How many?", answer=answer, calls=(call,))], part, running_text=True)
    assert [one.question for one in made.shown] == ["They hold 2.5*4 ="]


def test_few_shot_examples_show_the_earlier_calls() -> None:
    calls = tuple(Call(tool="add", args={"n": n}, result=str(n)) for n in (1, 2))
    part = DecisionStates(
        torch.zeros(2, SIZE), torch.zeros(2), torch.tensor([0, 0]), torch.tensor([0, 0]), torch.tensor([0, 1])
    )
    made = FewShotExamples()
    made.add([Example(question="Q", calls=calls)], part)
    assert [(one.results, one.before) for one in made.shown] == [((), ()), (("1",), ({"n": 1},))]


def test_similarity_is_measured_in_the_given_metric() -> None:
    states = torch.tensor([[10.0, 0, 0], [0, 2.0, 0]])
    made = added([asked(0), asked(1)], states, [0, 1])
    whiten = torch.diag(torch.tensor([100.0, 0.1, 1.0]))
    assert made.nearest("add", torch.zeros(SIZE), whiten)[-1].args["n"] == 0
    assert made.nearest("add", torch.zeros(SIZE), torch.eye(SIZE))[-1].args["n"] == 1


def test_only_the_first_few_of_a_tool_are_kept() -> None:
    count = KEPT + 5
    made = added([asked(i) for i in range(count)], torch.zeros(count, SIZE), list(range(count)))
    assert len(made.shown) == KEPT
    assert made.states.shape == (KEPT, SIZE)


def test_a_later_call_of_a_chain_knows_the_results_before_it() -> None:
    calls = (Call(tool="add", args={"n": 1}, result="5"), Call(tool="double", args={"n": 5}, result="10"))
    made = added([Example(question="Q", calls=calls)], torch.zeros(2, SIZE), [0, 0])
    assert [(one.tool, one.results) for one in made.shown] == [("add", ()), ("double", ("5",))]


def test_calls_without_arguments_or_question_show_nothing() -> None:
    running = Example(answer="5", calls=(Call(tool="add", args={"n": 5}, result="5", start=0),))
    assert added([asked(1, args={}), running], torch.zeros(2, SIZE), [0, 1]).shown == []


def test_tools_can_be_omitted() -> None:
    made = added([asked(0), asked(1, tool="double")], torch.arange(6.0).reshape(2, SIZE), [0, 1])
    remaining = made.without(["add"])
    assert [one.tool for one in remaining.shown] == ["double"]
    assert torch.equal(remaining.states, made.states[1:])
    assert made.without(["add", "double"]).shown == []
