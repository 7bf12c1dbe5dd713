"""Baselines that know tools from their prompt alone, or not at all, with the same LM and questions and no toolken."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
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

#: Limit of calls per question.
MAX_CALLS = 8
_INLINE = re.compile(r"<?(?P<tool>\w+)>?\((?P<operands>[^()]*)$")
_ACTION = re.compile(r"Action:\s*<?(?P<tool>\w+)>?\s*[\[(](?P<operands>.*?)[\])]?\s*$", re.DOTALL)
_CALL_JSON = re.compile(r"\{.*\}", re.DOTALL)


@dataclass(frozen=True)
class Dialogue:
    """Prompt and parsing rules of a baseline.

    Attributes
    ----------
    beginning
        Text before every question: instructions, tools, few-shot examples.
    render_question
        Renders a question, up to where the LM continues.
    stop
        Texts at which the answer ends.
    final
        Extracts the final answer from the whole answer.
    max_tokens
        Limit of tokens between two calls.
    call_stop
        Text that ends a call, after which its result is inserted; None without tools.
    parse_call
        Parses the call at the end of what the LM wrote before `call_stop`: tool and operands; None if there is none.
    render_result
        Renders a result for insertion into the text.
    special
        Whether the texts contain special tokens.
    """

    beginning: str
    render_question: Callable[[str], str]
    stop: tuple[str, ...]
    final: Callable[[str], str]
    max_tokens: int
    call_stop: str | None = None
    parse_call: Callable[[str], tuple[str, str] | None] = lambda _: None
    render_result: Callable[[str], str] = lambda text: text
    special: bool = False


@dataclass
class _UnfinishedAnswer:
    """An unfinished answer."""

    text: str = ""
    pieces: list[TracePiece] = field(default_factory=list)
    calls: int = 0
    done: bool = False


def dialogue_answerer(
    lm: FrozenLM, dialogue: Dialogue, tools: Sequence[BaseTool] = (), read_operands: ReadOperands | None = None
) -> Answerer:
    """Return an answerer that follows a dialogue: it runs the calls that the LM writes and inserts their results.

    An answer whose calls fill the LM's context ends there and is scored as it is.
    """
    continuations = Continuations(lm, dialogue.beginning, special=dialogue.special)
    runner = ToolRunner({tool.name: tool for tool in tools}, timeout=None, retries=0)

    def answer(questions: Sequence[Question]) -> list[Attempt]:
        answers = [_UnfinishedAnswer() for _ in questions]
        while left := [at for at, one in enumerate(answers) if not one.done]:
            texts = {at: dialogue.render_question(questions[at].text) + answers[at].text for at in left}
            for at in left:
                answers[at].done = bool(answers[at].calls) and not continuations.fits(texts[at])
            left = [at for at in left if not answers[at].done]
            stop = dialogue.stop if dialogue.call_stop is None else (dialogue.call_stop, *dialogue.stop)
            found = continuations.write([texts[at] for at in left], stop=stop, max_tokens=dialogue.max_tokens)
            for at, (text, ended_by) in zip(left, found, strict=True):
                _extend(answers[at], text, ended_by, dialogue, runner, read_operands)
        return [Attempt(pieces=tuple(one.pieces), answer=dialogue.final(one.text)) for one in answers]

    return answer


def _extend(
    one: _UnfinishedAnswer,
    text: str,
    ended_by: str | None,
    dialogue: Dialogue,
    runner: ToolRunner,
    read_operands: ReadOperands | None,
) -> None:
    """Append a continuation to an answer, and the result of the call that it ends with."""
    one.text += text
    if text:
        one.pieces.append(TracePiece(text=text))
    called = dialogue.parse_call(text) if ended_by is not None and ended_by == dialogue.call_stop else None
    if called is None or one.calls >= MAX_CALLS:
        # Without a call that can be parsed, the stop text of calls ends the answer: the LM would repeat it forever.
        one.done = True
        return
    one.calls += 1
    tool, operands = called
    piece = _run(tool, operands, runner, read_operands)
    one.pieces.append(piece)
    assert ended_by is not None
    one.text += ended_by + dialogue.render_result(piece.result)


def _run(tool: str, operands: str, runner: ToolRunner, read_operands: ReadOperands | None) -> TracePiece:
    """Run a call that was written as text."""
    if tool not in runner.tools or read_operands is None:
        return TracePiece(tool=tool, result="There is no such tool.", failed=True)
    try:
        arguments = read_operands(tool, operands)
    except ValueError as error:
        return TracePiece(tool=tool, result=str(error), failed=True)
    message = runner.run(tool_call(name=tool, args=arguments, id="call"))
    return TracePiece(tool=tool, arguments=arguments, result=str(message.text), failed=message.status == "error")


def dialogue_of(
    method: str,
    lm: FrozenLM,
    tools: str,
    shown: Sequence[Solved],
    schemas: Sequence[dict[str, Any]],
    max_tokens: Mapping[str, int],
) -> Dialogue:
    """Return the dialogue of a prompted baseline by the baseline's name.

    Parameters
    ----------
    method
        "zero-shot", "few-shot", "chain-of-thought", "in-context", "react" or "chat-template".
    lm
        The LM.
    tools
        Descriptions of the tools, for "in-context" and "react".
    shown
        Few-shot examples.
    schemas
        OpenAI-style dicts of the tools, for "chat-template".
    max_tokens
        Limit of tokens between two calls, by method.
    """
    most = max_tokens[method]
    match method:
        case "zero-shot":
            return zero_shot(lm, " The answer is", max_tokens=most)
        case "few-shot" | "chain-of-thought":
            return chain_of_thought(shown, max_tokens=most)
        case "in-context":
            return in_context(tools, shown, max_tokens=most)
        case "react":
            return react(tools, shown, max_tokens=most)
        case _:
            return chat_template(lm, schemas, max_tokens=most)


def zero_shot(lm: FrozenLM, opening: str, *, max_tokens: int) -> Dialogue:
    """Return the dialogue without tools and few-shot examples."""
    return Dialogue(
        "", lambda q: f"Question: {q.strip()}\nAnswer:{opening}", ("\n",), lambda text: text.strip(), max_tokens
    )


def chain_of_thought(shown: Sequence[Solved], *, max_tokens: int) -> Dialogue:
    """Return the dialogue of few-shot examples that reason step by step (Wei et al. 2022, arXiv 2201.11903)."""
    blocks = "".join(
        f"Question: {one.question.strip()}\nAnswer: {_thoughts(one.plain)} The answer is {one.final}.\n\n"
        for one in shown
    )
    return Dialogue(
        blocks, lambda q: f"Question: {q.strip()}\nAnswer:", ("\n\n", "Question:"), final_answer, max_tokens
    )


def in_context(tools: str, shown: Sequence[Solved], *, max_tokens: int) -> Dialogue:
    """Return the dialogue with tools described in the prompt and called inside the answer."""
    blocks = "".join(
        f"Question: {one.question.strip()}\nAnswer: {_thoughts(one.inline)} The answer is {one.final}.\n\n"
        for one in shown
    )
    return Dialogue(
        f"Answer the questions. These tools can be called, as <tool>(operands)=:\n{tools}\n{blocks}",
        lambda q: f"Question: {q.strip()}\nAnswer:",
        ("\n\n", "Question:"),
        final_answer,
        max_tokens,
        call_stop=")=",
        parse_call=_inline_call,
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
        parse_call=_action,
        render_result=lambda text: f" {text}\nThought:",
    )


def has_tool_template(lm: FrozenLM) -> bool:
    """Return whether the LM's chat template accepts tools."""
    return "tools" in str(getattr(lm.tokenizer, "chat_template", None) or "")


def chat_template(lm: FrozenLM, tools: Sequence[dict[str, Any]], *, max_tokens: int) -> Dialogue:
    """Return the dialogue of the LM's own chat template, rendered with tools."""
    mark = "\u0001"
    text = str(
        lm.tokenizer.apply_chat_template(
            [{"role": "user", "content": mark}], tools=list(tools), tokenize=False, add_generation_prompt=True
        )
    )
    before, _, after = text.partition(mark)
    return Dialogue(
        before,
        lambda q: q.strip() + after,
        ("<|im_end|>", "<|endoftext|>"),
        lambda text: text.rpartition("</tool_response>")[2].strip(),
        max_tokens,
        call_stop="</tool_call>",
        parse_call=_json_call,
        render_result=lambda text: f"\n<tool_response>{text}</tool_response>\n",
        special=True,
    )


def read_json(tool: str, operands: str) -> dict[str, Any]:
    """Parse arguments written as JSON.

    Raises
    ------
    ValueError
        If they are not a JSON object.
    """
    arguments = json.loads(operands)
    if not isinstance(arguments, dict):
        raise ValueError("The arguments are no JSON object.")
    return arguments


def final_answer(text: str) -> str:
    """Return the text after the last "The answer is", or after the last "####"; else the last line."""
    for mark in ("The answer is", "####"):
        if mark in text:
            return text.rpartition(mark)[2].strip().removesuffix(".")
    return text.strip().rpartition("\n")[2]


def _thoughts(text: str) -> str:
    """Return a solution on one line, without its final answer after "####"."""
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
