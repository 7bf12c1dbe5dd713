"""The agent of `toolken ask`: a head fitted on the shipped data and cached, or the user's own."""

import hashlib
import json
import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from langchain_core.messages import BaseMessage, HumanMessage
from langchain_core.tools import BaseTool
from rich.console import Console
from rich.text import Text

from toolken.agents.agent import AgentEvent, Answer, ToolkenAgent, ToolResult
from toolken.agents.decoding.decoder import DecodingOptions
from toolken.agents.decoding.events import CallFinished, CallStarted, TextPiece
from toolken.agents.number_habits import NumberHabits
from toolken.errors import HeadError
from toolken.training.examples import Call, Example, from_records
from toolken.training.fit import Progress, fit
from toolken.training.head.artifacts import HEAD_FILE
from toolken.training.head.toolken_head import ToolkenHead
from toolken.training.lm import Backend, FrozenLM
from toolken.training.lm.embedded import cache_folder
from toolken.training.prompts.conversation_format import ConversationFormat, FormatName, named_format
from toolken.training.prompts.prompt_format import PromptFormat
from toolken.training.tool_sources import read_tools
from toolken.training.tool_spec import ToolSpec

#: Numbers of generated examples of the head; two cores read them in 45 seconds.
ONE_STEP, TWO_STEPS, FACTS = 270, 130, 80
#: Number of one-step problems that keep their result, from which the gate learns that no call follows.
ENDED = 180
#: The decision position of an operation is after the first number of the question.
PROMPT = PromptFormat(lead="number")


def shipped_tools() -> list[BaseTool]:
    """Return the 13 arithmetic operations and one lookup per relation of the shipped facts."""
    from toolken.tools.calculator import calculator_tools
    from toolken.tools.knowledge import world_knowledge

    return [*calculator_tools("operations"), *world_knowledge().tools()]


def shipped_examples() -> list[Example]:
    """Return generated examples of the shipped tools."""
    from toolken.tools.calculator import examples as arithmetic
    from toolken.tools.knowledge import examples as facts

    chains = (record for record in arithmetic(4 * TWO_STEPS, max_calls=2) if len(record["calls"]) == 2)
    one_step = list(from_records(arithmetic(ONE_STEP, max_calls=1)))
    return [
        *one_step[:ENDED],
        *(example.model_copy(update={"calls": (_unanswered(example.calls[0]),)}) for example in one_step[ENDED:]),
        *from_records(islice(chains, TWO_STEPS)),
        *from_records(facts(FACTS)),
    ]


def _unanswered(call: Call) -> Call:
    return call.model_copy(update={"result": ""})


_FIRST = re.compile(r"^\W+")


def ask_agent(
    lm: str | None,
    head: Path | None,
    tools: Sequence[str] | None,
    progress: Progress | None = None,
    *,
    backend: Backend = "transformers",
    form: FormatName | None = None,
) -> ToolkenAgent:
    """Return an agent with a saved head, or with the one of the shipped tools, which is fitted at first use and cached.

    Other tools are known by their descriptions.

    Parameters
    ----------
    form
        The format of conversations; by default that of the saved head, and questions and answers for the shipped tools.

    Raises
    ------
    ToolkenError
        If the LM, the head or the tools cannot be loaded, or do not fit together.
    """
    runnable = read_tools(tools) if tools else shipped_tools()
    saved = ToolkenHead.from_pretrained(head) if head else None
    loaded = FrozenLM.from_pretrained(lm or (saved.lm_name if saved else None), backend=backend)
    shipped = shipped_tools()
    if saved is None and {tool.name for tool in runnable} <= {tool.name for tool in shipped}:
        written = PROMPT if form in (None, "question") else named_format(form, loaded)
        saved, form = _kept_head(loaded, shipped, written, progress), None
    elif saved is not None and not tools:
        missing = [name for name in saved.names if name not in {one.name for one in runnable}]
        if missing:
            raise HeadError(
                f"The head has the tool {missing[0]!r}, which is not among the shipped tools: "
                "name the source of its tools with --tools, such as module:attribute."
            )
    options = None if tools or saved is None else calculator_options(saved)
    return ToolkenAgent(loaded, saved, runnable, options=options, format=form)


def calculator_options(head: ToolkenHead) -> DecodingOptions:
    """Return decoding options for a head with the calculator's operations: later calls follow its examples' habits."""
    return DecodingOptions(copy_rule=NumberHabits.of_head(head))


def _kept_head(
    lm: FrozenLM, tools: Sequence[BaseTool], form: ConversationFormat, progress: Progress | None
) -> ToolkenHead:
    examples = shipped_examples()
    parts = [
        lm.fingerprint,
        form.fingerprint,
        *(ToolSpec.of(one).digest for one in tools),
        *(e.model_dump_json() for e in examples),
    ]
    digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
    folder = cache_folder() / "heads" / f"shipped-{digest}"
    if (folder / HEAD_FILE).is_file():
        try:
            return ToolkenHead.from_pretrained(folder, lm)
        except HeadError:
            pass  # written by another version: fit again
    fitted = fit(lm, tools, examples, prompt=form, progress=progress)
    fitted.save_pretrained(folder)
    return fitted


def show_answer(agent: ToolkenAgent, question: str, console: Console, *, history: Sequence[BaseMessage] = ()) -> Answer:
    """Print an answer while it is decoded: text, each call with its probability and arguments, results."""
    console.print(Text(question, style="bold"))
    printer = Printer(console)
    for event in agent.events([*history, HumanMessage(question)]):
        if isinstance(event, Answer):
            printer.end(event)
            return event
        printer.show(event)
    raise AssertionError("an agent's events end with its answer")


class Printer:
    """Prints the events of an answer; a result follows its arguments on the same line where there is one call."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._line = ""
        #: Text of the answer in the current line.
        self.text = ""
        self._waiting: list[str] = []
        self._arrow = "→" if console.encoding.startswith("utf") else "->"

    def end_line(self) -> None:
        """End the line that has been begun."""
        if self._line:
            self._console.print()
        self._line = self.text = ""

    def end(self, answer: Answer) -> None:
        """End the line, and print the answer unless it has been printed piece by piece."""
        printed = self.text
        self.end_line()
        # Punctuation at the beginning is not printed.
        if _FIRST.sub("", answer.text.strip()) != _FIRST.sub("", printed.strip()):
            self._console.print(Text(f"  {answer.text}", style="green"), soft_wrap=True)

    def show(self, event: AgentEvent) -> None:
        """Print one event."""
        match event:
            case TextPiece(text) if not self._line and not any(map(str.isalnum, text)):
                pass  # punctuation after a result, which the answer below repeats
            case TextPiece(text):
                self._console.print(Text(text if self._line else f"  {text.lstrip()}", style="dim"), end="")
                self._line += text
                self.text += text
            case CallStarted(name, probability, runners_up):
                self.end_line()
                others = ", ".join(f"{other} {p:.2f}" for other, p in runners_up[:3])
                shown = (f"   before {others}" if others else "", "dim")
                self._console.print(Text.assemble("  ", (name, "cyan"), f" {probability:.2f}", shown), soft_wrap=True)
            case CallFinished(name, arguments, _, _):
                self._waiting.append(name)
                self._line = json.dumps(arguments, ensure_ascii=False)
                self._console.print(Text(f"    {self._line}", style="yellow"), end="", soft_wrap=True)
            case ToolResult(name, text, failed):
                if len(self._waiting) > 1:
                    self.end_line()
                before = "" if self._line else f"    {name}"
                style = "red" if failed else "magenta"
                self._console.print(Text(f"{before} {self._arrow} {text}", style=style), soft_wrap=True)
                self._line = ""
                if self._waiting and name == self._waiting[-1]:
                    self._waiting = []
            case _:
                pass
