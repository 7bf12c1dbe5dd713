"""Conversations in a chat template: LangChain messages as turns, and what a turn's decoding needs to know of them."""

import json
from collections.abc import Sequence
from dataclasses import replace

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from toolken.agents.conversation import Prompt, calls_of, canonical, split_tool_results, successful_calls, to_prompt
from toolken.agents.errors import InputError
from toolken.agents.exchanges import exchanges_of, exchanges_without_calls, last_question
from toolken.agents.text_content import message_text
from toolken.training.prompts.chat_format import ChatTemplateFormat
from toolken.training.prompts.conversation_format import ConversationFormat
from toolken.training.prompts.prompt_format import PromptFormat
from toolken.training.prompts.turns import Turn, TurnCall, as_read

#: Largest number of characters of a tool's result in the conversation.
MAX_RESULT = 8000


def conversation_prompt(messages: Sequence[BaseMessage], form: ConversationFormat) -> Prompt:
    """Return a conversation as the LM reads it in a format.

    Raises
    ------
    InputError
        If there is no message, or one has content other than text.
    TemplateError
        If a chat template cannot write the conversation in any form.
    """
    return to_prompt(messages, form) if isinstance(form, PromptFormat) else to_chat_prompt(messages, form)


def to_turns(messages: Sequence[BaseMessage]) -> list[Turn]:
    """Return messages as turns.

    Raises
    ------
    InputError
        If a message has content other than text.
    """
    turns = []
    names: dict[str, str] = {}
    for message in split_tool_results(messages):
        content = message_text(message)
        if isinstance(message, SystemMessage):
            turns.append(Turn("system", content))
        elif isinstance(message, ToolMessage):
            name = message.name or names.get(message.tool_call_id, "")
            turns.append(Turn("tool", result_text(content), name=name))
        elif isinstance(message, AIMessage):
            calls = calls_of(message)
            names.update({key: name for key, (name, _) in calls.items()})
            turns.append(Turn("assistant", content, tuple(TurnCall(*call) for call in calls.values())))
        else:
            turns.append(Turn("user", content))
    return turns


def to_chat_prompt(messages: Sequence[BaseMessage], form: ChatTemplateFormat) -> Prompt:
    """Return a conversation as the LM reads it in its chat template.

    Raises
    ------
    InputError
        If there is no message, or one has content other than text.
    TemplateError
        If the template cannot write the conversation in any form.
    """
    if not messages:
        raise InputError("There is no message to answer: give at least one.")
    turns = to_turns(messages)
    decision = form.conversation(turns)
    text = decision if form.takes_tools else form.conversation(as_read(turns))
    progress = _progress(list(split_tool_results(messages)))
    said = [turn.text for turn in turns if turn.text]
    arguments = [json.dumps(call.args, ensure_ascii=False) for turn in turns for call in turn.calls if call.args]
    return replace(progress, text=text, decision=decision, context="\n".join([*arguments, *said]), turns=tuple(turns))


def result_text(content: str) -> str:
    """Return a tool's result without control characters, at most `MAX_RESULT` characters long."""
    read = "".join(c if c.isprintable() or c in "\n\t" else " " for c in content[: MAX_RESULT + 1]).strip()
    return read if len(content) <= MAX_RESULT else read[: MAX_RESULT - 1] + "…"


def _progress(messages: Sequence[BaseMessage]) -> Prompt:
    """Return the last question and what has been done for it, without the text of the conversation."""
    begin = last_question(messages)
    question = [message_text(one).strip() for one in messages[begin:] if isinstance(one, HumanMessage)]
    called = {key: call for one in messages if isinstance(one, AIMessage) for key, call in calls_of(one).items()}
    results: list[str] = []
    before = []
    failed: dict[str, str] = {}
    answered = set()
    calls = 0
    for message in messages[begin:]:
        if isinstance(message, AIMessage):
            calls += len(calls_of(message)) + len(message.invalid_tool_calls)
        if not isinstance(message, ToolMessage):
            continue
        call = called.get(message.tool_call_id)
        if call is not None:
            answered.add((call[0], canonical(call[1])))
        content = result_text(message_text(message))
        if message.status == "error":
            failed[message.name or (call[0] if call else "")] = content
        else:
            results.append(content)
            before += [call[1]] if call else []
    return Prompt(
        text="",
        decision="",
        answer="",
        question="\n".join(question),
        results=tuple(results),
        context="",
        ends_with_result=isinstance(messages[-1], ToolMessage) and bool(results),
        failed=frozenset(failed),
        answered=frozenset(answered),
        calls=calls,
        before=tuple(before),
        errors=tuple(failed.items()),
        exchanges=tuple(exchanges_of(messages[:begin])),
        earlier=tuple(exchanges_without_calls(messages[:begin])),
        earlier_calls=tuple(successful_calls(messages[:begin])),
    )
