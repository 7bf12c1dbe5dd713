"""The methods of the function-calling benchmark: toolkens, and the same LM with the schemas in its prompt."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from toolken.agents.bound_tools import BoundTools
from toolken.agents.chat_model import ToolkenChatModel
from toolken.benchmarks.function_calling.generation import PromptedLM
from toolken.benchmarks.function_calling.prompts import has_tool_template, prompt_of
from toolken.benchmarks.function_calling.record import CallOutcome, CallRecord, MadeCall, unusable_call
from toolken.errors import PromptTooLongError, ToolSpecError
from toolken.training.examples import Example
from toolken.training.fit import fit
from toolken.training.head.toolken_head import ToolkenHead
from toolken.training.lm import FrozenLM
from toolken.training.prior.teacher import Encoder
from toolken.training.tool_spec import ToolSpec

#: Tools that the retriever puts into the prompt.
RETRIEVED = 5
#: Limit of the tokens of an answer.
MAX_TOKENS = 256
#: Approximate tokens of a chat template without tools.
TOOLKEN_PROMPT = 64

#: The names of all methods, ours first.
METHODS = ("toolken", "toolken-k", "native", "native-constrained", "few-shot", "few-shot-constrained", "retriever")

#: Answers one record.
Method = Callable[[CallRecord], CallOutcome]


def methods_for(lm: FrozenLM) -> tuple[str, ...]:
    """Return the methods that apply to an LM: without a tool template, a few-shot prompt takes the place of native."""
    other = ("few-shot", "few-shot-constrained") if has_tool_template(lm) else ("native", "native-constrained")
    return tuple(name for name in METHODS if name not in other)


def prompted(lm: FrozenLM, *, constrained: bool) -> Method:
    """Return the LM with all schemas in its prompt: its own tool template, or a few-shot prompt."""
    asked = PromptedLM(lm, prompt_of(lm), constrained=constrained, max_tokens=MAX_TOKENS)
    return lambda record: asked.answer(record.messages, record.tools)


def retrieving(lm: FrozenLM, encoder: Encoder) -> Method:
    """Return the LM with the schemas of the tools in its prompt whose descriptions are nearest to the last message."""
    asked = PromptedLM(lm, prompt_of(lm), constrained=False, max_tokens=MAX_TOKENS)
    vectors: dict[str, torch.Tensor] = {}

    def answer(record: CallRecord) -> CallOutcome:
        began = time.perf_counter()
        missing = [spec for spec in record.tools if spec.digest not in vectors]
        if missing:
            found = encoder.encode([f"{spec.name}: {spec.words}" for spec in missing])
            vectors.update(zip([spec.digest for spec in missing], found, strict=True))
        setup = time.perf_counter() - began
        began = time.perf_counter()
        tools = torch.stack([vectors[spec.digest] for spec in record.tools])
        nearest = (tools @ encoder.encode([record.request])[0]).argsort(descending=True)[:RETRIEVED]
        outcome = asked.answer(record.messages, [record.tools[int(at)] for at in nearest])
        # The schemas differ from request to request, so that no prefix cache has them.
        return replace(outcome, setup_seconds=setup, seconds=time.perf_counter() - began)

    return answer


def toolkens(lm: FrozenLM, examples: Callable[[CallRecord], Sequence[Example]] | None = None) -> Method:
    """Return toolkens from descriptions alone or, if `examples` are given, fitted on those of the record's tools.

    A tool whose schema has no grammar, or a fit that two equal descriptions prevent, make the outcome an unusable call.
    """
    heads: dict[str, ToolkenHead] = {}
    # One model for all records, so that a description that occurs again is not read again.
    described = ToolkenChatModel(lm=lm, max_tokens=MAX_TOKENS, parallel_tool_calls=True)
    session = lm.start()
    session.feed(lm.encode("Hello there").ids)
    per_token = session.nbytes // len(session.ids)

    def answer(record: CallRecord) -> CallOutcome:
        try:
            return called(record)
        except (ToolSpecError, PromptTooLongError) as error:
            return unusable_call(str(error))

    def called(record: CallRecord) -> CallOutcome:
        began = time.perf_counter()
        model = described
        if examples is not None:
            key = "".join(sorted(spec.digest for spec in record.tools))
            if key not in heads:
                heads.clear()
                heads[key] = fit(lm, record.tools, examples(record))
            model = ToolkenChatModel(lm=lm, head=heads[key], max_tokens=MAX_TOKENS, parallel_tool_calls=True)
        bound = model.bind_tools(BoundTools.of(record.tools))
        # The first call gives the tools their output embeddings.
        bound.invoke("Hi", max_tokens=1, tool_choice="none")
        setup = time.perf_counter() - began
        began = time.perf_counter()
        message = bound.invoke(list(record.messages))
        seconds = time.perf_counter() - began
        decided = message.response_metadata.get("toolken", {})
        calls = [MadeCall(call["name"], call["args"]) for call in message.tool_calls]
        calls += [MadeCall(str(call["name"]), None) for call in message.invalid_tool_calls]
        decisions = decided.get("calls") or []
        if decisions:
            # The first decision's call first, since its probability is reported.
            calls.sort(key=lambda call: call.tool != decisions[0]["tool"])
        usage = message.usage_metadata or {"input_tokens": 0, "output_tokens": 0}
        return CallOutcome(
            calls=tuple(calls),
            text=message.text,
            call_probability=decided.get("call_probability"),
            tool_probability=decisions[0]["probability"] if decisions else None,
            setup_seconds=setup,
            seconds=seconds,
            read_tokens=usage["input_tokens"],
            written_tokens=usage["output_tokens"],
            cache_bytes=(usage["input_tokens"] + usage["output_tokens"]) * per_token,
        )

    return answer


def prompt_tokens(lm: FrozenLM, method: str, records: Sequence[CallRecord]) -> int:
    """Return the largest number of tokens that a method reads and writes for a record, its answer at full length."""
    if method in ("toolken", "toolken-k"):
        longest = max((message_tokens(lm, record) for record in records), default=0)
        return TOOLKEN_PROMPT + longest + MAX_TOKENS
    prompt = prompt_of(lm)
    characters: dict[str, int] = {}
    asked: list[tuple[int, CallRecord, Sequence[ToolSpec]]] = []
    for record in records:
        for spec in record.tools:
            characters.setdefault(spec.digest, len(spec.model_dump_json()))
        tools = sorted(record.tools, key=lambda spec: characters[spec.digest])
        # The nearest tools are not known yet: the longest schemas are the worst case.
        tools = tools[-RETRIEVED:] if method == "retriever" else tools
        size = sum(characters[spec.digest] for spec in tools) + sum(len(message.text) for message in record.messages)
        asked.append((size, record, tools))
    # Tokens follow characters closely enough that the longest few prompts include the one with most tokens.
    longest_prompts = sorted(asked, key=lambda one: one[0])[-3:]
    return MAX_TOKENS + max(
        (len(prompt.ids(record.messages, tools)) for _, record, tools in longest_prompts), default=0
    )


def message_tokens(lm: FrozenLM, record: CallRecord) -> int:
    """Return the approximate number of tokens of a record's messages."""
    calls = [str(getattr(message, "tool_calls", None) or "") for message in record.messages]
    return len(lm.encode("\n".join([*(message.text for message in record.messages), *calls])).ids)
