"""`ToolkenAgent.invoke` takes every input form of LangChain's users."""

from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.prompt_values import ChatPromptValue, StringPromptValue

from toolken import FrozenLM, ToolkenAgent, ToolkenError, ToolkenHead
from toolken.agents.agent_input import input_messages

Q = HumanMessage("Q")


@pytest.mark.parametrize(
    ("given", "messages"),
    [
        ("Q", [Q]),
        (Q, [Q]),
        ([Q], [Q]),
        (["Q"], [Q]),
        (("user", "Q"), [Q]),
        ([("user", "Q")], [Q]),
        ((("system", "S"), ("user", "Q")), [SystemMessage("S"), Q]),
        ({"role": "user", "content": "Q"}, [Q]),
        ([{"role": "user", "content": "Q"}], [Q]),
        ({"messages": [Q]}, [Q]),
        ({"messages": "Q"}, [Q]),
        ({"messages": Q}, [Q]),
        ({"messages": [("user", "Q")], "thread": 1}, [Q]),
        ({"input": "Q"}, [Q]),
        ({"input": Q}, [Q]),
        ({"input": "Q", "chat_history": []}, [Q]),
        ({"input": "Q", "chat_history": [HumanMessage("A"), AIMessage("B")]}, [HumanMessage("A"), AIMessage("B"), Q]),
        (StringPromptValue(text="Q"), [Q]),
        (ChatPromptValue(messages=[Q]), [Q]),
    ],
    ids=lambda value: str(value)[:50],
)
def test_all_forms_are_read(given: Any, messages: list[BaseMessage]) -> None:
    assert input_messages(given) == messages


@pytest.mark.parametrize(
    "given",
    [None, 42, b"Q", {}, {"question": "Q"}, {"messages": [Q], "input": "Q"}, {"messages": None}, [42], {"input": 7},
     [{"content": "Q"}], [("nobody", "Q", 3)], {"Q"}],
    ids=str,
)  # fmt: skip
def test_other_inputs_are_refused_with_what_is_accepted(tiny_lm: FrozenLM, tiny_head: ToolkenHead, given: Any) -> None:
    with pytest.raises(ToolkenError, match=r'\{"messages": \[\.\.\.\]\}'):
        input_messages(given)


async def test_the_agent_answers_all_forms_alike(tiny_lm: FrozenLM, tiny_head: ToolkenHead) -> None:
    def weather(city: str) -> str:
        """Tell the weather in a city."""
        return "fine"

    agent = ToolkenAgent(tiny_lm, tiny_head, [weather], max_calls=1)
    text = "How is the weather in Oslo?"
    expected = agent.invoke(text).text
    for given in ([HumanMessage(text)], HumanMessage(text), {"messages": [("user", text)]}, {"input": text}):
        assert agent.invoke(given).text == expected
        assert (await agent.ainvoke(given)).text == expected
        assert list(agent.events(given))[-1].text == expected
    assert [one.text for one in agent.batch([{"input": text}, text])] == [expected] * 2
    for call in (agent.invoke, lambda q, **options: agent.batch([q], **options)):
        with pytest.raises(ToolkenError, match="max_calls"):
            call(text, max_calls=3)
    with pytest.raises(ToolkenError, match="at least one"):
        agent.invoke([])
    with pytest.raises(ToolkenError, match="reads text only"):
        agent.invoke({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]})
