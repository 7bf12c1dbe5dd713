"""`PromptedLM`: greedy answers of an LM that has the tools' schemas in its prompt, free or under a grammar."""

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from langchain_core.messages import BaseMessage
from llguidance import LLMatcher

from toolken.agents.decoding.sampling import masked
from toolken.agents.grammar.bounded_scalars import OVERRIDES
from toolken.agents.grammar.bounded_schema import bounded
from toolken.agents.grammar.schema_grammar import check_schema, token_trie
from toolken.benchmarks.function_calling.call_form import CallForm
from toolken.benchmarks.function_calling.prompts import ToolPrompt
from toolken.benchmarks.function_calling.record import CallOutcome, unusable_call
from toolken.benchmarks.function_calling.written_calls import written_calls
from toolken.errors import ToolSpecError
from toolken.training.lm import FrozenLM
from toolken.training.lm.prefix_cache import PrefixCache
from toolken.training.tool_spec import ToolSpec

_DEFINITIONS = "#/$defs/"


class PromptedLM:
    """An LM that is asked with the tools' schemas in its prompt.

    Parameters
    ----------
    lm
        The LM.
    prompt
        Renders the prompt.
    constrained
        Whether calls are written under the union of the tools' grammars: once the LM begins a call as its prompt format
        does, only a known name and arguments of its schema can follow. Whether to call remains the LM's choice.
    max_tokens
        Limit of the written tokens; a marker or closing that the grammar forces may exceed it by a few.
    """

    def __init__(self, lm: FrozenLM, prompt: ToolPrompt, *, constrained: bool, max_tokens: int) -> None:
        self.lm, self.prompt, self.constrained, self.max_tokens = lm, prompt, constrained, max_tokens

    def answer(self, messages: Sequence[BaseMessage], tools: Sequence[ToolSpec]) -> CallOutcome:
        """Return the answer to a conversation.

        What depends on the tools alone is the set-up: their grammar, and the part of the prompt with their schemas,
        which a server with a prefix cache reads once per set of tools. Under a grammar, a tool whose schema has none
        makes the outcome a call that no tool can take.

        Raises
        ------
        PromptTooLongError
            If the prompt does not fit the LM's context.
        """
        texts = PrefixCache(self.lm, max_texts=1)
        ids, shared = self.prompt.ids(messages, tools), self.prompt.shared_ids(messages, tools)
        began = time.perf_counter()
        try:
            matcher = self._matcher(tools) if self.constrained else None
        except ToolSpecError as error:
            return replace(unusable_call(str(error)), read_tokens=len(ids))
        if shared and ids[: len(shared)] == shared and len(shared) < len(ids):
            texts.prefill(shared)
        setup_seconds = time.perf_counter() - began
        began = time.perf_counter()
        text, written, size = self._write(texts, ids, matcher)
        seconds = time.perf_counter() - began
        calls, beside = written_calls(text, [spec.name for spec in tools], self.lm.tokenizer)
        return CallOutcome(
            calls=tuple(calls),
            text=beside,
            seconds=seconds,
            setup_seconds=setup_seconds,
            read_tokens=len(ids),
            written_tokens=written,
            cache_bytes=size,
        )

    def _write(self, texts: PrefixCache, ids: Sequence[int], grammar: LLMatcher | None) -> tuple[str, int, int]:
        """Return the written text, the number of its tokens, and the bytes of the KV cache."""
        reading = texts.prefill(ids, keep=False)
        session, logits = reading.session, reading.logits
        form = self.prompt.call_form
        raw: list[int] = []
        matcher: LLMatcher | None = None
        begun = 0
        while len(raw) < self.max_tokens and len(session.ids) < self.lm.max_length:
            if matcher is not None:
                forced = list(matcher.compute_ff_tokens())
                fresh = forced or [int(masked(logits, matcher.compute_bitmask()).argmax())]
                if not matcher.consume_tokens(fresh) or (not forced and fresh[0] in self.lm.stop_ids):
                    break
                raw += fresh
                if matcher.is_stopped():
                    matcher = None
                    closing = self._ids(form.closing) if form is not None else []
                    raw, fresh = [*raw, *closing], [*fresh, *closing]
                    begun = len(self._text(raw))
            else:
                fresh = [int(logits.argmax())]
                if fresh[0] in self.lm.stop_ids:
                    break
                raw += fresh
                if grammar is not None and form is not None:
                    kept, extra = self._opened(form, raw, begun)
                    if kept is not None:
                        matcher = grammar.deep_copy()
                        raw = [*raw[:kept], *extra]
                        # At least the last token is fed again, since its logits follow from the shortened text.
                        session.truncate(min(len(session.ids), len(ids) + kept, len(ids) + len(raw) - 1))
                        fresh = [*ids, *raw][len(session.ids) :]
            if len(session.ids) + len(fresh) > self.lm.max_length:
                break
            _, logits = session.feed(fresh)
        return self._text(raw), len(raw), session.nbytes

    def _opened(self, form: CallForm, raw: Sequence[int], begun: int) -> tuple[int | None, list[int]]:
        """Return how many tokens precede the JSON of a call that has begun, and the tokens to force after them.

        A token may hold the end of the marker and the beginning of the JSON: it is written again.
        """
        text = self._text(raw)
        found = form.begins(text, begun)
        if found is None:
            return None, []
        place, rest = found
        target = text[:place] + rest
        kept = len(raw)
        while kept and not target.startswith(self._text(raw[:kept])):
            kept -= 1
        missing = target[len(self._text(raw[:kept])) :]
        return kept, self._ids(missing) if missing else []

    def _matcher(self, tools: Sequence[ToolSpec]) -> LLMatcher:
        """Return the matcher of a call of one of the tools.

        Raises
        ------
        ToolSpecError
            If there is no grammar.
        """
        form = self.prompt.call_form
        if form is None:
            raise ToolSpecError("The chat template does not write calls as JSON: leave the method out.")
        for spec in tools:
            check_schema(spec)
        matcher = LLMatcher(token_trie(self.lm), _union(form, tuple(spec.model_dump_json() for spec in tools)))
        if error := matcher.get_error():
            raise ToolSpecError(f"The schemas have no common grammar ({error:.200}): give fewer tools.")
        return matcher

    def _ids(self, text: str) -> list[int]:
        return list(self.lm.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]) if text else []

    def _text(self, ids: Sequence[int]) -> str:
        # Markers of calls are special tokens in some tokenizers.
        return str(self.lm.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))


@lru_cache(maxsize=4096)
def _arguments(spec: str) -> str:
    """Return the bounded schema of a tool's arguments, as JSON."""
    parameters = ToolSpec.model_validate_json(spec).parameters
    return json.dumps(bounded({"type": "object", "properties": {}} | parameters, arguments=True))


@lru_cache(maxsize=16)
def _union(form: CallForm, specs: tuple[str, ...]) -> str:
    """Return the grammar of a call of one of several tools."""
    branches: list[dict[str, Any]] = []
    definitions: dict[str, Any] = {}
    for number, spec in enumerate(specs):
        arguments = _renamed(json.loads(_arguments(spec)), f"t{number}_")
        # References are relative to the root of the whole schema.
        definitions |= {f"t{number}_{name}": one for name, one in arguments.pop("$defs", {}).items()}
        branches.append(form.branch(json.loads(spec)["name"], arguments))
    schema = form.schema(branches) | ({"$defs": definitions} if definitions else {})
    return str(LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides=OVERRIDES))


def _renamed(schema: Any, prefix: str) -> Any:
    """Return a schema whose references to definitions have a prefix."""
    if isinstance(schema, list):
        return [_renamed(one, prefix) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: one if key in ("enum", "const") else _renamed(one, prefix) for key, one in schema.items()}
    target = schema.get("$ref")
    if isinstance(target, str) and target.startswith(_DEFINITIONS):
        found["$ref"] = _DEFINITIONS + prefix + target.removeprefix(_DEFINITIONS)
    return found
