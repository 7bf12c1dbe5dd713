"""The text of messages and of tool results; content that is not text is an error, never dropped."""

import dataclasses
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from langchain_core.documents import Document
from langchain_core.messages import BaseMessage, ToolMessage
from pydantic_core import PydanticSerializationError, to_jsonable_python

from toolken.agents.errors import InputError

#: Content blocks of AI messages that repeat a tool call, which `AIMessage.tool_calls` has as well, or hold reasoning,
#: which chat templates omit too.
NOT_SPOKEN = frozenset(
    {
        "tool_use",
        "tool_call",
        "tool_call_chunk",
        "invalid_tool_call",
        "function_call",
        "input_json_delta",
        "reasoning",
        "thinking",
        "redacted_thinking",
    }
)
#: Items of a lazy result that are read.
MAX_ITEMS = 1000


def message_text(message: BaseMessage) -> str:
    """Return the text of a message.

    Raises
    ------
    InputError
        If it has content other than text, such as an image.
    """
    content = message.content
    if isinstance(content, str):
        return content
    if isinstance(message, ToolMessage):
        kinds = [block.get("type") for block in content if isinstance(block, dict)]
        if content and (not kinds or not all(kind in _READERS or kind in _MEDIA for kind in kinds)):
            return value_text(content)  # data rather than content blocks
    spoken = [block for block in content if isinstance(block, str) or block.get("type") not in NOT_SPOKEN]
    return blocks_text(spoken, f"A {message.type} message")


def blocks_text(blocks: Sequence[Any], owner: str) -> str:
    r"""Return the text of content blocks; blocks without white space between them are separated by line breaks.

    Parameters
    ----------
    blocks
        Texts, and blocks in the forms of LangChain, OpenAI, Anthropic and Bedrock.
    owner
        What has the blocks, as the subject of the error's sentence.

    Raises
    ------
    InputError
        If a block is not text.

    Examples
    --------
    >>> blocks_text([{"type": "text", "text": "4 degrees"}, {"type": "json", "json": {"snow": True}}], "A message")
    '4 degrees\n{"snow": true}'
    """
    text = ""
    for block in blocks:
        piece = block if isinstance(block, str) else _block_text(block, owner)
        apart = not text or not piece or text[-1].isspace() or piece[0].isspace()
        text += piece if apart else f"\n{piece}"
    return text


def value_text(value: Any) -> str:
    r"""Return what a tool returned as text: content blocks as their text, data as JSON, everything else as `str`.

    Raises
    ------
    InputError
        If it is a content block that is not text.

    Examples
    --------
    >>> value_text(["Oslo", "Lima"]), value_text({"a": None}), value_text(b"caf\xc3\xa9")
    ('Oslo, Lima', '{"a": null}', 'café')
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bytes | bytearray):
        return value.decode("utf-8", errors="replace")
    if isinstance(value, BaseMessage):
        return message_text(value)
    if isinstance(value, Document):
        return value.page_content
    if isinstance(value, Iterator):
        value = list(islice(value, MAX_ITEMS))
    if isinstance(value, list | tuple) and value:
        if all(isinstance(one, str) for one in value):
            return ", ".join(value)
        if all(isinstance(one, str) or _is_block(one) for one in value):
            return blocks_text(value, "The tool's result")
        if all(isinstance(one, Document | BaseMessage) for one in value):
            return "\n".join(map(value_text, value))
    if _is_block(value):
        return blocks_text([value], "The tool's result")
    try:
        data = to_jsonable_python(value, fallback=str)
    except (PydanticSerializationError, ValueError):  # bytes that are not UTF-8, a reference to itself
        data = _readable(value)
    return data if isinstance(data, str) else json.dumps(data, ensure_ascii=False, default=str)


def is_command(value: Any) -> bool:
    """Tell whether a value is LangGraph's `Command`; LangGraph, an optional package, is not imported for this."""
    types = sys.modules.get("langgraph.types")
    return types is not None and isinstance(value, types.Command)


def _block_text(block: Any, owner: str) -> str:
    kind = block.get("type") if isinstance(block, Mapping) else None
    read = _READERS.get(kind) if isinstance(kind, str) else None
    found = read(block, owner) if read is not None else None
    if found is None:
        what = f"a content block of type {kind!r}" if kind else f"the content block {block!r:.100}"
        raise InputError(f"{owner} has {what}, and the LM reads text only: give its content as text.")
    return found


def _own_text(block: Mapping[str, Any], owner: str) -> str | None:
    text = block.get("text")
    return text if isinstance(text, str) else None


def _json_text(block: Mapping[str, Any], owner: str) -> str:
    data = block["json"] if "json" in block else {key: value for key, value in block.items() if key != "type"}
    return data if isinstance(data, str) else json.dumps(data, ensure_ascii=False, default=str)


def _document_text(block: Mapping[str, Any], owner: str) -> str | None:
    """Return the text of a file or document that is plain text; None for one that is not."""
    source = block.get("source")
    if isinstance(source, Mapping):
        if source.get("type") == "text" and isinstance(source.get("data"), str):
            return str(source["data"])
        return _nested_text(source, owner) if source.get("type") == "content" else None
    return _own_text(block, owner)


def _nested_text(block: Mapping[str, Any], owner: str) -> str | None:
    """Return the text of a block that has blocks, such as a tool result or a search result."""
    content = block.get("content", "")
    inner = content if isinstance(content, str) else None
    if isinstance(content, list):
        inner = blocks_text(content, owner)
    if inner is None:
        return None
    title = block.get("title")
    return f"{title}\n{inner}" if isinstance(title, str) and title else inner


def _output_text(block: Mapping[str, Any], owner: str) -> str | None:
    output = block.get("output")
    if isinstance(output, list):
        return blocks_text(output, owner)
    return output if isinstance(output, str) else None


_READERS: Mapping[str, Callable[[Mapping[str, Any], str], str | None]] = {
    "text": _own_text,
    "text-plain": _own_text,
    "input_text": _own_text,
    "output_text": _own_text,
    "refusal": lambda block, _: str(block.get("refusal", "")),
    "json": _json_text,
    "file": _document_text,
    "document": _document_text,
    "tool_result": _nested_text,
    "search_result": _nested_text,
    "custom_tool_call_output": _output_text,
}
#: Blocks whose content is no text. Other mappings with a key `type` are data of the tool's own.
_MEDIA = frozenset({"image", "image_url", "input_image", "audio", "input_audio", "video", "media", "input_file"})


def _is_block(value: Any) -> bool:
    """Tell whether a value is a content block rather than data that has a key `type`."""
    if not isinstance(value, dict):
        return False
    kind = value.get("type")
    if kind in _MEDIA:
        return True
    if kind == "json":
        return "json" in value
    payloads = {"file": ("source", "source_type", "base64", "file_id", "file"), "document": ("source",)}
    if kind in payloads:
        return any(key in value for key in payloads[kind])
    return kind in ("text", "text-plain") and isinstance(value.get("text"), str)


def _readable(value: Any) -> Any:
    """Return a value with bytes, classes and references to itself as text."""
    return _without_cycles(value, ())


def _without_cycles(value: Any, above: tuple[int, ...]) -> Any:
    if id(value) in above:
        return "..."
    inside = (*above, id(value))
    if isinstance(value, bytes | bytearray):
        return value.decode("utf-8", errors="replace")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _without_cycles(one, inside) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_without_cycles(one, inside) for one in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
