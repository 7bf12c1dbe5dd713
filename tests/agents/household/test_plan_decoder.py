"""Plans are decoded alone, in batches and with beams, from the toolkens that may follow."""

import itertools
from collections.abc import Callable, Sequence

import pytest
import torch

from toolken import FrozenLM, ToolkenHead, ToolSpec, fit
from toolken.agents.household.plan_decoder import Plan, PlanDecoder, PlanTask
from toolken.agents.household.plans import PLANS, plan_example, plan_text
from toolken.errors import FingerprintError

VERBS, OBJECTS = ["[WALK]", "[SIT]", "[GRAB]"], ["<couch>", "<cup>"]
TASKS = [
    ("Have a seat.\nPlan:", ["[WALK]", "<couch>", "[SIT]", "<couch>", "[END]"]),
    ("Take the cup.\nPlan:", ["[WALK]", "<cup>", "[GRAB]", "<cup>", "[END]"]),
    ("Go to the couch.\nPlan:", ["[WALK]", "<couch>", "[END]"]),
]


def following(written: Sequence[str]) -> list[str]:
    if written and written[-1] == "[END]":
        return []
    return OBJECTS if len(written) % 2 else [*VERBS, "[END]"]


@pytest.fixture(scope="module")
def head(tiny_lm: FrozenLM, module_background: None) -> ToolkenHead:
    specs = [ToolSpec(name=name, description=f"Use {name}.") for name in (*VERBS, *OBJECTS, "[END]")]
    return fit(tiny_lm, specs, [plan_example(question, plan) for question, plan in TASKS], prompt=PLANS)


@pytest.fixture
def tasks() -> list[PlanTask]:
    return [PlanTask(question, following) for question, _ in TASKS]


def log_probability(lm: FrozenLM, head: ToolkenHead, question: str, plan: Sequence[str]) -> float:
    """Score a plan from the states of one run over its whole text."""
    rendered = head.prompt.render(plan_example(question, plan))
    encoding = lm.encode(rendered.text)
    total = 0.0
    for at, (offset, toolken) in enumerate(rendered.calls):
        position = encoding.last_token_before(offset)
        ((_, states),) = lm.hidden_states([encoding.ids[: position + 1]], [[position]])
        allowed = following(plan[:at])
        total += float(head.decide(states.hidden, allowed).log_shares[0, allowed.index(toolken)])
    return total


def test_a_plan_is_as_likely_as_its_text_says(tiny_lm: FrozenLM, head: ToolkenHead, tasks: list[PlanTask]) -> None:
    for task, (plan, *_) in zip(tasks, PlanDecoder(tiny_lm, head).decode(tasks, most_toolkens=9), strict=True):
        assert plan.log_probability == pytest.approx(
            log_probability(tiny_lm, head, task.question, plan.toolkens), abs=1e-3
        )
        assert plan.log_probability == pytest.approx(sum(torch.tensor([c.probability for c in plan.choices]).log()))
        assert [choice.toolken for choice in plan.choices] == list(plan.toolkens)
        assert all(choice.probability >= other for choice in plan.choices for _, other in choice.runners_up)


def test_tasks_are_planned_together_as_they_are_alone(
    tiny_lm: FrozenLM, head: ToolkenHead, tasks: list[PlanTask]
) -> None:
    decoder = PlanDecoder(tiny_lm, head)
    together = decoder.decode(tasks, beams=2, most_toolkens=7)
    alone = [decoder.decode([task], beams=2, most_toolkens=7)[0] for task in tasks]
    assert [[plan.toolkens for plan in plans] for plans in together] == [
        [plan.toolkens for plan in plans] for plans in alone
    ]


def test_wide_beams_find_the_most_likely_plans(tiny_lm: FrozenLM, head: ToolkenHead, tasks: list[PlanTask]) -> None:
    longest = 3
    every = [("[END]",)]
    for verb, thing, last in itertools.product(VERBS, OBJECTS, (*VERBS, "[END]")):
        every.append((verb, thing, last))
    (found,) = PlanDecoder(tiny_lm, head).decode(tasks[:1], beams=len(every), most_toolkens=longest)
    expected = sorted(every, key=lambda plan: -log_probability(tiny_lm, head, tasks[0].question, plan))
    assert [plan.toolkens for plan in found] == expected
    assert sum(torch.tensor([plan.log_probability for plan in found]).exp()) == pytest.approx(1.0, abs=1e-4)


def test_a_plan_goes_on_from_where_it_begins(tiny_lm: FrozenLM, head: ToolkenHead) -> None:
    task = PlanTask(TASKS[0][0], following, begun=("[WALK]", "<cup>"))
    ((plan,),) = PlanDecoder(tiny_lm, head).decode([task], most_toolkens=6)
    assert plan.toolkens[:2] == ("[WALK]", "<cup>")
    assert [choice.toolken for choice in plan.choices] == list(plan.toolkens[2:])


def test_nothing_is_decided_where_nothing_may_follow(tiny_lm: FrozenLM, head: ToolkenHead) -> None:
    assert PlanDecoder(tiny_lm, head).decode([PlanTask("Rest.\nPlan:", lambda _: ())]) == [[Plan((), 0.0)]]


def test_a_head_of_another_lm_is_refused(build_lm: Callable[..., FrozenLM], head: ToolkenHead) -> None:
    with pytest.raises(FingerprintError):
        PlanDecoder(build_lm(seed=7), head)


def test_a_plan_is_written_a_step_a_line() -> None:
    assert plan_text(TASKS[0][1]) == "[WALK] <couch>\n[SIT] <couch>\n[END]"
    example = plan_example(*TASKS[0])
    assert example.answer == plan_text(TASKS[0][1])
    assert [call.tool for call in example.calls] == TASKS[0][1]
