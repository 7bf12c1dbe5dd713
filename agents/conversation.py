"""Conversations: LangChain messages become the one text that the LM continues."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from toolken.agents.retry import corrected
from toolken.training.prompts.prompt_format import MAX_RESULT, PromptFormat

#: Words that a part of a question has at least; fewer are hardly a request.
MIN_WORDS = 3
#: Where one request ends and another may begin.
_JOINTS = re.compile(r"(?<=[.!?])\s+|;\s+|,?\s+(?:and then|and also|and|then|also|as well as)\s+", re.IGNORECASE)


@dataclass(frozen=True)
class Prompt:
    """A conversation as the LM sees it.

    Attributes
    ----------
    text
        The whole text up to the place where the LM goes on.
    answer
        The part of it that belongs to the answer that is being written.
    question
        What the user asked last.
    results
        Results of the calls made for this question so far.
    context
        What users wrote and tools returned: where copied arguments come from.
    ends_with_result
        Whether the text ends with a result, so that the next decision is on another call.
    failed
        Names of the tools that failed for this question; calling them again would fail again.
    corrected
        Calls that were refused, with the names that their tools offer instead (`corrected`): these are made next.
    answered
        Calls of this question that have been answered, each by the tool's name and its arguments as `canonical` writes
        them.
    calls
        Number of calls that were made for this question, answered or not.
    before
        Arguments of the calls that brought the results, in their order.
    """

    text: str
    answer: str
    question: str
    results: tuple[str, ...]
    context: str
    ends_with_result: bool = False
    failed: frozenset[str] = frozenset()
    corrected: tuple[tuple[str, dict[str, Any]], ...] = ()
    answered: frozenset[tuple[str, str]] = frozenset()
    calls: int = 0
    before: tuple[dict[str, Any], ...] = ()


@dataclass
class _Turn:
    question: str
    answer: str = ""
    results: list[str] = field(default_factory=list)
    ends_with_result: bool = False
    failed: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    corrected: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    answered: set[tuple[str, str]] = field(default_factory=set)
    calls: int = 0
    before: list[dict[str, Any]] = field(default_factory=list)


def to_prompt(messages: Sequence[BaseMessage], prompt: PromptFormat) -> Prompt:
    """Write messages as one text.

    A turn is a question and one growing answer. The content of an AI message is the answer so far, so a message that
    follows tool results either repeats them (as this project's own messages do) or goes on after them. A result is
    written where its call stood.

    Raises
    ------
    ValueError
        If there is no message.
    """
    if not messages:
        raise ValueError("There is no message to answer: give at least one.")
    system: list[str] = []
    turns: list[_Turn] = []
    called: dict[str, tuple[str, dict[str, Any]]] = {}
    for message in messages:
        content = str(message.text).strip()
        if isinstance(message, SystemMessage):
            system.append(content)
        elif isinstance(message, ToolMessage):
            call = called.get(message.tool_call_id)
            if call is not None:
                _current(turns).answered.add((call[0], canonical(call[1])))
            if message.status == "error":
                _refuse(_current(turns), message.name or (call[0] if call else ""), call, content)
            else:
                _append_result(_current(turns), content, prompt)
                _current(turns).before += [call[1]] if call else []
        elif isinstance(message, AIMessage):
            _current(turns).corrected = []
            called.update({str(one["id"]): (one["name"], one["args"]) for one in message.tool_calls})
            _current(turns).calls += len(message.tool_calls) + len(message.invalid_tool_calls)
            _append_answer(_current(turns), content, prompt)
        elif turns and isinstance(message, HumanMessage) and not turns[-1].answer and not turns[-1].results:
            # Two questions in a row are one question in two parts.
            turns[-1].question = f"{turns[-1].question}\n{content}".strip()
        else:
            turns.append(_Turn(content))
    current = _current(turns)
    if not current.answer:
        current.answer = prompt.opening
    written = [prompt.prompt(turn.question).removeprefix(prompt.preamble) + turn.answer for turn in turns]
    head = prompt.preamble + "".join(prompt.system.replace("{system}", text) for text in system)
    context = "\n".join("\n".join([turn.question, *turn.results]) for turn in turns)
    return Prompt(
        text=head + prompt.separator.join(written),
        answer=current.answer,
        question=current.question,
        results=tuple(current.results),
        context=context,
        ends_with_result=current.ends_with_result,
        failed=frozenset(current.failed),
        corrected=tuple(one for one in current.corrected if (one[0], canonical(one[1])) not in current.answered),
        answered=frozenset(current.answered),
        calls=current.calls,
        before=tuple(current.before),
    )


def canonical(arguments: dict[str, Any]) -> str:
    """Return arguments as JSON text that is equal for equal arguments."""
    return json.dumps(arguments, sort_keys=True, ensure_ascii=False, default=str)


def parts_of(question: str) -> list[str]:
    """Return the sentences and clauses of a question, each a question of its own; one part is the question itself."""
    parts = [part.strip(" ,;") for part in _JOINTS.split(question)]
    return [part for part in parts if len(part.split()) >= MIN_WORDS]


def result_text(content: str) -> str:
    """Return a tool's result as it is written into the text: one line, no control characters, of bounded length."""
    read = content[: 4 * MAX_RESULT]
    line = " ".join("".join(c if c.isprintable() else " " for c in read).split())
    whole = len(read) == len(content) and len(line) <= MAX_RESULT
    return line if whole else line[: MAX_RESULT - 1] + "…"


def _current(turns: list[_Turn]) -> _Turn:
    if not turns:
        turns.append(_Turn(""))
    return turns[-1]


def _append_result(turn: _Turn, content: str, prompt: PromptFormat) -> None:
    text = result_text(content)
    if not turn.answer:
        turn.answer = prompt.opening
    turn.answer += prompt.result(text, follows_result=turn.ends_with_result)
    turn.results.append(text)
    turn.ends_with_result = True


def _refuse(turn: _Turn, tool: str, call: tuple[str, dict[str, Any]] | None, complaint: str) -> None:
    """Note a call that failed: an error is not part of an answer, and what is done about it is remembered."""
    better = None if call is None or tool in turn.refused else corrected(call[1], complaint, turn.question)
    turn.refused.add(tool)
    if better is None:
        turn.failed.add(tool)
    else:
        turn.corrected.append((tool, better))


def _append_answer(turn: _Turn, content: str, prompt: PromptFormat) -> None:
    if not content:
        return
    if content.startswith(turn.answer.strip()):
        grown = len(content) > len(turn.answer.strip())
        turn.answer = f" {content}"
    else:
        grown = True
        turn.answer += f" {content}"
    turn.ends_with_result = turn.ends_with_result and not grown
