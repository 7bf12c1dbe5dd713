"""Grammars for a call's arguments: JSON that the tool's schema accepts, with values copied from the text."""

import json
from collections.abc import Iterator
from functools import cache, lru_cache
from typing import Any

from llguidance import LLMatcher, LLTokenizer

from toolken.agents.grammar.copying import CopyingGrammar, has_copied
from toolken.agents.grammar.number_use import NumberUse
from toolken.errors import ToolSpecError
from toolken.training.lm import FrozenLM
from toolken.training.tool_spec import ToolSpec

#: A string without a bound could run on until the token budget is gone and leave invalid JSON. So the strings of a
#: schema share the budget, in characters a token, but none gets fewer or more than these.
CHARACTERS_PER_TOKEN = 2.5
MIN_STRING, MAX_STRING = 16, 200
MAX_ITEMS = 16
#: So could the digits of a number; up to here every whole number is exact in other languages' JSON too.
MAX_INTEGER = 2**53 - 1

OVERRIDES: Any = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": ", "lenient": True}

#: Keywords that narrow values down, and that a grammar may do without: the finished arguments are checked anyway.
_NARROWING = ("pattern", "format", "patternProperties", "propertyNames", "not", "if", "then", "else", "multipleOf")


@cache
def token_trie(lm: FrozenLM) -> LLTokenizer:
    """Return the LM's vocabulary in the form the grammar backend needs (about half a second, once for each LM)."""
    from llguidance.hf import from_tokenizer

    # Tokens that were added to the tokenizer only have no logit; what a mask says of them is cut off.
    return from_tokenizer(lm.tokenizer, n_vocab=max(lm.vocab_size, len(lm.tokenizer)))


def argument_matcher(
    lm: FrozenLM, spec: ToolSpec, context: str, budget: int | None = None, use: NumberUse | None = None
) -> LLMatcher:
    """Return a matcher that accepts only JSON objects the tool's schema allows.

    What the grammar backend does not know in a schema, such as look-ahead in a pattern, is left to a check of the
    finished arguments.

    Parameters
    ----------
    context
        The conversation; grounded strings are runs of its words, grounded numbers are among its numbers.
    budget
        Tokens that the arguments may take; strings without a bound are kept so short that they fit.
    use
        Which of the context's numbers are used up and which are wanted; passed over where no arguments fit it.

    Raises
    ------
    ToolSpecError
        If the schema cannot be compiled to a grammar.
    """
    error = ""
    for grammar in _grammars(spec.parameters, context, longest_string(spec.parameters, budget), use):
        matcher = _compiled(lm, grammar)
        error = error or matcher.get_error()
        if not matcher.get_error():
            return matcher.deep_copy()
    raise _not_compiled(spec, error)


@lru_cache(maxsize=256)
def _compiled(lm: FrozenLM, grammar: str) -> LLMatcher:
    """Return a matcher at the beginning; a schema that lists thousands of values takes a second to compile."""
    return LLMatcher(token_trie(lm), grammar)


def check_schema(spec: ToolSpec) -> None:
    """Make sure that arguments can be written for a tool, whatever the conversation.

    Raises
    ------
    ToolSpecError
        If its schema cannot be compiled to a grammar.
    """
    error = ""
    for grammar in _grammars(spec.parameters, ""):
        found = LLMatcher.validate_grammar(grammar)
        if not found:
            return
        error = error or found
    raise _not_compiled(spec, error)


def longest_string(schema: Any, budget: int | None) -> int:
    """Return how many characters a string without a bound may have, so that all of a schema's fit a token budget."""
    if budget is None:
        return MAX_STRING
    share = int(CHARACTERS_PER_TOKEN * budget / max(_unbounded_strings(schema), 1))
    return min(max(share, MIN_STRING), MAX_STRING)


def _unbounded_strings(schema: Any) -> int:
    """Count the strings of a schema that it does not bound; those of an array count as a few."""
    if isinstance(schema, list):
        return sum(_unbounded_strings(part) for part in schema)
    if not isinstance(schema, dict):
        return 0
    own = schema.get("type") == "string" and not {"enum", "const", "maxLength"} & schema.keys()
    inner = sum(_unbounded_strings(value) for key, value in schema.items() if key not in ("enum", "const", "default"))
    return int(own) + inner * (3 if schema.get("type") == "array" else 1)


def closed(schema: Any, longest: int = MAX_STRING) -> Any:
    """Return a JSON schema whose objects take no further keys and whose strings, numbers and arrays are bounded."""
    if isinstance(schema, list):
        return [closed(part, longest) for part in schema]
    if not isinstance(schema, dict):
        return schema
    result = {
        key: value if key in ("enum", "const", "default") else closed(value, longest) for key, value in schema.items()
    }
    kind = schema.get("type")
    if kind == "object" or "properties" in schema:
        result.setdefault("additionalProperties", False)
    if kind == "string" and not {"enum", "const", "pattern", "format"} & schema.keys():
        result.setdefault("maxLength", max(longest, schema.get("minLength", 0)))
    if kind == "integer" and not {"enum", "const", "multipleOf"} & schema.keys():
        bounds = {"minimum": "exclusiveMinimum", "maximum": "exclusiveMaximum"}
        for (bound, exclusive), limit in zip(bounds.items(), (-MAX_INTEGER, MAX_INTEGER), strict=True):
            if not {bound, exclusive} & schema.keys():
                result[bound] = limit
    if kind == "array":
        result.setdefault("maxItems", max(MAX_ITEMS, schema.get("minItems", 0)))
    return result


def relaxed(schema: Any, *, names: bool = False) -> Any:
    """Return a JSON schema without the keywords that only narrow values down.

    Parameters
    ----------
    names
        Whether the keys of `schema` are names that its author chose rather than keywords.
    """
    if isinstance(schema, list):
        return [relaxed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: value
        if key in ("enum", "const", "default") and not names
        else relaxed(value, names=key in ("properties", "$defs", "definitions") and not names)
        for key, value in schema.items()
        if names or key not in _NARROWING
    }


def _grammars(
    parameters: dict[str, Any], context: str, longest: int = MAX_STRING, use: NumberUse | None = None
) -> Iterator[str]:
    """Yield grammars for a schema, the most exact one first."""
    if has_copied(parameters):
        for one in (use, None) if use else (None,):
            copying = CopyingGrammar(parameters, context, lambda schema: _free_value(closed(schema, longest)), one)
            if (text := copying.text()) is not None:
                yield text
    for schema in (parameters, relaxed(parameters)):
        whole = closed({"type": "object", "properties": {}} | schema, longest)
        yield str(LLMatcher.grammar_from_json_schema(json.dumps(whole), overrides=OVERRIDES))


def _free_value(schema: dict[str, Any]) -> str:
    """Return the grammar of one value that only its schema restricts."""
    return f"%json {json.dumps(schema | {'x-guidance': OVERRIDES})}"


def _not_compiled(spec: ToolSpec, error: str) -> ToolSpecError:
    reason = " ".join(error.split())[:300]
    return ToolSpecError(
        f"The argument schema of {spec.name!r} cannot be compiled to a grammar: simplify or mend it ({reason})."
    )
