"""`input_messages`: what an agent is invoked with, as messages."""

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import BaseMessage, HumanMessage, convert_to_messages
from langchain_core.prompt_values import PromptValue

from toolken.agents.errors import InputError

#: First elements of a tuple that is one message.
ROLES = frozenset({"user", "human", "assistant", "ai", "system", "developer", "tool", "function"})

ACCEPTED = (
    'give a question, a message, a list of messages, {"messages": [...]}, or {"input": ...} with an optional '
    '"chat_history"'
)


def input_messages(given: Any) -> list[BaseMessage]:
    """Return the conversation that an agent is invoked with.

    Raises
    ------
    InputError
        If it is none of the accepted forms.

    Examples
    --------
    >>> [message.text for message in input_messages({"messages": [("user", "Hello")]})]
    ['Hello']
    """
    if isinstance(given, str):
        return [HumanMessage(given)]
    if isinstance(given, BaseMessage):
        return [given]
    if isinstance(given, PromptValue):
        return given.to_messages()
    if isinstance(given, Mapping):
        return _of_mapping(given)
    if isinstance(given, Sequence) and not isinstance(given, bytes | bytearray):
        if len(given) == 2 and isinstance(given, tuple) and given[0] in ROLES and not isinstance(given[1], BaseMessage):
            return _converted([given])
        return _converted(list(given))
    raise InputError(f"An agent cannot be asked {given!r:.120} ({type(given).__name__}): {ACCEPTED}.")


def _of_mapping(given: Mapping[str, Any]) -> list[BaseMessage]:
    if "role" in given or ("type" in given and "content" in given):
        return _converted([given])
    if ("messages" in given) is ("input" in given):
        raise InputError(f"An agent cannot be asked a dict with the keys {sorted(map(str, given))}: {ACCEPTED}.")
    if "messages" in given:
        return input_messages(given["messages"])
    history = given.get("chat_history") or []
    return [*(input_messages(history) if history else []), *input_messages(given["input"])]


def _converted(messages: Sequence[Any]) -> list[BaseMessage]:
    try:
        return convert_to_messages(messages)
    except (NotImplementedError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{messages!r:.120} cannot be read as messages ({str(error)[:200]}): {ACCEPTED}.") from error
