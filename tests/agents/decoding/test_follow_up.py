"""Follow-ups: a request that changes some values of an earlier call and keeps the others."""

from typing import Any

import pytest

from toolken import ToolSpec
from toolken.agents.decoding.follow_up import FollowUp
from toolken.agents.grammar.argument_evidence import EvidencedArguments


def create_meeting(title: str, person: str, date: str, time: str) -> str:
    """Create a meeting with a person in the calendar."""
    return ""


def move_meeting(title: str, time: str) -> str:
    """Move a meeting to another time."""
    return ""


def convert(amount: float, source: str, target: str) -> str:
    """Convert an amount of money from one currency to another."""
    return ""


MEETING = ("create_meeting", {"title": "Budget", "person": "Anna", "date": "Friday", "time": "3 pm"})
MONEY = ("convert", {"amount": 250, "source": "EUR", "target": "USD"})


def choices(tool: Any, question: str, call: tuple[str, dict[str, Any]], **written: Any) -> dict[str, list[Any]] | None:
    """Return the values that a follow-up offers for each argument."""
    spec = ToolSpec.of(tool)
    found = FollowUp.of(spec, question, [call])
    if found is None:
        return None
    properties = found.restricted(EvidencedArguments(spec.parameters), written).parameters["properties"]
    return {name: schema["enum"] for name, schema in properties.items() if "enum" in schema}


@pytest.mark.parametrize(
    ("question", "changed"),
    [
        ("make it 5 pm", {"time": ["5 pm"]}),
        ("No, Monday instead", {"date": ["Monday"]}),
        ("Sorry, Monday at 17:30", {"date": ["Monday"], "time": ["17:30"]}),
        ("The same for Bob", {"title": ["Budget", "Bob"], "person": ["Anna", "Bob"]}),
        ("The same again, please", {}),
    ],
)
def test_a_value_replaces_one_of_its_kind(question: str, changed: dict[str, list[str]]) -> None:
    assert choices(create_meeting, question, MEETING) == {name: [one] for name, one in MEETING[1].items()} | changed


def test_the_values_of_another_tools_call_are_kept() -> None:
    assert choices(move_meeting, "Move it to 5 pm, please.", MEETING) == {"title": ["Budget"], "time": ["5 pm"]}


def test_numbers_stay_numbers_and_a_used_value_is_not_offered_again() -> None:
    assert choices(convert, "And 400?", MONEY) == {"amount": [400], "source": ["EUR"], "target": ["USD"]}
    assert choices(convert, "And in Japanese yen?", MONEY, amount=250, source="Japanese yen") == {"target": ["USD"]}
    assert choices(convert, "And in Japanese yen?", MONEY, amount=250, source="EUR") == {"target": ["Japanese yen"]}


@pytest.mark.parametrize(
    ("tool", "question", "call"),
    [
        (convert, "Convert 90 pounds to yen", MONEY),
        (create_meeting, "Create a meeting with Tom tomorrow at 9:00", MEETING),
        (move_meeting, "Move the Review to 5 pm", MEETING),
        (convert, "make it 5 pm", MEETING),
        (convert, "Thanks a lot!", MONEY),
    ],
)
def test_a_request_of_its_own_is_no_follow_up(tool: Any, question: str, call: tuple[str, dict[str, Any]]) -> None:
    assert choices(tool, question, call) is None
