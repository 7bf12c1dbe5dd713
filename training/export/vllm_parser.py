"""vLLM's tool-parser plug-in for a checkpoint exported by toolken.

    vllm serve FOLDER --enable-auto-tool-choice --tool-parser-plugin FOLDER/vllm_parser.py --tool-call-parser toolken

Each export contains a copy of this file, which needs only vLLM.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vllm.entrypoints.generate.base.protocol import (
    DeltaFunctionCall,
    DeltaMessage,
    DeltaToolCall,
    ExtractedToolCallInformation,
    FunctionCall,
    ToolCall,
)
from vllm.tool_parsers.abstract_tool_parser import ToolParser, ToolParserManager

CALL = re.compile(r"<tool:(?P<name>[^<>\s]+)>")
ANSWER = "<tool=answer>"
#: Virtual tokens between a special token and the text after it.
VIRTUAL = re.compile(r"<tool=\d+\.\d+>")
#: The space after the opening quotation mark of a string, which is not part of its value.
SPACE = re.compile(r'(?<=[:,] ") |(?<=\[") ')
#: The opening of answers, which is part of both the prompt and the content.
OPENING: str = json.loads((Path(__file__).parent / "toolken.json").read_text(encoding="utf-8"))["prompt"]["opening"]


def _is_opened(request: Any) -> bool:
    """Tell whether the prompt of a request ends with the opening of an answer."""
    if (getattr(request, "chat_template_kwargs", None) or {}).get("forced_tool"):
        return False  # it ends with the token of that tool
    last = request.messages[-1] if request.messages else {}
    role = last.get("role") if isinstance(last, dict) else getattr(last, "role", None)
    return role not in ("tool", "function", "assistant")


def _content(text: str, opened: bool) -> str:
    """Return the text before a call, or the whole answer."""
    if text.startswith(ANSWER):
        return text.removeprefix(ANSWER).lstrip()
    return (OPENING + text).lstrip() if opened else text


def _parts(text: str, opened: bool) -> tuple[str, list[tuple[str, str]]]:
    """Return the content of a text, and names and arguments of its calls."""
    text = VIRTUAL.sub("", text)
    found = list(CALL.finditer(text))
    if not found:
        return _content(text, opened), []
    ends = [one.start() for one in found[1:]] + [len(text)]
    calls = [(one["name"], SPACE.sub("", text[one.end() : end].strip())) for one, end in zip(found, ends, strict=True)]
    return _content(text[: found[0].start()], opened), calls


@ToolParserManager.register_module("toolken")
class ToolkenToolParser(ToolParser):  # type: ignore[misc]
    """Parses calls: the token of a tool followed by a JSON object."""

    # vLLM would force a JSON array, which is not the form of these calls.
    supports_required_and_named = False

    def adjust_request(self, request: Any) -> Any:
        """Keep special tokens in the text."""
        request = super().adjust_request(request)
        request.skip_special_tokens = False
        return request

    def extract_tool_calls(self, model_output: str, request: Any) -> ExtractedToolCallInformation:
        """Return the content and the calls of a whole answer."""
        content, found = _parts(model_output, _is_opened(request))
        calls = [ToolCall(function=FunctionCall(name=name, arguments=arguments or "{}")) for name, arguments in found]
        # True even without calls: otherwise vLLM returns the raw text.
        return ExtractedToolCallInformation(tools_called=True, tool_calls=calls, content=content or None)

    def extract_tool_calls_streaming(
        self,
        previous_text: str,
        current_text: str,
        delta_text: str,
        previous_token_ids: Sequence[int],
        current_token_ids: Sequence[int],
        delta_token_ids: Sequence[int],
        request: Any,
    ) -> DeltaMessage | None:
        """Return the new part: content, then the name of a call, then pieces of its arguments."""
        opened = _is_opened(request)
        before, now = _parts(previous_text, opened), _parts(current_text, opened)
        if not previous_text:
            before = ("", [])
        content = now[0].removeprefix(before[0])
        calls = []
        for index, (name, arguments) in enumerate(now[1]):
            if index >= len(before[1]):
                self.current_tool_id = index
                self.prev_tool_call_arr.append({"name": name, "arguments": arguments})
                self.streamed_args_for_tool.append(arguments)
                function = DeltaFunctionCall(name=name, arguments=arguments)
                calls.append(DeltaToolCall(index=index, type="function", id=_call_id(), function=function))
            elif len(arguments) > len(before[1][index][1]):
                piece = arguments[len(before[1][index][1]) :]
                self.prev_tool_call_arr[index]["arguments"] = arguments
                self.streamed_args_for_tool[index] += piece
                calls.append(DeltaToolCall(index=index, function=DeltaFunctionCall(arguments=piece)))
        if not content and not calls:
            return None
        return DeltaMessage(content=content or None, tool_calls=calls)


def _call_id() -> str:
    from vllm.renderers.chat_utils import make_tool_call_id

    return str(make_tool_call_id())
