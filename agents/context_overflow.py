"""Conversations longer than the LM's context: the oldest exchanges are dropped, or the turn is refused."""

from collections.abc import Sequence
from typing import Literal

from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage

from toolken.agents.chat_conversation import conversation_prompt
from toolken.agents.conversation import Prompt, split_tool_results
from toolken.agents.decoding.answers import longest_answer
from toolken.agents.exchanges import last_question
from toolken.errors import PromptTooLongError
from toolken.training.lm import FrozenLM
from toolken.training.prompts.conversation_format import ConversationFormat

#: What happens to a conversation that is longer than the context.
Overflow = Literal["drop", "error"]


def fitting_prompt(
    messages: Sequence[BaseMessage],
    form: ConversationFormat,
    lm: FrozenLM,
    overflow: Overflow = "drop",
    max_tokens: int | None = None,
) -> tuple[Prompt, int]:
    """Return a conversation as the LM reads it, and the number of messages dropped because the context is too short.

    Whole exchanges are dropped, the oldest first: a question with its calls, results and answer. System messages and
    the last exchange stay. Room for an answer of `max_tokens` is kept free, at most a quarter of the context. If the
    last exchange alone is too long, decoding raises a `PromptTooLongError` where the LM has to read it.

    Raises
    ------
    InputError
        If there is no message, or one has content other than text.
    PromptTooLongError
        If the conversation is too long, has earlier exchanges, and `overflow` is `"error"`.
    TemplateError
        If a chat template cannot write the conversation in any form.
    """
    prompt = conversation_prompt(messages, form)
    room = lm.max_length - min(longest_answer(max_tokens, form), lm.max_length // 4)
    tokens = _length(prompt, lm)
    if tokens <= room or (overflow == "error" and tokens <= lm.max_length):
        return prompt, 0
    said = list(split_tool_results(messages))
    beginnings = _beginnings(said)
    if overflow == "error" and beginnings:
        raise PromptTooLongError(
            f"The conversation has {tokens} tokens, and {lm.name} takes {lm.max_length}: shorten it with "
            '`trim_messages(token_counter=model)`, or give `overflow="drop"`.'
        )
    kept = said
    for begin in beginnings:
        kept = [*(one for one in said[:begin] if isinstance(one, SystemMessage)), *said[begin:]]
        prompt = conversation_prompt(kept, form)
        if _length(prompt, lm) <= room:
            break
    return prompt, len(said) - len(kept)


def _length(prompt: Prompt, lm: FrozenLM) -> int:
    """Return the tokens of a conversation; short texts, which fit in any case, count by their bytes."""
    size = len(str(getattr(prompt.text, "text", prompt.text)).encode())
    return size if size <= lm.max_length // 2 else len(lm.encode(prompt.text).ids)


def _beginnings(messages: Sequence[BaseMessage]) -> list[int]:
    """Return where each exchange after the first begins."""
    last = last_question(messages)
    return [
        at
        for at in range(1, last + 1)
        if isinstance(messages[at], HumanMessage)
        and not isinstance(messages[at - 1], HumanMessage)
        and any(not isinstance(one, SystemMessage) for one in messages[:at])
    ]
