"""`written_calls`: the calls in a text that an LM wrote, read as leniently as they can be without guessing."""

import ast
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from langchain_core.utils.json import parse_partial_json

from toolken.benchmarks.function_calling.record import MadeCall

#: What encloses calls in the templates of common instruct models; the content is JSON unless a name is a group.
_MARKED = (
    re.compile(r"<tool_call>(?P<body>.*?)(?:</tool_call>|(?=<tool_call>)|$)", re.DOTALL),
    re.compile(r"<function=(?P<name>[\w.-]+)>(?P<body>.*?)(?:</function>|$)", re.DOTALL),
    re.compile(r"\[TOOL_CALLS\]\s*(?P<body>.*)", re.DOTALL),
    re.compile(r"<\|python_tag\|>(?P<body>.*)", re.DOTALL),
    re.compile(r"<\|?tool_call\|?>(?P<body>.*?)(?:<\|?/tool_call\|?>|$)", re.DOTALL),
    re.compile(r"functools(?P<body>\[.*)", re.DOTALL),
    re.compile(r"```(?:json|python)?\s*(?P<body>[\[{].*?)```", re.DOTALL),
)
_NAME_KEYS, _ARGUMENT_KEYS = ("name", "function", "tool", "tool_name"), ("arguments", "parameters", "args", "input")


def written_calls(text: str, names: Sequence[str], tokenizer: Any = None) -> tuple[list[MadeCall], str]:
    """Return the calls of a text and the text beside them.

    The tokenizer's own response parser is used where it has one and finds a call; otherwise the markers of common
    templates, JSON objects with a name and arguments, and Python calls of known tools.

    Parameters
    ----------
    text
        What the LM wrote, markers included.
    names
        Names of the tools; only they are read from Python calls.
    tokenizer
        The LM's tokenizer.
    """
    if (parsed := _by_tokenizer(text, tokenizer)) is not None:
        return parsed
    for pattern in _MARKED:
        found: list[MadeCall] = []
        for match in pattern.finditer(text):
            name = match.groupdict().get("name")
            values = _json_values(match["body"])
            if name is not None:
                arguments = next((value for value in values if isinstance(value, dict)), None)
                found.append(MadeCall(name, arguments))
                continue
            calls = [call for value in values for call in _as_calls(value)]
            # A marker whose content is no call still is a call that cannot be used.
            found += calls or ([MadeCall("", None)] if "tool_call" in pattern.pattern and match["body"].strip() else [])
        if found:
            return found, pattern.sub("", text).strip()
    calls = [call for value in _json_values(text) for call in _as_calls(value)]
    if calls:
        return calls, ""
    calls = list(_python_calls(text, names))
    return (calls, "") if calls else ([], text.strip())


def _by_tokenizer(text: str, tokenizer: Any) -> tuple[list[MadeCall], str] | None:
    if tokenizer is None or not hasattr(tokenizer, "parse_response"):
        return None
    if not (getattr(tokenizer, "response_template", None) or getattr(tokenizer, "response_schema", None)):
        return None
    try:
        message = tokenizer.parse_response(text)
    except Exception:  # the parser refuses texts that do not follow the template
        return None
    calls = []
    for call in (message or {}).get("tool_calls") or []:
        calls += _as_calls(call.get("function", call))
    return (calls, str((message or {}).get("content") or "").strip()) if calls else None


def _json_values(text: str) -> Iterator[Any]:
    """Yield the JSON objects and lists of a text; the last one may be cut off."""
    at, decoder = 0, json.JSONDecoder()
    while (found := re.compile(r"[\[{]").search(text, at)) is not None:
        begin = found.start()
        try:
            value, at = decoder.raw_decode(text, begin)
        except ValueError:
            value, at = _lenient(text, begin)
        if value is not None:
            yield value


def _lenient(text: str, begin: int) -> tuple[Any, int]:
    """Return a value in Python's notation, or an unfinished one, and where to read on."""
    for end in (text.rfind(close, begin) for close in "}]"):
        if end > begin:
            try:
                return ast.literal_eval(text[begin : end + 1]), end + 1
            except (ValueError, SyntaxError, MemoryError, RecursionError):
                pass
    try:
        value = parse_partial_json(text[begin:])
    except ValueError:
        value = None
    complete = isinstance(value, dict) and _as_calls(value)
    return (value, len(text)) if complete else (None, begin + 1)


def _as_calls(value: Any) -> list[MadeCall]:
    """Return the calls that a JSON value is: an object with a name and arguments, or a list of them."""
    if isinstance(value, list):
        return [call for one in value for call in _as_calls(one)]
    if not isinstance(value, dict):
        return []
    if isinstance(value.get("function"), dict):
        return _as_calls(value["function"])
    name = next((value[key] for key in _NAME_KEYS if isinstance(value.get(key), str)), None)
    key = next((key for key in _ARGUMENT_KEYS if key in value), None)
    if name is None or key is None:
        return []
    arguments = value[key]
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError:
            arguments = None
    return [MadeCall(name, arguments if isinstance(arguments, dict) else None)]


def _python_calls(text: str, names: Sequence[str]) -> Iterator[MadeCall]:
    """Yield calls such as `[get_weather(city="Oslo")]` of known tools."""
    for match in re.finditer(r"\[?\b(?P<name>[\w.]+)\(", text):
        if match["name"] not in names:
            continue
        for end in (at for at in range(match.end(), len(text)) if text[at] == ")"):
            source = text[match.start("name") : end + 1].replace(match["name"], "call", 1)
            try:
                node = ast.parse(source, mode="eval").body
            except (SyntaxError, ValueError):
                continue
            if isinstance(node, ast.Call):
                try:
                    yield MadeCall(
                        match["name"], {key.arg: ast.literal_eval(key.value) for key in node.keywords if key.arg}
                    )
                except ValueError:
                    yield MadeCall(match["name"], None)
            break
