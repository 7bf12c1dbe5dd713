"""The baselines that know tools from their prompt alone, or not at all: the same LM, the same questions, no toolken."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages.tool import tool_call
from langchain_core.tools import BaseTool

from toolken.agents.tool_runner import ToolRunner
from toolken.benchmarks.end_to_end.solved_examples import ReadOperands, Solved
from toolken.benchmarks.end_to_end.traces import Attempt, TracePiece
from toolken.benchmarks.end_to_end.trials import Answerer, Question
from toolken.benchmarks.methods.generation import Continuations
from toolken.training.lm import FrozenLM

#: Calls that one question may take.
MAX_CALLS = 8
_INLINE = re.compile(r"<?(?P<tool>\w+)>?\((?P<operands>[^()]*)$")
_ACTION = re.compile(r"Action:\s*<?(?P<tool>\w+)>?\s*[\[(](?P<operands>.*?)[\])]?\s*$", re.DOTALL)
_CALL_JSON = re.compile(r"\{.*\}", re.DOTALL)


@dataclass(frozen=True)
class Dialogue:
    """How a baseline asks and is answered.

    Attributes
    ----------
    beginning
        Text in front of every question: instructions, tools, demonstrations.
    asked
        Writes a question, up to where the LM goes on.
    stop
        Texts at which the answer ends.
    final
        Finds the final answer in the whole answer.
    max_tokens
        Bound on what is written between two calls.
    call_stop
        Text at which a call has been written and its result is wanted; None where no tool is called.
    call
        Reads a call off the end of what was written before `call_stop`: the tool and its operands; None if it has none.
    result
        How a result is written into the text.
    special
        Whether the texts hold special tokens.
    """

    beginning: str
    asked: Callable[[str], str]
    stop: tuple[str, ...]
    final: Callable[[str], str]
    max_tokens: int
    call_stop: str | None = None
    call: Callable[[str], tuple[str, str] | None] = lambda _: None
    result: Callable[[str], str] = lambda text: text
    special: bool = False


@dataclass
class _Going:
    """An answer that is being written."""

    text: str = ""
    pieces: list[TracePiece] = field(default_factory=list)
    calls: int = 0
    done: bool = False


def written(
    lm: FrozenLM, dialogue: Dialogue, tools: Sequence[BaseTool] = (), read_operands: ReadOperands | None = None
) -> Answerer:
    """Return what answers questions by a dialogue; calls that are written are made, and their results written in.

    An answer that fills the LM's context by its calls ends there, and is scored as it stands.
    """
    continuations = Continuations(lm, dialogue.beginning, special=dialogue.special)
    runner = ToolRunner({tool.name: tool for tool in tools}, timeout=None, retries=0)

    def answer(questions: Sequence[Question]) -> list[Attempt]:
        going = [_Going() for _ in questions]
        while left := [at for at, one in enumerate(going) if not one.done]:
            texts = {at: dialogue.asked(questions[at].text) + going[at].text for at in left}
            for at in left:
                going[at].done = bool(going[at].calls) and not continuations.fits(texts[at])
            left = [at for at in left if not going[at].done]
            stop = dialogue.stop if dialogue.call_stop is None else (dialogue.call_stop, *dialogue.stop)
            found = continuations.write([texts[at] for at in left], stop=stop, max_tokens=dialogue.max_tokens)
            for at, (text, ended_by) in zip(left, found, strict=True):
                _go_on(going[at], text, ended_by, dialogue, runner, read_operands)
        return [Attempt(pieces=tuple(one.pieces), answer=dialogue.final(one.text)) for one in going]

    return answer


def _go_on(
    one: _Going,
    text: str,
    ended_by: str | None,
    dialogue: Dialogue,
    runner: ToolRunner,
    read_operands: ReadOperands | None,
) -> None:
    """Add what was written to an answer, and the result of the call it ends with."""
    one.text += text
    if text:
        one.pieces.append(TracePiece(text=text))
    called = dialogue.call(text) if ended_by is not None and ended_by == dialogue.call_stop else None
    if called is None or one.calls >= MAX_CALLS:
        # A stop text of calls behind which nothing can be read as one ends the answer: it would come again for ever.
        one.done = True
        return
    one.calls += 1
    tool, operands = called
    piece = _run(tool, operands, runner, read_operands)
    one.pieces.append(piece)
    assert ended_by is not None
    one.text += ended_by + dialogue.result(piece.result)


def _run(tool: str, operands: str, runner: ToolRunner, read_operands: ReadOperands | None) -> TracePiece:
    """Make a call that was written as text."""
    if tool not in runner.tools or read_operands is None:
        return TracePiece(tool=tool, result="There is no such tool.", failed=True)
    try:
        arguments = read_operands(tool, operands)
    except ValueError as error:
        return TracePiece(tool=tool, result=str(error), failed=True)
    message = runner.run(tool_call(name=tool, args=arguments, id="call"))
    return TracePiece(tool=tool, arguments=arguments, result=str(message.text), failed=message.status == "error")


def zero_shot(lm: FrozenLM, opening: str, *, max_tokens: int) -> Dialogue:
    """Return the dialogue without tools and demonstrations."""
    return Dialogue(
        "", lambda q: f"Question: {q.strip()}\nAnswer:{opening}", ("\n",), lambda text: text.strip(), max_tokens
    )


def chain_of_thought(shown: Sequence[Solved], *, max_tokens: int) -> Dialogue:
    """Return the dialogue of demonstrations that reason step by step (Wei et al. 2022, arXiv 2201.11903)."""
    blocks = "".join(
        f"Question: {one.question.strip()}\nAnswer: {_thoughts(one.plain)} The answer is {one.final}.\n\n"
        for one in shown
    )
    return Dialogue(blocks, lambda q: f"Question: {q.strip()}\nAnswer:", ("\n\n", "Question:"), concluded, max_tokens)


def in_context(tools: str, shown: Sequence[Solved], *, max_tokens: int) -> Dialogue:
    """Return the dialogue of tools that are described in the prompt and called in the middle of the answer."""
    blocks = "".join(
        f"Question: {one.question.strip()}\nAnswer: {_thoughts(one.inline)} The answer is {one.final}.\n\n"
        for one in shown
    )
    return Dialogue(
        f"Answer the questions. These tools can be called, as <tool>(operands)=:\n{tools}\n{blocks}",
        lambda q: f"Question: {q.strip()}\nAnswer:",
        ("\n\n", "Question:"),
        concluded,
        max_tokens,
        call_stop=")=",
        call=_inline_call,
    )


def react(tools: str, shown: Sequence[Solved], *, max_tokens: int) -> Dialogue:
    """Return the dialogue of thoughts, actions and observations (Yao et al. 2023, arXiv 2210.03629)."""
    blocks = "".join(f"Question: {one.question.strip()}\n{one.steps}\n\n" for one in shown)
    return Dialogue(
        "Answer the questions by thoughts, actions and observations. An action is the call of one of these tools:\n"
        f"{tools}\n{blocks}",
        lambda q: f"Question: {q.strip()}\nThought:",
        ("\n\n", "Question:"),
        lambda text: text.rpartition("Answer:")[2].strip() if "Answer:" in text else "",
        max_tokens,
        call_stop="\nObservation:",
        call=_action,
        result=lambda text: f" {text}\nThought:",
    )


def has_tool_template(lm: FrozenLM) -> bool:
    """Tell whether the LM's chat template takes tools."""
    return "tools" in str(getattr(lm.tokenizer, "chat_template", None) or "")


def chat_template(lm: FrozenLM, tools: Sequence[dict[str, Any]], *, max_tokens: int) -> Dialogue:
    """Return the dialogue of the LM's own chat template, which takes tools."""
    mark = "\u0001"
    text = str(
        lm.tokenizer.apply_chat_template(
            [{"role": "user", "content": mark}], tools=list(tools), tokenize=False, add_generation_prompt=True
        )
    )
    before, _, behind = text.partition(mark)
    return Dialogue(
        before,
        lambda q: q.strip() + behind,
        ("<|im_end|>", "<|endoftext|>"),
        lambda text: text.rpartition("</tool_response>")[2].strip(),
        max_tokens,
        call_stop="</tool_call>",
        call=_json_call,
        result=lambda text: f"\n<tool_response>{text}</tool_response>\n",
        special=True,
    )


def read_json(tool: str, operands: str) -> dict[str, Any]:
    """Read arguments that are written as JSON.

    Raises
    ------
    ValueError
        If they are not a JSON object.
    """
    arguments = json.loads(operands)
    if not isinstance(arguments, dict):
        raise ValueError("The arguments are no JSON object.")
    return arguments


def concluded(text: str) -> str:
    """Return what stands behind the last "The answer is", or behind "####"; else the last line."""
    for mark in ("The answer is", "####"):
        if mark in text:
            return text.rpartition(mark)[2].strip().removesuffix(".")
    return text.strip().rpartition("\n")[2]


def _thoughts(text: str) -> str:
    """Return a solution on one line, without the mark of its final answer."""
    return " ".join(text.partition("####")[0].split())


def _inline_call(text: str) -> tuple[str, str] | None:
    found = _INLINE.search(text)
    return (found["tool"], found["operands"]) if found else None


def _action(text: str) -> tuple[str, str] | None:
    found = _ACTION.search(text)
    return (found["tool"], found["operands"]) if found else None


def _json_call(text: str) -> tuple[str, str] | None:
    found = _CALL_JSON.search(text.rpartition("<tool_call>")[2])
    try:
        call = json.loads(found[0]) if found else None
        return (str(call["name"]), json.dumps(call["arguments"])) if call else None
    except (ValueError, KeyError, TypeError):
        return None
