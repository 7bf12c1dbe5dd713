"""`ToolPrompt`: a conversation with the tools' schemas in the prompt, as the same LM is asked without toolkens."""

import json
from collections.abc import Sequence
from typing import Any, Protocol

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from toolken.agents.text_content import message_text
from toolken.errors import DataFormatError
from toolken.training.lm import FrozenLM
from toolken.training.tool_spec import ToolSpec

#: What begins and ends a call in the prompts of this module and in most chat templates.
CALL, CALL_END = "<tool_call>", "</tool_call>"

_INSTRUCTION = (
    "You call functions. Answer a request with one call for each thing that is asked for, in the order of the request, "
    f'each written as {CALL}{{"name": ..., "arguments": {{...}}}}{CALL_END}. Take the values from the request and omit '
    "arguments that it says nothing about. If no function fits, if the user does not want a call, or if a required "
    "value is missing or not allowed, answer in words instead and name the value."
)


class ToolPrompt(Protocol):
    """Renders a conversation and tools as the prompt after which the LM writes its answer."""

    def ids(self, messages: Sequence[BaseMessage], tools: Sequence[ToolSpec]) -> list[int]:
        """Return the prompt's token ids.

        Raises
        ------
        DataFormatError
            If the LM's chat template refuses the conversation.
        """
        ...

    def shared_ids(self, messages: Sequence[BaseMessage], tools: Sequence[ToolSpec]) -> list[int]:
        """Return the leading ids that depend on the tools alone; a server with a prefix cache reads them once."""
        ...


def has_tool_template(lm: FrozenLM) -> bool:
    """Return whether the LM's chat template accepts tools."""
    return "tools" in str(getattr(lm.tokenizer, "chat_template", None) or "")


def as_function(spec: ToolSpec) -> dict[str, Any]:
    """Return a tool in OpenAI's form, as chat templates take it."""
    function = {"name": spec.name, "description": spec.description, "parameters": spec.parameters}
    return {"type": "function", "function": function}


def template_messages(messages: Sequence[BaseMessage]) -> list[dict[str, Any]]:
    """Return messages as the dicts that chat templates take, calls and tool results included."""
    found: list[dict[str, Any]] = []
    for message in messages:
        content = message_text(message)
        if isinstance(message, SystemMessage):
            found.append({"role": "system", "content": content})
        elif isinstance(message, HumanMessage):
            found.append({"role": "user", "content": content})
        elif isinstance(message, ToolMessage):
            found.append({"role": "tool", "name": message.name or "", "content": content})
        elif isinstance(message, AIMessage):
            one: dict[str, Any] = {"role": "assistant", "content": content}
            if message.tool_calls:
                one["tool_calls"] = [
                    {"type": "function", "function": {"name": call["name"], "arguments": call["args"]}}
                    for call in message.tool_calls
                ]
            found.append(one)
    return found


class TemplatePrompt:
    """The LM's own chat template with the tools' schemas.

    Parameters
    ----------
    lm
        An LM whose chat template accepts tools.
    """

    def __init__(self, lm: FrozenLM) -> None:
        self._lm = lm

    def ids(self, messages: Sequence[BaseMessage], tools: Sequence[ToolSpec]) -> list[int]:
        return self._tokens(self._text(template_messages(messages), tools))

    def shared_ids(self, messages: Sequence[BaseMessage], tools: Sequence[ToolSpec]) -> list[int]:
        system = [message for message in template_messages(messages)[:1] if message["role"] == "system"]
        texts = [self._text([*system, {"role": "user", "content": mark}], tools) for mark in ("a", "b")]
        return _common(*(self._tokens(text) for text in texts))

    def _text(self, messages: list[dict[str, Any]], tools: Sequence[ToolSpec]) -> str:
        try:
            return str(
                self._lm.tokenizer.apply_chat_template(
                    messages, tools=[as_function(spec) for spec in tools], tokenize=False, add_generation_prompt=True
                )
            )
        except Exception as error:  # templates raise errors of their own kinds
            raise DataFormatError(
                f"The chat template of {self._lm.name} refuses a conversation ({error}): leave the method out."
            ) from error

    def _tokens(self, text: str) -> list[int]:
        return list(self._lm.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


class FewShotPrompt:
    """Instructions and solved examples, each with its own functions, for an LM whose template knows no tools.

    The examples stand in the LM's chat template where it has one, otherwise in plain text.

    Parameters
    ----------
    lm
        The LM.
    """

    def __init__(self, lm: FrozenLM) -> None:
        self._lm = lm
        self._chat = bool(getattr(lm.tokenizer, "chat_template", None))

    def ids(self, messages: Sequence[BaseMessage], tools: Sequence[ToolSpec]) -> list[int]:
        turns: list[tuple[str, str]] = []
        system = ""
        for message in messages:
            content = message_text(message)
            if isinstance(message, SystemMessage):
                system = f"{system}\n{content}".strip()
            elif isinstance(message, HumanMessage):
                turns.append(("user", content))
            elif isinstance(message, ToolMessage):
                turns.append(("user", f"Result of {message.name or 'the function'}: {content}"))
            elif isinstance(message, AIMessage):
                calls = [_call_text(call["name"], call["args"]) for call in message.tool_calls]
                turns.append(("assistant", "\n".join([*([content] if content else []), *calls])))
        first = next((at for at, (role, _) in enumerate(turns) if role == "user"), 0)
        turns[first] = ("user", f"{_functions(tools)}\n\n{system}\n\nRequest: {turns[first][1]}".replace("\n\n\n\n", "\n\n"))
        return self._tokens([*_SOLVED, *turns])

    def shared_ids(self, messages: Sequence[BaseMessage], tools: Sequence[ToolSpec]) -> list[int]:
        return _common(*(self.ids([HumanMessage(mark)], tools) for mark in ("a", "b")))

    def _tokens(self, turns: Sequence[tuple[str, str]]) -> list[int]:
        tokenizer = self._lm.tokenizer
        if self._chat:
            asked = [{"role": role, "content": content} for role, content in _alternating(turns)]
            for system in ([{"role": "system", "content": _INSTRUCTION}], []):
                try:
                    text = tokenizer.apply_chat_template([*system, *asked], tokenize=False, add_generation_prompt=True)
                    return list(tokenizer(str(text), add_special_tokens=False, verbose=False)["input_ids"])
                except Exception:  # noqa: S112  a template without a system role
                    asked[0] = {"role": "user", "content": f"{_INSTRUCTION}\n\n{asked[0]['content']}"}
        said = {"user": "User", "assistant": "Assistant"}
        lines = [f"{said[role]}: {content}" for role, content in turns]
        return self._lm.encode("\n\n".join([_INSTRUCTION, *lines, "Assistant:"])).ids


def _alternating(turns: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Join neighbouring turns of one role, which some templates refuse."""
    found: list[tuple[str, str]] = []
    for role, content in turns:
        if found and found[-1][0] == role:
            found[-1] = (role, f"{found[-1][1]}\n{content}")
        else:
            found.append((role, content))
    return found


def _functions(tools: Sequence[ToolSpec]) -> str:
    lines = [json.dumps(as_function(spec)["function"], ensure_ascii=False) for spec in tools]
    return "\n".join(["Functions:", *lines])


def _call_text(name: str, arguments: dict[str, Any]) -> str:
    return f'{CALL}{{"name": {json.dumps(name)}, "arguments": {json.dumps(arguments, ensure_ascii=False)}}}{CALL_END}'


def _common(one: list[int], other: list[int]) -> list[int]:
    """Return the common prefix of two lists."""
    pairs = enumerate(zip(one, other, strict=False))
    return one[: next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))]


def _tool(name: str, description: str, required: Sequence[str], **types: str) -> ToolSpec:
    properties = {key: {"type": kind} for key, kind in types.items()}
    schema = {"type": "object", "properties": properties, "required": list(required)}
    return ToolSpec(name=name, description=description, parameters=schema)


_TIMER = _tool("start_timer", "Start a kitchen timer.", ["minutes"], minutes="integer", label="string")
_BUS = _tool("next_bus", "Tell when the next bus leaves from a stop.", ["stop"], stop="string", line="string")
_PAINT = _tool("mix_paint", "Mix a colour of paint.", ["colour", "litres"], colour="string", litres="number")

#: Solved examples: one call, two calls, a missing value, no function that fits.
_SOLVED: tuple[tuple[str, str], ...] = (
    ("user", f"{_functions([_TIMER, _BUS])}\n\nRequest: When does the bus go from Harbour Street?"),
    ("assistant", _call_text("next_bus", {"stop": "Harbour Street"})),
    ("user", f"{_functions([_TIMER])}\n\nRequest: 7 minutes for the eggs and 12 for the rice, please."),
    (
        "assistant",
        _call_text("start_timer", {"minutes": 7, "label": "eggs"})
        + "\n"
        + _call_text("start_timer", {"minutes": 12, "label": "rice"}),
    ),
    ("user", f"{_functions([_PAINT, _BUS])}\n\nRequest: Mix some green for me."),
    ("assistant", "How many litres do you need?"),
    ("user", f"{_functions([_BUS, _PAINT])}\n\nRequest: How tall is the tower of the town hall?"),
    ("assistant", "I have no function that can tell you that."),
)


def prompt_of(lm: FrozenLM) -> TemplatePrompt | FewShotPrompt:
    """Return the best prompt with tools for an LM: its own template where that accepts tools."""
    return TemplatePrompt(lm) if has_tool_template(lm) else FewShotPrompt(lm)
