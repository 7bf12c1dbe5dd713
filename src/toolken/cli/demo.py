"""The demo: fit a head on the shipped data, then answer unseen questions with the shipped tools."""

import datetime
import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated

from langchain_core.tools import BaseTool, tool
from pydantic import Field
from rich.console import Console
from rich.table import Table
from rich.text import Text

from toolken.agents.agent import AgentEvent, Answer, ToolkenAgent, ToolResult
from toolken.agents.decoding.decoder import DecodingOptions
from toolken.agents.decoding.events import CallFinished, CallStarted, TextPiece
from toolken.agents.number_habits import NumberHabits
from toolken.cli.display import progress_bar
from toolken.errors import HeadError
from toolken.tools.grounding import Grounded
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

#: Number of right answers with which the demo passes.
ENOUGH = 8
#: Numbers of generated examples of the demo's head; two cores read them in 45 seconds.
ONE_STEP, TWO_STEPS, FACTS = 270, 130, 80
#: Number of one-step problems that keep their result, from which the gate learns that no call follows.
ENDED = 180
#: The decision position of an operation is after the first number of the question.
PROMPT = PromptFormat(lead="number")


@dataclass(frozen=True)
class Task:
    """A question of the demo with its right answer: the last result or, without a tool, a word of the text."""

    question: str
    right: str
    kind: str


TASKS = (
    Task("A library has 1248 books and buys 376 more. How many books does it have now?", "1624", "arithmetic"),
    Task("A baker made 364 rolls and sold 187 of them. How many rolls are left?", "177", "arithmetic"),
    Task("There are 24 boxes with 36 pencils in each box. How many pencils are there in all?", "864", "arithmetic"),
    Task("What is the greatest common divisor of 84 and 126?", "42", "arithmetic"),
    Task(
        "310 red and 245 white roses are mixed and shared equally among 5 shops. How many does each shop get?",
        "111",
        "two steps",
    ),
    Task("What is the capital of Portugal?", "Lisbon", "knowledge"),
    Task("Who wrote Moby-Dick?", "Herman Melville", "knowledge"),
    Task("What is the chemical symbol of gold?", "Au", "knowledge"),
    Task("What do you call a baby dog?", "puppy", "no tool"),
    Task("On which day of the week does 2027-03-14 fall?", "Sunday", "new tool"),
)


@tool
def weekday_of(date: Annotated[str, Grounded(), Field(description="The date, such as 2026-01-31.")]) -> str:
    """Tell on which day of the week a date falls."""
    return f"{datetime.date.fromisoformat(date):%A}"


def demo_tools() -> list[BaseTool]:
    """Return the 13 arithmetic operations and one lookup per relation of the shipped facts."""
    from toolken.tools.calculator import calculator_tools
    from toolken.tools.knowledge import world_knowledge

    return [*calculator_tools("operations"), *world_knowledge().tools()]


def demo_examples() -> list[Example]:
    """Return generated examples without the questions of the demo."""
    from toolken.tools.calculator import examples as arithmetic
    from toolken.tools.knowledge import examples as facts

    asked = {task.question for task in TASKS}
    chains = (record for record in arithmetic(4 * TWO_STEPS, max_calls=2) if len(record["calls"]) == 2)
    one_step = list(from_records(arithmetic(ONE_STEP, max_calls=1)))
    found = [
        *one_step[:ENDED],
        *(example.model_copy(update={"calls": (_unanswered(example.calls[0]),)}) for example in one_step[ENDED:]),
        *from_records(islice(chains, TWO_STEPS)),
        *from_records(facts(FACTS)),
    ]
    return [example for example in found if example.question not in asked]


def _unanswered(call: Call) -> Call:
    return call.model_copy(update={"result": ""})


def demo_agent(
    lm: str | None,
    head: Path | None,
    tools: Sequence[str] | None,
    progress: Progress | None = None,
    *,
    backend: Backend = "transformers",
    form: FormatName | None = None,
) -> ToolkenAgent:
    """Return an agent with a saved head or the demo's head, which is fitted at first use and cached.

    Parameters
    ----------
    form
        The format of conversations; by default that of the saved head, and questions and answers without one.

    Raises
    ------
    ToolkenError
        If the LM, the head or the tools cannot be loaded, or do not fit together.
    """
    runnable = read_tools(tools) if tools else demo_tools()
    saved = ToolkenHead.from_pretrained(head) if head else None
    loaded = FrozenLM.from_pretrained(lm or (saved.lm_name if saved else None), backend=backend)
    if saved is None:
        written = PROMPT if form in (None, "question") else named_format(form, loaded)
        saved, form = _kept_head(loaded, demo_tools(), written, progress), None
    elif not tools:
        missing = [name for name in saved.names if name not in {one.name for one in runnable}]
        if missing:
            raise HeadError(
                f"The head has the tool {missing[0]!r}, which is not among the demo's tools: "
                "name the source of its tools with --tools, such as module:attribute."
            )
    return ToolkenAgent(loaded, saved, runnable, options=None if tools else calculator_options(saved), format=form)


def calculator_options(head: ToolkenHead) -> DecodingOptions:
    """Return decoding options for a head with the calculator's operations: later calls follow its examples' habits."""
    return DecodingOptions(copy_rule=NumberHabits.of_head(head))


def _kept_head(
    lm: FrozenLM, tools: Sequence[BaseTool], form: ConversationFormat, progress: Progress | None
) -> ToolkenHead:
    examples = demo_examples()
    parts = [
        lm.fingerprint,
        form.fingerprint,
        *(ToolSpec.of(one).digest for one in tools),
        *(e.model_dump_json() for e in examples),
    ]
    digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
    folder = cache_folder() / "heads" / f"demo-{digest}"
    if (folder / HEAD_FILE).is_file():
        try:
            return ToolkenHead.from_pretrained(folder, lm)
        except HeadError:
            pass  # written by another version: fit again
    fitted = fit(lm, tools, examples, prompt=form, progress=progress)
    fitted.save_pretrained(folder)
    return fitted


def show_answer(agent: ToolkenAgent, question: str, console: Console) -> Answer:
    """Print an answer while it is decoded: text, each call with its probability and arguments, results."""
    console.print(Text(question, style="bold"))
    line = ""
    for event in agent.events(question):
        if isinstance(event, Answer):
            if line:
                console.print()
            console.print(Text(f"  {event.text}", style="green"), soft_wrap=True)
            return event
        line = _show_event(event, line, console)
    raise AssertionError("an agent's events end with its answer")


def _show_event(event: AgentEvent, line: str, console: Console) -> str:
    """Print one event and return the text of the current line."""
    match event:
        case TextPiece(text) if not line and not any(map(str.isalnum, text)):
            return line  # punctuation after a result, which the answer below repeats
        case TextPiece(text):
            console.print(Text(text if line else f"  {text.lstrip()}", style="dim"), end="")
            return line + text
        case CallStarted(name, probability, runners_up):
            if line:
                console.print()
            others = ", ".join(f"{other} {p:.2f}" for other, p in runners_up[:3])
            console.print(Text.assemble("  ", (name, "cyan"), f" {probability:.2f}", (f"   before {others}", "dim")))
            return ""
        case CallFinished(_, arguments, _, _):
            written = json.dumps(arguments, ensure_ascii=False)
            console.print(Text(f"    {written}", style="yellow"), end="")
            return written
        case ToolResult(_, text, failed):
            arrow = "→" if console.encoding.startswith("utf") else "->"
            console.print(Text(f" {arrow} {text}", style="red" if failed else "magenta"), soft_wrap=True)
            return ""
        case _:
            return line


def is_right(task: Task, answer: Answer) -> bool:
    """Return whether an answer is right: by its last result if a tool is needed, else by its text."""
    if task.kind == "no tool":
        return not answer.steps and task.right.lower() in answer.text.lower()
    return bool(answer.steps) and answer.steps[-1].result == task.right


def run_demo(lm: str | None, console: Console, *, backend: Backend = "transformers") -> int:
    """Run the demo and return the number of right answers."""
    begun = time.perf_counter()
    console.print("[bold]toolken[/]: a frozen language model whose tools are tokens. CPU only, no network.\n")
    loaded = FrozenLM.from_pretrained(lm, backend=backend)
    examples, tools = demo_examples(), demo_tools()
    console.print(f"LM: {loaded.name}, {loaded.hidden_size} dimensions, a vocabulary of {loaded.vocab_size} tokens")
    console.print(f"Tools: {len(tools)}; examples: {len(examples)}, without the questions below")
    ready = time.perf_counter()
    with progress_bar(console) as progress:
        head = fit(loaded, tools, examples, prompt=PROMPT, progress=progress)
        agent = ToolkenAgent(loaded, head, tools, options=calculator_options(head))
    fitted = time.perf_counter() - ready
    console.print(f"Fitted {len(tools)} toolkens in {fitted:.1f} s\n")

    table = Table(title="Answers")
    for heading, justify in (("question", "left"), ("kind", "left"), ("answer", "left"), ("seconds", "right")):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    table.add_column("right")
    right = 0
    for task in TASKS:
        if task.kind == "new tool":
            added = time.perf_counter()
            agent = ToolkenAgent(loaded, head, [*tools, weekday_of], options=calculator_options(head))
            spent = time.perf_counter() - added
            console.print(f"[dim]Added a tool by its description alone in {spent:.2f} s: {weekday_of.description}[/]")
        started = time.perf_counter()
        answer = show_answer(agent, task.question, console)
        spent = time.perf_counter() - started
        good = is_right(task, answer)
        right += good
        table.add_row(task.question, task.kind, answer.text, f"{spent:.1f}", "[green]yes[/]" if good else "[red]no[/]")
        console.print()
    console.print(table)
    console.print(
        f"{right} of {len(TASKS)} right; {fitted:.1f} s to fit {len(tools)} tools on {len(examples)} examples; "
        f"{time.perf_counter() - begun:.0f} s in total"
    )
    return right
