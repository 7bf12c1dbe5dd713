"""A conversation with tools that may be added, and calls that are confirmed."""

from typing import Any

import pytest
from langchain_core.tools import tool

from toolken import FrozenLM, ToolkenAgent
from toolken.agents.agent import DECLINED, Answer
from toolken.agents.chat_session import ChatSession
from toolken.agents.errors import InputError, OptionError
from toolken.errors import ToolSpecError
from toolken.training.prior.pretrained import PretrainedPrior

RAN: list[str] = []


@tool
def sport_tennis() -> str:
    """Handles the tennis."""
    RAN.append("tennis")
    return "tennis is on"


@tool
def sport_stadium() -> str:
    """Handles the stadium."""
    RAN.append("stadium")
    return "the stadium is open"


sport_stadium.metadata = {"side_effects": True}
TOOLS = [sport_tennis, sport_stadium]


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    RAN.clear()


def session(lm: FrozenLM, prior: PretrainedPrior, **options: Any) -> ChatSession:
    return ChatSession(TOOLS, lm=lm, prior=prior, min_probability=0.0, **options)


def answered(chat: ChatSession, text: str) -> Answer:
    *_, last = chat.ask(text)
    assert isinstance(last, Answer)
    return last


@pytest.mark.parametrize(
    ("confirmation", "asked"),
    [("auto", ["sport_stadium"]), ("all", ["sport_tennis", "sport_stadium"]), ("none", [])],
)
def test_the_user_is_asked_before_the_calls_that_are_to_be_confirmed(
    tiny_lm: FrozenLM, tiny_prior: PretrainedPrior, confirmation: Any, asked: list[str]
) -> None:
    names: list[str] = []

    def confirm(name: str, _: dict[str, Any]) -> bool:
        names.append(name)
        return True

    chat = session(tiny_lm, tiny_prior, confirmation=confirmation, confirm=confirm)
    answered(chat, "I want the tennis")
    chat.clear()
    answered(chat, "I want the stadium")
    assert names == asked
    assert RAN == ["tennis", "stadium"]


def test_a_declined_call_is_not_run_and_the_answer_says_so(tiny_lm: FrozenLM, tiny_prior: PretrainedPrior) -> None:
    chat = session(tiny_lm, tiny_prior, confirmation="all", confirm=lambda *_: False)
    answer = answered(chat, "I want the tennis")
    assert RAN == []
    assert [(step.tool, step.result, step.failed) for step in answer.steps] == [("sport_tennis", DECLINED, False)]
    assert "Not done" in answer.text


async def test_asynchronous_answers_ask_too(tiny_lm: FrozenLM, tiny_prior: PretrainedPrior) -> None:
    agent = ToolkenAgent(
        tiny_lm, None, TOOLS, prior=tiny_prior, min_probability=0.0, confirm=lambda name, _: name != "sport_tennis"
    )
    assert (await agent.ainvoke("I want the tennis")).steps[0].result == DECLINED
    assert (await agent.ainvoke("I want the stadium")).steps[0].result == "the stadium is open"
    assert RAN == ["stadium"]


def test_the_history_grows_until_it_is_cleared(tiny_lm: FrozenLM, tiny_prior: PretrainedPrior) -> None:
    chat = session(tiny_lm, tiny_prior)
    answered(chat, "I want the tennis")
    grown = len(chat.history)
    answered(chat, "I want the stadium")
    assert len(chat.history) > grown >= 3
    chat.clear()
    assert chat.history == []
    assert chat.race() == []


def test_the_race_has_all_tools_and_leaves_the_rest_to_no_call(tiny_lm: FrozenLM, tiny_prior: PretrainedPrior) -> None:
    chat = session(tiny_lm, tiny_prior)
    assert chat.race() == []
    answer = answered(chat, "I want the tennis")
    race = chat.race()
    assert [name for name, _ in race] == ["sport_tennis", "sport_stadium"]
    assert race[0][1] == pytest.approx(answer.steps[0].probability, abs=1e-4)
    assert 0 < sum(probability for _, probability in race) <= 1


def test_a_tool_is_added_by_its_description(tiny_lm: FrozenLM, tiny_prior: PretrainedPrior) -> None:
    supplied: list[str] = []

    def supply(name: str, _: dict[str, Any]) -> str:
        supplied.append(name)
        return "two to one"

    chat = session(tiny_lm, tiny_prior, supply=supply)
    chat.add("sport score", " Handles the score. ")
    answer = answered(chat, "I want the score")
    assert [(step.tool, step.result) for step in answer.steps] == [("sport_score", "two to one")]
    assert supplied == ["sport_score"]
    for name, description, sentence in (
        ("sport_tennis", "Handles it.", "already"),
        ("", "Handles it.", "needs a name"),
        ("team", " ", "needs a name"),
    ):
        with pytest.raises(ToolSpecError, match=sentence):
            chat.add(name, description)
    assert [one.name for one in chat.tools] == ["sport_tennis", "sport_stadium", "sport_score"]


def test_bad_input_is_one_sentence(tiny_lm: FrozenLM, tiny_prior: PretrainedPrior) -> None:
    with pytest.raises(OptionError, match="auto, all, none"):
        session(tiny_lm, tiny_prior, confirmation="sometimes")
    with pytest.raises(ToolSpecError, match="no tool"):
        ChatSession([], lm=tiny_lm)
    with pytest.raises(InputError, match="empty"):
        list(session(tiny_lm, tiny_prior).ask("  "))
