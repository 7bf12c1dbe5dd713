"""Conversations: LangChain messages are rendered as one text, which the LM continues."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from toolken.agents.errors import InputError
from toolken.agents.exchanges import exchanges_of, exchanges_without_calls, last_question
from toolken.agents.text_content import blocks_text, message_text
from toolken.training.lm.marked_text import MarkedText
from toolken.training.prompts.prompt_format import MAX_RESULT, PromptFormat
from toolken.training.prompts.turns import Turn


@dataclass(frozen=True)
class Prompt:
    """A conversation as the LM reads it.

    Attributes
    ----------
    text
        The whole text, up to the position at which the LM continues.
    answer
        The end of `text` that belongs to the answer being written.
    question
        The user's last question.
    results
        Results of this question's calls so far.
    context
        All questions and tool results: the source of copied arguments.
    ends_with_result
        Whether `text` ends with a result, so that the next decision is about another call.
    failed
        Names of the tools whose calls failed for this question.
    answered
        Calls of this question that have a result or an error: the tool's name and `canonical(arguments)`.
    calls
        Number of calls made for this question, answered or not.
    before
        Arguments of the calls that brought `results`, in the same order.
    decision
        The text whose last token is the decision position; unlike `text`, it may introduce another result.
    turns
        The conversation as turns, in a chat template.
    errors
        Name and message of each tool whose call failed for this question.
    exchanges
        All turns before, question and answer.
    earlier
        The turns directly before, as far as they had no call: question and answer, in order.
    earlier_calls
        Name and arguments of the calls for earlier questions that did not fail.
    """

    text: str | MarkedText
    answer: str
    question: str
    results: tuple[str, ...]
    context: str
    ends_with_result: bool = False
    failed: frozenset[str] = frozenset()
    answered: frozenset[tuple[str, str]] = frozenset()
    calls: int = 0
    before: tuple[dict[str, Any], ...] = ()
    decision: str | MarkedText = ""
    turns: tuple[Turn, ...] = ()
    errors: tuple[tuple[str, str], ...] = ()
    exchanges: tuple[tuple[str, str], ...] = ()
    earlier: tuple[tuple[str, str], ...] = ()
    earlier_calls: tuple[tuple[str, dict[str, Any]], ...] = ()


@dataclass
class _Turn:
    question: str
    answer: str = ""
    results: list[str] = field(default_factory=list)
    ends_with_result: bool = False
    failed: dict[str, str] = field(default_factory=dict)
    answered: set[tuple[str, str]] = field(default_factory=set)
    calls: int = 0
    before: list[dict[str, Any]] = field(default_factory=list)


def to_prompt(messages: Sequence[BaseMessage], prompt: PromptFormat) -> Prompt:
    """Render messages as one text.

    A turn is a question and one growing answer. The content of an AI message is the whole answer so far, so a message
    that follows tool results either repeats them (as this project's own messages do) or continues after them. A result
    replaces its call in the text. Errors of tools are not part of the answer.

    Raises
    ------
    InputError
        If there is no message, or one has content other than text.
    """
    if not messages:
        raise InputError("There is no message to answer: give at least one.")
    system: list[str] = []
    turns: list[_Turn] = []
    called: dict[str, tuple[str, dict[str, Any]]] = {}
    said = list(split_tool_results(messages))
    for message in said:
        content = message_text(message).strip()
        if isinstance(message, SystemMessage):
            system.append(content)
        elif isinstance(message, ToolMessage):
            _append_tool_message(_current(turns), message, content, called.get(message.tool_call_id), prompt)
        elif isinstance(message, AIMessage):
            calls = calls_of(message)
            called.update(calls)
            _current(turns).calls += len(calls) + len(message.invalid_tool_calls)
            _append_answer(_current(turns), content, prompt)
        elif turns and isinstance(message, HumanMessage) and not turns[-1].answer and not turns[-1].results:
            # Consecutive questions are one question.
            turns[-1].question = f"{turns[-1].question}\n{content}".strip()
        else:
            turns.append(_Turn(content))
    current = _current(turns)
    if not current.answer:
        current.answer = prompt.opening
    written = [prompt.prompt(turn.question).removeprefix(prompt.preamble) + turn.answer for turn in turns]
    head = prompt.preamble + "".join(prompt.system.replace("{system}", text) for text in system)
    text = head + prompt.separator.join(written)
    # After a result, the decision follows the text that would introduce another result.
    opened = not current.ends_with_result and current.answer == prompt.opening
    ahead = prompt.between if current.ends_with_result else prompt.leading(current.question) if opened else ""
    context = "\n".join("\n".join([turn.question, *turn.results]) for turn in turns)
    before = said[: last_question(said)]
    return Prompt(
        text=text,
        answer=current.answer,
        question=current.question,
        results=tuple(current.results),
        context=context,
        ends_with_result=current.ends_with_result,
        failed=frozenset(current.failed),
        answered=frozenset(current.answered),
        calls=current.calls,
        before=tuple(current.before),
        decision=text + ahead,
        errors=tuple(current.failed.items()),
        exchanges=tuple(exchanges_of(before)),
        earlier=tuple(exchanges_without_calls(before)),
        earlier_calls=tuple(successful_calls(before)),
    )


def canonical(arguments: dict[str, Any]) -> str:
    """Return arguments as JSON text with sorted keys, the same for equal arguments."""
    return json.dumps(arguments, sort_keys=True, ensure_ascii=False, default=str)


def result_text(content: str) -> str:
    """Return a tool's result as one line without control characters, at most `MAX_RESULT` characters long."""
    read = content[: 4 * MAX_RESULT]
    line = " ".join("".join(c if c.isprintable() else " " for c in read).split())
    whole = len(read) == len(content) and len(line) <= MAX_RESULT
    return line if whole else line[: MAX_RESULT - 1] + "…"


def _current(turns: list[_Turn]) -> _Turn:
    if not turns:
        turns.append(_Turn(""))
    return turns[-1]


def split_tool_results(messages: Sequence[BaseMessage]) -> Iterator[BaseMessage]:
    """Yield the messages, with the tool results inside user messages (Anthropic's form) as tool messages."""
    for message in messages:
        if not isinstance(message, HumanMessage) or isinstance(message.content, str):
            yield message
            continue
        rest = []
        for block in message.content:
            if isinstance(block, dict) and block.get("type") == "tool_result":
                yield ToolMessage(
                    blocks_text([block], "A tool result"),
                    tool_call_id=str(block.get("tool_use_id", "")),
                    status="error" if block.get("is_error") else "success",
                )
            else:
                rest.append(block)
        if rest or not message.content:
            yield message.model_copy(update={"content": rest})


def calls_of(message: AIMessage) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return name and arguments of a message's calls by id, those in content blocks of Anthropic's form included."""
    found = {}
    if isinstance(message.content, list):
        blocks = [block for block in message.content if isinstance(block, dict) and block.get("type") == "tool_use"]
        found = {str(one.get("id")): (str(one.get("name", "")), dict(one.get("input") or {})) for one in blocks}
    return found | {str(call["id"]): (call["name"], call["args"]) for call in message.tool_calls}


def successful_calls(messages: Sequence[BaseMessage]) -> list[tuple[str, dict[str, Any]]]:
    """Return name and arguments of the calls whose results are no errors, in order."""
    called = {key: call for one in messages if isinstance(one, AIMessage) for key, call in calls_of(one).items()}
    return [
        called[one.tool_call_id]
        for one in messages
        if isinstance(one, ToolMessage) and one.status != "error" and one.tool_call_id in called
    ]


def _append_tool_message(
    turn: _Turn, message: ToolMessage, content: str, call: tuple[str, dict[str, Any]] | None, prompt: PromptFormat
) -> None:
    if call is not None:
        turn.answered.add((call[0], canonical(call[1])))
    if message.status == "error":
        turn.failed[message.name or (call[0] if call else "")] = result_text(content)
        return
    text = result_text(content)
    if not turn.answer:
        turn.answer = prompt.opening
    turn.answer += prompt.result(text, follows_result=turn.ends_with_result)
    turn.results.append(text)
    turn.before += [call[1]] if call else []
    turn.ends_with_result = True


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
