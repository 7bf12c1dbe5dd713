"""Grammars for a call's arguments: JSON that the tool's schema accepts, with values copied from the text."""

import json
import re
from collections.abc import Iterable
from functools import cache
from typing import Any

from llguidance import LLMatcher, LLTokenizer

from toolken.errors import ToolSpecError
from toolken.training.lm import FrozenLM
from toolken.training.tool_spec import ToolSpec

#: JSON-schema keyword of an argument whose value must be copied from the conversation.
GROUNDED = "x-grounded"
#: A string without a bound could run on until the token budget is gone and leave invalid JSON.
MAX_STRING = 200
MAX_ITEMS = 16

_OVERRIDES: Any = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": ", "lenient": True}
_NUMBER = re.compile(r"(?<![\w.])[-+]?\d[\d,]*(?:\.\d+)?(?:[eE][-+]?\d+)?%?(?!\w)|(?<![\w.])[-+]?\.\d+")


@cache
def token_trie(lm: FrozenLM) -> LLTokenizer:
    """Return the LM's vocabulary in the form the grammar engine needs (about half a second, once for each LM)."""
    from llguidance.hf import from_tokenizer

    return from_tokenizer(lm.tokenizer, n_vocab=lm.vocab_size)


def argument_matcher(lm: FrozenLM, spec: ToolSpec, context: str) -> LLMatcher:
    """Return a matcher that accepts exactly the JSON objects the tool's schema allows.

    Parameters
    ----------
    context
        The conversation; grounded strings are runs of its words, grounded numbers are among its numbers.

    Raises
    ------
    ToolSpecError
        If the schema cannot be compiled to a grammar.
    """
    try:
        grammar = _object_grammar(spec.parameters, context)
        matcher = LLMatcher(token_trie(lm), grammar)
        error = matcher.get_error()
    except ValueError as problem:
        error = str(problem)
    if error:
        raise ToolSpecError(f"The argument schema of {spec.name!r} cannot be compiled to a grammar: {error[:300]}")
    return matcher


def closed(schema: Any) -> Any:
    """Return a JSON schema whose objects take no further keys and whose strings and arrays are bounded."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: closed(value) if key not in ("enum", "const", "default") else value for key, value in schema.items()}
    kind = schema.get("type")
    if kind == "object" or "properties" in schema:
        result.setdefault("additionalProperties", False)
    if kind == "string" and not {"enum", "const", "pattern", "format"} & schema.keys():
        result.setdefault("maxLength", MAX_STRING)
    if kind == "array":
        result.setdefault("maxItems", max(MAX_ITEMS, schema.get("minItems", 0)))
    return result


def numbers_in(text: str) -> list[str]:
    """Return the numbers of a text in order, each once, as JSON values: `1,200` as `1200`, `5%` as `"5%"`."""
    found: dict[str, None] = {}
    for match in _NUMBER.findall(text):
        plain = match.rstrip(",").replace(",", "").removeprefix("+")
        found[plain if _is_json_number(plain) else json.dumps(plain)] = None
    return list(found)


def _is_json_number(text: str) -> bool:
    return re.fullmatch(r"-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?", text) is not None


def _object_grammar(parameters: dict[str, Any], context: str) -> str:
    properties: dict[str, dict[str, Any]] = parameters.get("properties", {})
    if not any(_is_grounded(argument) for argument in properties.values()):
        schema = closed({"type": "object", "properties": {}} | parameters)
        return str(LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides=_OVERRIDES))
    required = set(parameters.get("required", []))
    definitions = {key: parameters[key] for key in ("$defs", "definitions") if key in parameters}
    rules = [_sequence([(i, name in required) for i, name in enumerate(properties)])]
    for index, (name, argument) in enumerate(properties.items()):
        rules.append(f"pair{index}: {json.dumps(json.dumps(name, ensure_ascii=False) + ': ')} value{index}")
        grounded = _grounded_value(index, argument, context) if _is_grounded(argument) else None
        if grounded is None:
            schema = closed({**argument, **definitions}) | {"x-guidance": _OVERRIDES}
            grounded = [f"value{index}: %json {json.dumps(schema)}"]
        rules.extend(grounded)
    return "\n".join(rules) + "\n"


def _sequence(arguments: Iterable[tuple[int, bool]]) -> str:
    """Write the rule for an object whose arguments come in order, the optional ones possibly left out."""
    pairs = sorted(arguments, key=lambda pair: not pair[1])
    first_required = [index for index, needed in pairs if needed]
    optional = [index for index, needed in pairs if not needed]
    if first_required:
        body = ' ", " '.join(f"pair{index}" for index in first_required)
        body += "".join(f' (", " pair{index})?' for index in optional)
        return f'start: "{{" {body} "}}"'
    choices = [
        f"pair{index}" + "".join(f' (", " pair{later})?' for later in optional[at + 1 :])
        for at, index in enumerate(optional)
    ]
    return f'start: "{{" ({" | ".join(choices)})? "}}"'


def _is_grounded(argument: dict[str, Any]) -> bool:
    return bool(argument.get(GROUNDED) or argument.get("items", {}).get(GROUNDED))


def _kinds(argument: dict[str, Any]) -> set[str]:
    kinds = argument.get("type", [])
    found = {kinds} if isinstance(kinds, str) else set(kinds)
    for part in argument.get("anyOf", []) + argument.get("oneOf", []):
        found |= _kinds(part)
    return found


def _grounded_value(index: int, argument: dict[str, Any], context: str) -> list[str] | None:
    """Return the rules of a value copied from the context, or None where the context has no such value."""
    if "array" in _kinds(argument):
        item = _grounded_value(index, argument.get("items", {}), context)
        if item is None:
            return None
        least = max(int(argument.get("minItems", 1)), 1)
        most = max(int(argument.get("maxItems", MAX_ITEMS)), least)
        repeat = f'(", " item{index}){{{least - 1},{most - 1}}}'
        item[0] = item[0].replace(f"value{index}:", f"item{index}:", 1)
        return [f'value{index}: "[" item{index} {repeat} "]"', *item]
    if _kinds(argument) & {"integer", "number"}:
        numbers = numbers_in(context)
        if "string" not in _kinds(argument):
            numbers = [number for number in numbers if not number.startswith('"')]
        if _kinds(argument) == {"integer"}:
            numbers = [number for number in numbers if re.fullmatch(r"-?\d+", number)]
        if not numbers:
            return None
        return [f"value{index}: NUMBER{index}", f"NUMBER{index}: {' | '.join(json.dumps(n) for n in numbers)}"]
    words = context.strip()
    if not words:
        return None
    # The quotes and backslashes of a JSON string are escaped in the source, so that a substring stays valid JSON.
    source = json.dumps(json.dumps(" ".join(words.split()), ensure_ascii=False)[1:-1], ensure_ascii=False)
    most = max(int(argument.get("maxLength", MAX_STRING)), 2)
    # A copy neither begins nor ends in the middle of such an escape.
    whole = f'/(\\\\"|[^\\s"\\\\])(.{{0,{most - 2}}}[^\\s\\\\])?/'
    return [
        f'value{index}: "\\"" COPY{index} "\\""',
        f'COPY{index}: %regex {{ "substring_words": {source} }} & {whole}',
    ]
