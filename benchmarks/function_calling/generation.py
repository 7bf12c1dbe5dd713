"""`PromptedLM`: greedy answers of an LM that has the tools' schemas in its prompt, free or under a grammar."""

import json
import time
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from langchain_core.messages import BaseMessage
from llguidance import LLMatcher

from toolken.agents.decoding.growing_text import GrowingText
from toolken.agents.decoding.sampling import masked
from toolken.agents.grammar.bounded_schema import OVERRIDES, ImpossibleSchemaError, bounded
from toolken.agents.grammar.schema_grammar import token_trie
from toolken.benchmarks.function_calling.prompts import CALL, CALL_END, ToolPrompt
from toolken.benchmarks.function_calling.record import CallOutcome
from toolken.benchmarks.function_calling.written_calls import written_calls
from toolken.training.lm import FrozenLM
from toolken.training.lm.prefix_cache import PrefixCache
from toolken.training.tool_spec import ToolSpec


class PromptedLM:
    """An LM that is asked with the tools' schemas in its prompt.

    Parameters
    ----------
    lm
        The LM.
    prompt
        Renders the prompt.
    constrained
        Whether calls are written under the union of the tools' grammars: after a call's opening marker only a known
        name and arguments of its schema can follow. Whether to call remains the LM's choice.
    max_tokens
        Limit of the written tokens.
    """

    def __init__(self, lm: FrozenLM, prompt: ToolPrompt, *, constrained: bool, max_tokens: int) -> None:
        self.lm, self.prompt, self.constrained, self.max_tokens = lm, prompt, constrained, max_tokens

    def answer(self, messages: Sequence[BaseMessage], tools: Sequence[ToolSpec]) -> CallOutcome:
        """Return the answer to a conversation.

        The part of the prompt that depends on the tools alone is read first, and its time is the set-up's, since a
        server with a prefix cache reads it once per set of tools.

        Raises
        ------
        PromptTooLongError
            If the prompt does not fit the LM's context.
        """
        texts = PrefixCache(self.lm, max_texts=1)
        ids, shared = self.prompt.ids(messages, tools), self.prompt.shared_ids(messages, tools)
        setup_seconds = 0.0
        if shared and ids[: len(shared)] == shared and len(shared) < len(ids):
            began = time.perf_counter()
            texts.prefill(shared)
            setup_seconds = time.perf_counter() - began
        began = time.perf_counter()
        text, written, size = self._write(texts, ids, tools)
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

    def _write(self, texts: PrefixCache, ids: Sequence[int], tools: Sequence[ToolSpec]) -> tuple[str, int, int]:
        reading = texts.prefill(ids, keep=False)
        session, logits = reading.session, reading.logits
        raw: list[int] = []
        growing = GrowingText(self.lm, ())
        matcher: LLMatcher | None = None
        begun = 0
        while len(raw) < self.max_tokens and len(session.ids) < self.lm.max_length:
            if matcher is not None:
                forced = list(matcher.compute_ff_tokens())
                fresh = forced or [int(masked(logits, matcher.compute_bitmask()).argmax())]
                if not matcher.consume_tokens(fresh) or (not forced and fresh[0] in self.lm.stop_ids):
                    break
                if matcher.is_stopped():
                    matcher = None
                    fresh = [*fresh, *self._ids(f"\n{CALL_END}")]
            else:
                fresh = [int(logits.argmax())]
                if fresh[0] in self.lm.stop_ids:
                    break
            for token in fresh:
                raw.append(token)
                growing.add(token)
            text = self._text(raw)
            if self.constrained and matcher is None and text[begun:].rstrip().endswith(CALL):
                begun = len(text)
                matcher = self._matcher(tools)
                if not text.endswith("\n"):
                    extra = self._ids("\n")
                    raw, fresh = [*raw, *extra], [*fresh, *extra]
            if len(session.ids) + len(fresh) > self.lm.max_length:
                break
            _, logits = session.feed(fresh)
        return self._text(raw), len(raw), session.nbytes

    def _matcher(self, tools: Sequence[ToolSpec]) -> LLMatcher:
        return LLMatcher(token_trie(self.lm), _union(tuple(_branch(spec.model_dump_json()) for spec in tools)))

    def _ids(self, text: str) -> list[int]:
        return list(self.lm.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    def _text(self, ids: Sequence[int]) -> str:
        # Markers of calls are special tokens in some tokenizers.
        return str(self.lm.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))


@lru_cache(maxsize=4096)
def _branch(spec: str) -> str:
    """Return the schema of a call of a tool, as JSON; a schema that cannot be compiled admits any arguments."""
    tool = ToolSpec.model_validate_json(spec)
    arguments: dict[str, Any] = {"type": "object"}
    try:
        arguments = bounded({"type": "object", "properties": {}} | tool.parameters, arguments=True)
        text = str(LLMatcher.grammar_from_json_schema(json.dumps(arguments), overrides=OVERRIDES))
        if LLMatcher.validate_grammar(text):
            arguments = {"type": "object"}
    except ImpossibleSchemaError:
        pass
    call = {"name": {"const": tool.name}, "arguments": arguments}
    required = list(call)
    return json.dumps({"type": "object", "properties": call, "required": required, "additionalProperties": False})


@lru_cache(maxsize=16)
def _union(branches: tuple[str, ...]) -> str:
    schema = {"anyOf": [json.loads(branch) for branch in branches]}
    return str(LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides=OVERRIDES))

