"""Exchanges: the questions of a conversation with their answers, whatever its format."""

from collections.abc import Iterator, Sequence

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

from toolken.agents.text_content import message_text


def exchanges_of(messages: Sequence[BaseMessage]) -> list[tuple[str, str]]:
    """Return questions with their answers; where the assistant said nothing, the first result of its calls.

    Consecutive questions are one question, and of several answers in words the last one counts.

    Examples
    --------
    >>> exchanges_of([HumanMessage("How warm is it?"), ToolMessage("17 degrees", tool_call_id="1")])
    [('How warm is it?', '17 degrees')]
    """
    found: list[tuple[str, str]] = []
    for exchange in _exchanges(messages):
        said = [text for one in exchange if isinstance(one, AIMessage) and (text := message_text(one).strip())]
        results = [text for one in exchange if isinstance(one, ToolMessage) and (text := message_text(one).strip())]
        found.append((_question(exchange), next(iter([*said[-1:], *results]), "")))
    return found


def exchanges_without_calls(messages: Sequence[BaseMessage]) -> list[tuple[str, str]]:
    """Return question and answer of the last exchanges, back to the last one with a call.

    Examples
    --------
    >>> exchanges_without_calls([HumanMessage("Wake me up."), AIMessage("At what time?")])
    [('Wake me up.', 'At what time?')]
    """
    found: list[tuple[str, str]] = []
    for exchange in reversed(list(_exchanges(messages))):
        answers = [one for one in exchange if isinstance(one, AIMessage)]
        if any(isinstance(one, ToolMessage) for one in exchange) or any(map(has_calls, answers)):
            break
        found.insert(0, (_question(exchange), "\n".join(message_text(one).strip() for one in answers).strip()))
    return found


def last_question(messages: Sequence[BaseMessage]) -> int:
    """Return the index of the first of the messages that ask the last question; 0 if none asks."""
    begin = max((at for at, message in enumerate(messages) if isinstance(message, HumanMessage)), default=0)
    while begin > 0 and isinstance(messages[begin - 1], HumanMessage):
        begin -= 1
    return begin


def has_calls(message: AIMessage) -> bool:
    """Tell whether a message has calls, those in content blocks of Anthropic's form and invalid ones included."""
    blocks = message.content if isinstance(message.content, list) else []
    return bool(
        message.tool_calls
        or message.invalid_tool_calls
        or any(isinstance(block, dict) and block.get("type") == "tool_use" for block in blocks)
    )


def _exchanges(messages: Sequence[BaseMessage]) -> Iterator[list[BaseMessage]]:
    """Yield the messages of each exchange, its question first; what precedes the first question is none."""
    exchange: list[BaseMessage] = []
    for message in messages:
        if isinstance(message, HumanMessage):
            if exchange and not isinstance(exchange[-1], HumanMessage):
                yield exchange
                exchange = []
            exchange.append(message)
        elif exchange and isinstance(message, AIMessage | ToolMessage):
            exchange.append(message)
    if exchange:
        yield exchange


def _question(exchange: Sequence[BaseMessage]) -> str:
    return "\n".join(message_text(one).strip() for one in exchange if isinstance(one, HumanMessage)).strip()
