"""Chat model, agent and commands work on llama.cpp as on transformers."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from typer.testing import CliRunner

from toolken import FrozenLM, Grounded, ToolkenAgent, ToolkenChatModel, ToolkenHead, fit
from toolken.cli import app

pytest.importorskip("llama_cpp", reason="the extra llamacpp is not installed: `make llamacpp` compiles it")


@tool
def weather(city: Annotated[str, Grounded()]) -> str:
    """Tell what the weather is like in a city today."""
    return f"sun in {city}"


@tool
def opening_hours(shop: Annotated[str, Grounded()]) -> str:
    """Tell when a shop opens and closes."""
    return "9 to 18"


TOOLS = [weather, opening_hours]
CITIES = ["Oslo", "Paris", "Lima", "Kyoto", "Cairo", "Rome", "Bern", "Quito"]


@pytest.fixture(scope="module")
def lm(embedded_lm: FrozenLM) -> FrozenLM:
    """The embedded LM on llama.cpp."""
    return FrozenLM.from_pretrained(backend="llama.cpp")


@pytest.fixture(scope="module")
def head(embedded_lm: FrozenLM) -> ToolkenHead:
    """A head that was fitted on transformers."""
    return fit(embedded_lm, TOOLS)


def said(message: Any) -> tuple[str, list[Any]]:
    """Return a message's text and calls."""
    assert isinstance(message, AIMessage)
    return message.text, [(call["name"], call["args"]) for call in message.tool_calls]


def test_an_agent_with_a_head_of_the_other_backend_answers(lm: FrozenLM, head: ToolkenHead) -> None:
    answer = ToolkenAgent(lm, head, TOOLS).invoke("What is the weather like in Oslo?")
    assert [(step.tool, step.arguments) for step in answer.steps] == [("weather", {"city": "Oslo"})]
    assert answer.text == "The answer is sun in Oslo."


def test_a_chat_model_loads_the_given_backend(head: ToolkenHead) -> None:
    model = ToolkenChatModel(head=head, backend="llama.cpp")
    agent = create_agent(model, TOOLS)
    messages = agent.invoke({"messages": [("user", "When does the bakery open?")]})["messages"]
    assert said(messages[1])[1] == [("opening_hours", {"shop": "the bakery"})]
    assert messages[-1].text == "The answer is 9 to 18."
    assert model._lazy.lm.number_format == "llama.cpp"


def test_batches_and_threads_answer_as_one_question_alone(lm: FrozenLM, head: ToolkenHead) -> None:
    questions: list[Any] = [f"What is the weather like in {city}?" for city in CITIES]
    alone = [said(ToolkenChatModel(lm=lm, head=head).bind_tools(TOOLS).invoke(question)) for question in questions]
    assert [calls for _, calls in alone] == [[("weather", {"city": city})] for city in CITIES]
    bound = ToolkenChatModel(lm=lm, head=head).bind_tools(TOOLS)
    assert list(map(said, bound.batch(questions))) == alone
    with ThreadPoolExecutor(len(questions)) as threads:
        assert [said(message) for message in threads.map(bound.invoke, questions)] == alone


def test_text_is_streamed(lm: FrozenLM) -> None:
    model = ToolkenChatModel(lm=lm, max_tokens=12)
    pieces = [chunk.text for chunk in model.stream("Tell me about ships.")]
    # The opening of the answer comes with the first piece of text.
    assert len(pieces) > 2
    assert "".join(pieces) == model.invoke("Tell me about ships.").text


def test_the_command_fits_on_llama_cpp(embedded_lm: FrozenLM, tmp_path: Path) -> None:
    (tmp_path / "shop_tools.json").write_text(
        '[{"name": "weather", "description": "Tell what the weather is like in a city today.",'
        ' "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},'
        ' {"name": "opening_hours", "description": "Tell when a shop opens and closes.",'
        ' "parameters": {"type": "object", "properties": {"shop": {"type": "string"}}}}]'
    )
    options = ["--tools", str(tmp_path / "shop_tools.json"), "--out", str(tmp_path / "head"), "--backend", "llama.cpp"]
    fitted = CliRunner().invoke(app, ["fit", *options])
    assert fitted.exit_code == 0, fitted.output
    read = ToolkenHead.from_pretrained(tmp_path / "head", embedded_lm)
    assert read.names == ["weather", "opening_hours"]
