"""The demo: twenty everyday tools by toolkens, then the same LM with the tools' schemas in its prompt.

No answer is written down here. Each request has the right calls, by which both ways of calling are scored.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages import BaseMessage, HumanMessage
from langchain_core.tools import BaseTool
from rich.console import Console
from rich.table import Table
from rich.text import Text

from toolken.agents.agent import Answer, ToolkenAgent
from toolken.benchmarks.function_calling.prompts import prompt_of
from toolken.benchmarks.function_calling.written_calls import written_calls
from toolken.cli.ask import show_answer
from toolken.tools.everyday import everyday_tools
from toolken.training.lm import Backend, FrozenLM
from toolken.training.lm.prefix_cache import PrefixCache
from toolken.training.tool_spec import ToolSpec

#: Tokens that the LM may write with the schemas in its prompt; two calls take about 70.
MAX_TOKENS = 96


#: Calls in order, as names and arguments.
MadeCalls = tuple[tuple[str, dict[str, Any]], ...]


@dataclass(frozen=True)
class Request:
    """What a user says in the demo.

    Attributes
    ----------
    text
        The user's words.
    right
        The right calls, as names and arguments; none where declining or asking back is right.
    asks
        A word that the question for a missing value must have; empty where nothing is missing.
    follows
        Whether it continues the conversation of the request before it.
    """

    text: str
    right: MadeCalls = ()
    asks: str = ""
    follows: bool = False


REQUESTS = (
    Request("Set a timer for 10 minutes.", (("set_timer", {"minutes": 10}),)),
    Request("What's the weather like in Oslo today?", (("get_weather", {"city": "Oslo"}),)),
    Request("And in Rome?", (("get_weather", {"city": "Rome"}),), follows=True),
    Request(
        "Turn off the light in the kitchen and set an alarm for 6:30.",
        (("switch_light", {"room": "kitchen", "state": "off"}), ("set_alarm", {"time": "06:30"})),
    ),
    Request(
        "How much are 50 dollars in euros?",
        (("convert_currency", {"amount": 50, "from_currency": "dollars", "to_currency": "euros"}),),
    ),
    Request("Could you set an alarm?", asks="time"),
    Request("At 7:15, please.", (("set_alarm", {"time": "07:15"}),), follows=True),
    Request("Why is the sky blue?"),
)


@dataclass(frozen=True)
class Reply:
    """The calls that answered a request, or a text, with the time they took in seconds."""

    calls: MadeCalls
    text: str
    seconds: float


def is_right(request: Request, reply: Reply) -> bool:
    """Return whether a reply has the right calls: the names in order, the arguments apart from capitals."""

    def plain(calls: MadeCalls) -> list[tuple[str, dict[str, str]]]:
        return [(name, {key: str(value).casefold() for key, value in args.items()}) for name, args in calls]

    return plain(reply.calls) == plain(request.right) and request.asks in reply.text.casefold()


def run_demo(lm: str | None, console: Console, *, backend: Backend = "transformers") -> None:
    """Answer the requests in both ways, print them as they come, and then a table with right answers and seconds."""
    console.print("[bold]toolken[/]: the tools are tokens of a frozen language model. No network.\n")
    with console.status("Loading the LM"):
        loaded = FrozenLM.from_pretrained(lm, backend=backend)
    tools = everyday_tools()
    console.print(f"LM: {loaded.name}, {loaded.hidden_size} dimensions, a vocabulary of {loaded.vocab_size} tokens")
    begun = time.perf_counter()
    with console.status(f"Reading the descriptions of {len(tools)} tools"):
        agent = ToolkenAgent(loaded, None, tools)
    console.print(
        f"{len(tools)} tools, known by their descriptions alone; read once in {time.perf_counter() - begun:.1f} s: "
        f"{', '.join(tool.name for tool in tools)}\n",
        soft_wrap=True,
    )
    with_toolkens, histories = answer_all(agent, console)

    prompted = PromptedLM(loaded, tools)
    console.print("[bold]The same LM with the schemas of the tools in its prompt[/]\n")
    with console.status("Reading the schemas"):
        spent = prompted.read_schemas()
    console.print(f"{prompted.schema_tokens} tokens of schemas and instructions, read once in {spent:.1f} s\n")
    with_schemas = []
    for request, history in zip(REQUESTS, histories, strict=True):
        console.print(Text(request.text, style="bold"))
        with console.status("Writing"):
            reply = prompted.reply([*history, HumanMessage(request.text)])
        with_schemas.append(reply)
        console.print(Text(f"  {_shown(reply)}\n", style="yellow"), soft_wrap=True)
    console.print(comparison(with_toolkens, with_schemas))


def answer_all(agent: ToolkenAgent, console: Console) -> tuple[list[Reply], list[list[BaseMessage]]]:
    """Print the agent's answers to the requests; return them with the messages before each request."""
    replies, histories = [], []
    history: list[BaseMessage] = []
    for request in REQUESTS:
        if not request.follows:
            history = []
        histories.append(history)
        begun = time.perf_counter()
        answer: Answer = show_answer(agent, request.text, console, history=history)
        spent = time.perf_counter() - begun
        console.print()
        replies.append(Reply(tuple((step.tool, step.arguments) for step in answer.steps), answer.text, spent))
        history = [*history, HumanMessage(request.text), *answer.messages]
    return replies, histories


@dataclass
class PromptedLM:
    """An LM with the schemas of all tools in its prompt, which it reads once, and calls that it writes freely.

    An LM whose chat template takes no tools gets instructions and solved requests, as in the benchmarks.
    """

    lm: FrozenLM
    tools: Sequence[BaseTool]
    _texts: PrefixCache = field(init=False)

    def __post_init__(self) -> None:
        self._specs = [ToolSpec.of(tool) for tool in self.tools]
        self._prompt = prompt_of(self.lm)
        self._texts = PrefixCache(self.lm)
        self._schemas = self._prompt.shared_ids([HumanMessage("")], self._specs)

    @property
    def schema_tokens(self) -> int:
        """Number of tokens that precede every request."""
        return len(self._schemas)

    def read_schemas(self) -> float:
        """Compute the KV cache of the schemas and return the seconds it took."""
        begun = time.perf_counter()
        self._texts.prefill(self._schemas)
        return time.perf_counter() - begun

    def reply(self, messages: Sequence[BaseMessage]) -> Reply:
        """Return the greedy answer to a conversation."""
        begun = time.perf_counter()
        state = self._texts.prefill(self._prompt.ids(messages, self._specs), keep=False)
        written: list[int] = []
        session, logits = state.session, state.logits
        while len(written) < MAX_TOKENS and len(session.ids) < self.lm.max_length:
            token = int(logits.argmax())
            if token in self.lm.stop_ids:
                break
            written.append(token)
            _, logits = session.feed([token])
        text = str(self.lm.tokenizer.decode(written, skip_special_tokens=False))
        return self.read(text, time.perf_counter() - begun)

    def read(self, text: str, seconds: float) -> Reply:
        """Return the calls in a text that the LM wrote, and the text beside them."""
        calls, rest = written_calls(text, [spec.name for spec in self._specs], self.lm.tokenizer)
        return Reply(tuple((call.tool, dict(call.arguments or {})) for call in calls), rest, seconds)


def comparison(with_toolkens: Sequence[Reply], with_schemas: Sequence[Reply]) -> Table:
    """Return a table of both ways: what was right, and the seconds."""
    table = Table(title="Right calls (or question, or none), and seconds per request")
    table.add_column("request")
    for heading in ("toolkens", "schemas in the prompt"):
        table.add_column(heading)
        table.add_column("s", justify="right")
    for request, *replies in zip(REQUESTS, with_toolkens, with_schemas, strict=True):
        cells: list[Text | str] = []
        for reply in replies:
            right = is_right(request, reply)
            cells += [Text("right" if right else "wrong", style="green" if right else "red"), f"{reply.seconds:.1f}"]
        table.add_row(Text(request.text), *cells)
    table.add_section()
    totals = []
    for column in (with_toolkens, with_schemas):
        count = sum(map(is_right, REQUESTS, column))
        totals += [f"{count} of {len(REQUESTS)}", f"{sum(reply.seconds for reply in column):.1f}"]
    table.add_row("total", *totals)
    return table


def _shown(reply: Reply) -> str:
    calls = [f"{name}({', '.join(f'{key}={value!r}' for key, value in args.items())})" for name, args in reply.calls]
    return "; ".join(calls) or " ".join(reply.text.split())
