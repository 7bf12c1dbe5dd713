"""Grammars for a call's arguments: JSON that the tool's schema accepts, with values copied from the text."""

import json
import re
from collections import Counter
from functools import cache
from typing import Any

from llguidance import LLMatcher, LLTokenizer

from toolken.errors import ToolSpecError
from toolken.tools.grounding import GROUNDED
from toolken.training.lm import FrozenLM
from toolken.training.tool_spec import ToolSpec

#: A string without a bound could run on until the token budget is gone and leave invalid JSON.
MAX_STRING = 200
MAX_ITEMS = 16
#: Numbers of a text up to which it is counted how often each is used; the grammar grows with two to this power.
MAX_COUNTED = 7

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
    """Return the numbers of a text in order, as JSON values: `1,200` as `1200`, `5%` as `"5%"`."""
    found = (match.rstrip(",").replace(",", "").removeprefix("+") for match in _NUMBER.findall(text))
    return [plain if _is_json_number(plain) else json.dumps(plain) for plain in found]


def _is_json_number(text: str) -> bool:
    return re.fullmatch(r"-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?", text) is not None


def _object_grammar(parameters: dict[str, Any], context: str) -> str:
    properties: dict[str, dict[str, Any]] = parameters.get("properties", {})
    if not any(_is_grounded(_schema(argument)) for argument in properties.values()):
        schema = closed({"type": "object", "properties": {}} | parameters)
        return str(LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides=_OVERRIDES))
    return _CopyingGrammar(parameters, context).text()


class _CopyingGrammar:
    """A Lark grammar of an object some of whose values are copied from a text.

    A number may be used as often as it stands in the text: without that rule a small model likes to take the first one
    twice. So a rule stands for what is left to write and the numbers that are left to use.
    """

    def __init__(self, parameters: dict[str, Any], context: str) -> None:
        required = set(parameters.get("required", []))
        properties = {name: _schema(one) for name, one in parameters.get("properties", {}).items()}
        # Required arguments first: whether an optional one follows is then the last question.
        self._arguments = sorted(properties.items(), key=lambda item: item[0] not in required)
        self._required = required
        self._definitions = {key: parameters[key] for key in ("$defs", "definitions") if key in parameters}
        # A copy does not run across a control character, which no JSON string may hold as it is.
        parts = re.split(r"[\x00-\x1f\x7f]+", " ".join(context.split()))
        self._parts = [part.strip() for part in parts if set(part) - {" ", "\\"}]
        found = Counter(numbers_in(context))
        self._numbers = tuple(found.elements()) if found.total() <= MAX_COUNTED else ()
        self._distinct = tuple(found)
        self._rules: dict[str, str] = {}

    def text(self) -> str:
        """Return the grammar."""
        start = self._rest(0, self._numbers, first=True)
        return "\n".join([f'start: "{{" {start}', *(f"{name}: {body}" for name, body in self._rules.items())]) + "\n"

    def _rest(self, index: int, left: tuple[str, ...], *, first: bool) -> str:
        """Return the name of the rule for the arguments from `index` on."""
        if index == len(self._arguments):
            return '"}"'
        name, argument = self._arguments[index]
        rule = f"rest{index}{'f' if first else 'n'}{self._key(left)}"
        if rule not in self._rules:
            self._rules[rule] = ""  # the place of the rule among the others
            key = json.dumps(("" if first else ", ") + json.dumps(name, ensure_ascii=False) + ": ")
            choices = [f"{key} {value}" for value in self._values(index, argument, left)]
            if name not in self._required:
                choices.append(self._rest(index + 1, left, first=first))
            self._rules[rule] = " | ".join(choices)
        return rule

    def _values(self, index: int, argument: dict[str, Any], left: tuple[str, ...]) -> list[str]:
        """Return the ways to write an argument's value and what comes after it."""
        after = self._rest(index + 1, left, first=False)
        if not _is_grounded(argument):
            return [f"{self._free(index, argument)} {after}"]
        if "array" in _kinds(argument):
            item, least = _schema(argument.get("items")), max(int(argument.get("minItems", 1)), 1)
            most = max(int(argument.get("maxItems", MAX_ITEMS)), least)
            usable = [n for n in left if _fits(n, item)] if _is_number(item) else []
            if len(usable) >= least:
                return [f'"[" {self._items(index, item, left, 0, least, most)}']
            copied = self._copied(index, item)
            if copied is None:
                return [f"{self._free(index, argument)} {after}"]
            return [f'"[" {copied} (", " {copied}){{{least - 1},{most - 1}}} "]" {after}']
        usable = [n for n in dict.fromkeys(left) if _fits(n, argument)] if _is_number(argument) else []
        if usable:
            return [f"{json.dumps(n)} {self._rest(index + 1, _without(left, n), first=False)}" for n in usable]
        return [f"{self._copied(index, argument) or self._free(index, argument)} {after}"]

    def _items(self, index: int, item: dict[str, Any], left: tuple[str, ...], count: int, least: int, most: int) -> str:
        """Return the name of the rule for the rest of an array of copied numbers, of which `count` are written."""
        rule = f"items{index}c{count}{self._key(left)}"
        if rule not in self._rules:
            self._rules[rule] = ""
            choices = []
            if count < most:
                for number in dict.fromkeys(left):
                    if _fits(number, item):
                        rest = self._items(index, item, _without(left, number), count + 1, least, most)
                        choices.append(f"{json.dumps((', ' if count else '') + number)} {rest}")
            if count >= least:
                choices.append(f'"]" {self._rest(index + 1, left, first=False)}')
            self._rules[rule] = " | ".join(choices)
        return rule

    def _copied(self, index: int, argument: dict[str, Any]) -> str | None:
        """Return the name of the rule for one value copied from the text, or None where the text has none."""
        rule = f"COPY{index}"
        if rule in self._rules:
            return rule
        if _is_number(argument):
            numbers = [number for number in self._distinct if _fits(number, argument)]
            if not numbers:
                return None
            self._rules[rule] = " | ".join(json.dumps(number) for number in numbers)
            return rule
        most = int(argument.get("maxLength", MAX_STRING))
        if not any(len(word) <= most and set(word) - {"\\"} for part in self._parts for word in part.split()):
            return None
        # The quotes and backslashes of a JSON string are escaped in the source, so that a substring stays valid JSON;
        # a copy neither begins nor ends in the middle of such an escape.
        first, rest = r'(\\"|[^\s"\\])', rf"(.{{0,{max(most - 2, 0)}}}[^\s\\])?" if most > 1 else ""
        copies = []
        for number, part in enumerate(self._parts):
            source = json.dumps(json.dumps(part, ensure_ascii=False)[1:-1], ensure_ascii=False)
            self._rules[f"WORDS{index}P{number}"] = f'%regex {{ "substring_words": {source} }} & /{first}{rest}/'
            copies.append(f"WORDS{index}P{number}")
        self._rules[f"copy{index}"] = f'"\\"" ({" | ".join(copies)}) "\\""'
        return f"copy{index}"

    def _free(self, index: int, argument: dict[str, Any]) -> str:
        """Return the name of the rule for a value that only the schema restricts."""
        rule = f"free{index}"
        self._rules[rule] = (
            f"%json {json.dumps(closed({**argument, **self._definitions}) | {'x-guidance': _OVERRIDES})}"
        )
        return rule

    def _key(self, left: tuple[str, ...]) -> str:
        return "".join(f"x{self._distinct.index(number)}" for number in left)


def _schema(schema: Any) -> dict[str, Any]:
    """Return a JSON schema as a dict; `true` and a missing one allow everything."""
    return schema if isinstance(schema, dict) else {}


def _without(left: tuple[str, ...], number: str) -> tuple[str, ...]:
    at = left.index(number)
    return left[:at] + left[at + 1 :]


def _is_grounded(argument: dict[str, Any]) -> bool:
    return bool(argument.get(GROUNDED) or _schema(argument.get("items")).get(GROUNDED))


def _kinds(argument: dict[str, Any]) -> set[str]:
    kinds = argument.get("type", [])
    found = {kinds} if isinstance(kinds, str) else set(kinds)
    for part in argument.get("anyOf", []) + argument.get("oneOf", []):
        found |= _kinds(part)
    return found


def _is_number(argument: dict[str, Any]) -> bool:
    return bool(_kinds(argument) & {"integer", "number"})


def _fits(number: str, argument: dict[str, Any]) -> bool:
    """Tell whether a number, a JSON value, is of a kind that the argument takes."""
    kinds = _kinds(argument)
    if number.startswith('"'):
        return "string" in kinds
    return "number" in kinds or re.fullmatch(r"-?\d+", number) is not None
