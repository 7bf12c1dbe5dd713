"""An exported checkpoint on real servers, called by OpenAI's client, LangChain's client and the chat model.

The servers run on the loopback address; they are waited for within bounds and ended by the fixture. What an export
writes as arguments comes from gradient descent, whose last digits differ between processors: each call's tool and the
form of its arguments are asserted, and over many questions the share of values that are right.
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from openai import OpenAI

from toolken import ToolkenChatModel, ToolSpec
from toolken.errors import ServerError, ToolSpecError

#: Where `make servers` builds vLLM's environment.
VLLM = Path(__file__).parents[2] / ".venv-vllm" / "bin" / "python"
#: One thread, nothing from the hub, and little memory for vLLM's KV cache.
QUIET = {
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}
#: Seconds that a server has to come up; on a machine with other work to do it takes many times as long as alone.
LONGEST = 300.0


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@contextmanager
def running(command: Sequence[str], port: int, log: Path, health: str = "/health") -> Iterator[str]:
    """Run a server until the block ends; yields its address.

    Raises
    ------
    RuntimeError
        If it exits, or does not answer in time; its log is in the message.
    """
    environment = os.environ | QUIET
    with log.open("wb") as written:
        process = subprocess.Popen(command, stdout=written, stderr=subprocess.STDOUT, env=environment)
        try:
            _wait(process, f"http://127.0.0.1:{port}{health}", log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(timeout=20)


def _wait(process: "subprocess.Popen[bytes]", address: str, log: Path) -> None:
    end = time.monotonic() + LONGEST
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        try:
            if httpx.get(address, timeout=5).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    raise RuntimeError(f"The server did not come up:\n{log.read_text(errors='replace')[-3000:]}")


def transformers_command(folder: Path, port: int) -> list[str]:
    """Return the command that serves a checkpoint with transformers."""
    program = Path(sys.executable).parent / "transformers"
    return [str(program), "serve", str(folder), "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]


def vllm_command(folder: Path, port: int) -> list[str]:
    """Return the command that serves a checkpoint with vLLM."""
    if not VLLM.is_file():
        pytest.skip("vLLM's environment is not there: `make servers` builds it and runs these tests.")
    command = [str(VLLM), "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--enforce-eager", "--max-model-len", "1024"]
    plugin = str(folder / "vllm_parser.py")
    return [*command, "--enable-auto-tool-choice", "--tool-parser-plugin", plugin, "--tool-call-parser", "toolken"]


COMMANDS = {"transformers": transformers_command, "vllm": vllm_command}


@pytest.fixture(scope="module", params=list(COMMANDS))
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that runs `checkpoint`."""
    port = free_port()
    COMMANDS[request.param](Path(), port)  # whether it is there at all, before the checkpoint is made
    folder: Path = request.getfixturevalue("checkpoint")
    log = tmp_path_factory.mktemp("log") / "server.log"
    with running(COMMANDS[request.param](folder, port), port, log) as address:
        yield address


@pytest.fixture
def model(server: str, checkpoint: Path) -> ToolkenChatModel:
    return ToolkenChatModel(base_url=server, lm=checkpoint, max_tokens=40)


pytestmark = pytest.mark.timeout(1800)  # the first test waits for the export, and for a server beside other work

QUESTION = "What is the weather like in Lisbon?"
#: What the tools' calls write, by tool; none of them is among the few-shot examples.
ASKED = {
    "weather": [
        ("What is the weather like in Lisbon?", {"city": "Lisbon"}),
        ("Is it raining in Prague today?", {"city": "Prague"}),
        ("How warm is it in Madrid now?", {"city": "Madrid"}),
        ("What is the weather like in Vienna?", {"city": "Vienna"}),
    ],
    "opening_hours": [
        ("When does the pharmacy open?", {"shop": "pharmacy"}),
        ("Is the cinema open today?", {"shop": "cinema"}),
        ("Until when is the theatre open?", {"shop": "theatre"}),
        ("When does the garage open?", {"shop": "garage"}),
    ],
}


@tool
def weather(city: str) -> str:
    """Tell what the weather is like in a city."""
    return f"17 degrees in {city}"


@tool
def opening_hours(shop: str) -> str:
    """Tell when a shop opens."""
    return "9 to 18"


@tool
def stocks(name: str) -> str:
    """Look up a share's price."""
    return "12"


def well_formed(name: str, args: dict[str, Any]) -> bool:
    """Return whether arguments are as the tool's schema asks."""
    (value,) = args.values()
    return list(args) == list(ASKED[name][0][1]) and isinstance(value, str) and bool(value.strip())


def as_openai(specs: list[ToolSpec]) -> list[Any]:
    return [{"type": "function", "function": spec.model_dump()} for spec in specs]


def test_openais_client_gets_calls(server: str, checkpoint: Path, served_tools: list[ToolSpec]) -> None:
    right = []
    with OpenAI(base_url=server, api_key="none") as client:
        for name, questions in ASKED.items():
            for question, args in questions:
                answer = client.chat.completions.create(
                    model=str(checkpoint),
                    messages=[{"role": "user", "content": question}],
                    tools=as_openai(served_tools),
                    temperature=0,
                )
                choice = answer.choices[0]
                assert choice.finish_reason == "tool_calls"
                assert choice.message.tool_calls is not None
                (call,) = choice.message.tool_calls
                assert call.type == "function"
                assert call.function.name == name
                written = json.loads(call.function.arguments)
                assert well_formed(name, written)
                right.append(written == args)
    assert sum(right) >= 0.6 * len(right), right


def test_langchains_client_gets_calls_and_the_answer_after_them(server: str, checkpoint: Path) -> None:
    chat: Any = ChatOpenAI(model=str(checkpoint), base_url=server, api_key="none", temperature=0)  # type: ignore[arg-type]
    bound = chat.bind_tools([weather, opening_hours])
    message = bound.invoke(QUESTION)
    (call,) = message.tool_calls
    assert call["name"] == "weather"
    assert well_formed("weather", call["args"])
    history = [HumanMessage(QUESTION), message, ToolMessage("17 degrees", tool_call_id=call["id"])]
    answer = bound.invoke(history)
    assert not answer.tool_calls
    assert "17 degrees" in answer.text


def test_the_chat_model_calls(model: ToolkenChatModel) -> None:
    message = model.bind_tools([weather, opening_hours]).invoke(QUESTION)
    (call,) = message.tool_calls
    assert call["name"] == "weather"
    assert well_formed("weather", call["args"])
    assert message.usage_metadata is not None
    assert message.usage_metadata["output_tokens"] > 3


def test_the_chat_model_streams(model: ToolkenChatModel) -> None:
    whole: Any = None
    for chunk in model.bind_tools([weather, opening_hours]).stream(QUESTION):
        assert isinstance(chunk, AIMessageChunk)
        whole = chunk if whole is None else whole + chunk
    (call,) = whole.tool_calls
    assert call["name"] == "weather"
    assert well_formed("weather", call["args"])


def test_text_is_answered_with_text(model: ToolkenChatModel) -> None:
    message = model.bind_tools([weather, opening_hours]).invoke("What is the capital of France?")
    assert not message.tool_calls
    assert message.text.startswith("The answer is")


async def test_several_are_answered(model: ToolkenChatModel) -> None:
    bound = model.bind_tools([weather, opening_hours])
    messages = bound.batch([QUESTION, "When does the pharmacy open?"])
    assert [one.tool_calls[0]["name"] for one in messages] == ["weather", "opening_hours"]
    assert (await bound.ainvoke(QUESTION)).tool_calls[0]["name"] == "weather"


def test_tools_that_are_not_bound_are_held_back(model: ToolkenChatModel) -> None:
    assert all(
        call["name"] == "opening_hours" for call in model.bind_tools([opening_hours]).invoke(QUESTION).tool_calls
    )
    assert not model.invoke(QUESTION).tool_calls
    assert not model.bind_tools([weather], tool_choice="none").invoke(QUESTION).tool_calls


@pytest.mark.parametrize("choice", ["opening_hours", "any"])
def test_a_call_can_be_forced(model: ToolkenChatModel, choice: str) -> None:
    message = model.bind_tools([weather, opening_hours], tool_choice=choice).invoke("Tell me about the bakery.")
    calls = [*message.tool_calls, *message.invalid_tool_calls]
    assert len(calls) == 1
    assert calls[0]["name"] in (("weather", "opening_hours") if choice == "any" else (choice,))


def test_langchains_agent_runs(model: ToolkenChatModel) -> None:
    agent: Any = create_agent(model, [weather, opening_hours])
    messages = agent.invoke({"messages": [HumanMessage(QUESTION)]})["messages"]
    (result,) = [one for one in messages if isinstance(one, ToolMessage)]
    assert str(result.content).startswith("17 degrees in ")
    assert isinstance(messages[-1], AIMessage)
    assert "17 degrees" in messages[-1].text


def test_errors_say_what_to_do(server: str, model: ToolkenChatModel) -> None:
    with pytest.raises(ToolSpecError, match="There is no tool called 'stocks'"):
        model.bind_tools([stocks])
    with pytest.raises(ServerError, match=r"has no model 'nobody/nothing'|failed \(500\)"):
        ToolkenChatModel(base_url=server, lm="nobody/nothing").invoke("Hello")


def test_an_unreachable_server_is_reported() -> None:
    with pytest.raises(ServerError, match=r"No server answers at http://127\.0\.0\.1:\d+/v1: start one"):
        ToolkenChatModel(base_url=f"http://127.0.0.1:{free_port()}/v1", lm="mine").invoke("Hello")
    with pytest.raises(ServerError, match="No server answers"):
        ToolkenChatModel(base_url=f"http://127.0.0.1:{free_port()}/v1").invoke("Hello")


def test_a_head_beside_a_server_is_refused() -> None:
    with pytest.raises(ServerError, match="drop `head`"):
        ToolkenChatModel(base_url="http://127.0.0.1:1/v1", head="heads/mine").invoke("Hello")
