"""Grammars for the arguments of a call: JSON that the schema of the tool accepts, with values copied from the text."""

import json
from collections.abc import Iterator
from functools import cache, lru_cache
from typing import Any

from llguidance import LLMatcher, LLTokenizer

from toolken.agents.grammar.bounded_scalars import MAX_STRING, OVERRIDES
from toolken.agents.grammar.bounded_schema import ImpossibleSchemaError, bounded
from toolken.agents.grammar.copy_limits import CopyLimits
from toolken.agents.grammar.copying import CopyingGrammar, has_copied
from toolken.errors import ToolSpecError
from toolken.training.lm import FrozenLM
from toolken.training.tool_spec import ToolSpec

#: Characters per token, to divide a token budget among the strings of a schema without a bound, and the fewest that one
#: string gets.
CHARACTERS_PER_TOKEN = 2.5
MIN_STRING = 16


@cache
def token_trie(lm: FrozenLM) -> LLTokenizer:
    """Return the LM's vocabulary as a trie for the grammar compiler (about half a second, once per LM)."""
    from llguidance.hf import from_tokenizer

    # Tokens that exist only in the tokenizer have no logit; masks are truncated.
    return from_tokenizer(lm.tokenizer, n_vocab=max(lm.vocab_size, len(lm.tokenizer)))


def argument_matcher(
    lm: FrozenLM, spec: ToolSpec, context: str, budget: int | None = None, limits: CopyLimits | None = None
) -> LLMatcher:
    """Return a matcher that accepts only JSON objects that the tool's schema allows.

    Keywords that the grammar compiler does not know, such as look-ahead in a pattern, are left to the validation of the
    finished arguments.

    Parameters
    ----------
    context
        The conversation; grounded strings are spans of it, grounded numbers are among its numbers.
    budget
        Tokens that the arguments may take; strings without a bound are shortened to fit.
    limits
        Limits on the numbers copied from the context; ignored where no arguments satisfy them.

    Raises
    ------
    ToolSpecError
        If the schema cannot be compiled to a grammar.
    """
    error = ""
    try:
        for grammar in _grammars(spec.parameters, context, longest_string(spec.parameters, budget), limits):
            matcher = _compiled(lm, grammar)
            error = error or matcher.get_error()
            if not matcher.get_error():
                return matcher.deep_copy()
    except ImpossibleSchemaError as impossible:
        error = str(impossible)
    raise _not_compiled(spec, error)


@lru_cache(maxsize=256)
def _compiled(lm: FrozenLM, grammar: str) -> LLMatcher:
    """Return a matcher in its initial state; a schema with thousands of values takes a second to compile."""
    return LLMatcher(token_trie(lm), grammar)


def check_schema(spec: ToolSpec) -> None:
    """Check that arguments can be written for a tool in any conversation.

    Raises
    ------
    ToolSpecError
        If its schema cannot be compiled to a grammar.
    """
    error = ""
    try:
        for grammar in _grammars(spec.parameters, ""):
            found = LLMatcher.validate_grammar(grammar)
            if not found:
                return
            error = error or found
    except ImpossibleSchemaError as impossible:
        error = str(impossible)
    raise _not_compiled(spec, error)


def longest_string(schema: Any, budget: int | None) -> int:
    """Return the length in characters of a string without a bound, such that all strings fit a token budget."""
    if budget is None:
        return MAX_STRING
    share = int(CHARACTERS_PER_TOKEN * budget / max(_unbounded_strings(schema), 1))
    return min(max(share, MIN_STRING), MAX_STRING)


def _unbounded_strings(schema: Any) -> int:
    """Count the strings of a schema without a bound; one inside an array counts as three."""
    if isinstance(schema, list):
        return sum(_unbounded_strings(part) for part in schema)
    if not isinstance(schema, dict):
        return 0
    own = schema.get("type") == "string" and not {"enum", "const", "maxLength"} & schema.keys()
    inner = sum(_unbounded_strings(value) for key, value in schema.items() if key not in ("enum", "const", "default"))
    return int(own) + inner * (3 if schema.get("type") == "array" else 1)


def _grammars(
    parameters: dict[str, Any], context: str, longest: int = MAX_STRING, limits: CopyLimits | None = None
) -> Iterator[str]:
    """Yield grammars for a schema, the most exact one first."""
    parameters = {"type": "object", "properties": {}} | parameters
    whole = bounded(parameters, longest, arguments=True)
    if has_copied(parameters) and "properties" in whole:
        # An optional argument that no value passes is omitted.
        writable = {name: parameters["properties"].get(name, {}) for name in whole["properties"]}
        copied = parameters | {"properties": writable, "required": whole["required"]}
        for one in (limits, None) if limits else (None,):
            copying = CopyingGrammar(
                copied, context, lambda schema: _free_value(bounded(schema, longest, root=parameters)), one
            )
            if (text := copying.text()) is not None:
                yield text
    yield str(LLMatcher.grammar_from_json_schema(json.dumps(whole), overrides=OVERRIDES))


def _free_value(schema: dict[str, Any]) -> str:
    """Return the grammar of one value that is not copied."""
    return f"%json {json.dumps(schema | {'x-guidance': OVERRIDES})}"


def _not_compiled(spec: ToolSpec, error: str) -> ToolSpecError:
    reason = " ".join(error.split())[:300]
    return ToolSpecError(
        f"The argument schema of {spec.name!r} cannot be compiled to a grammar: simplify or correct it ({reason})."
    )
