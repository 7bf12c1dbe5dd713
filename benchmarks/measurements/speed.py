"""Speed of the decoder: against transformers' `generate`, with and without caches, single and in batches."""

import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from rich.console import Console
from rich.table import Table

from toolken.agents.bound_tools import BoundTools
from toolken.agents.chat_conversation import conversation_prompt
from toolken.agents.chat_model import ToolkenChatModel
from toolken.agents.decoding.decoder import Decoder, DecodingOptions
from toolken.agents.decoding.events import Finished
from toolken.agents.decoding.lazy_model import LazyModel
from toolken.benchmarks.measurements.synthetic_tools import THINGS, synthetic_tools
from toolken.training.head.toolken_head import ToolkenHead
from toolken.training.lm import FrozenLM

#: Tools bound while decoding text, tools of the comparison with schemas in the prompt, and newly bound tools.
MANY, IN_PROMPT, NEW = 1000, 234, 100
#: Decoded tokens, tokens of the history, and questions of the batch.
TOKENS, HISTORY, BATCH = 128, 500, 16
#: Tokens of a call that a model with the schemas in its prompt generates.
CALL_TOKENS = 24


@dataclass(frozen=True)
class Speed:
    """One comparison of two times or rates.

    Attributes
    ----------
    what, beside
        What is measured, and what it is compared with.
    own, other
        Their figures in `unit`.
    ratio
        Speed of the first relative to the second.
    """

    what: str
    beside: str
    own: float
    other: float
    unit: str
    ratio: float


def measure(lm: FrozenLM, console: Console | None = None) -> list[Speed]:
    """Measure, print a table, and return its rows.

    All comparisons use this machine and this LM. The run takes several minutes; results are valid only on an otherwise
    idle machine.
    """
    console = console or Console()
    console.print(
        f"{lm.name}, {lm.number_format}, {torch.get_num_threads()} threads. Each ratio compares two times of this run."
    )
    table = Table(title="Speed of the decoder")
    for heading in ("measured", "compared with", "own", "other", "unit", "speedup"):
        table.add_column(heading, justify="right" if heading in ("own", "other", "speedup") else "left")
    rows = []
    for row in _rows(lm):
        rows.append(row)
        table.add_row(row.what, row.beside, f"{row.own:.4g}", f"{row.other:.4g}", row.unit, f"{row.ratio:.2f}")
        console.print(f"[dim]{row.what}: {row.ratio:.2f} times as fast as {row.beside}[/]")
    console.print(table)
    return rows


def _rows(lm: FrozenLM) -> Iterator[Speed]:
    model = ToolkenChatModel(lm=lm)
    yield from _binding(model)
    reference = _transformers_model(lm, lm.dtype)
    yield from _schemas_in_the_prompt(lm, model, reference)
    yield from _after_a_result(lm, model)
    yield from _batch(model)
    yield from _decoding(lm, model, reference)


def _binding(model: ToolkenChatModel) -> Iterator[Speed]:
    model.bind_tools(synthetic_tools(1))  # loads the background and the grammar backend
    new = synthetic_tools(NEW + 1)[1:]
    first, again = _seconds(lambda: model.bind_tools(new)), _seconds(lambda: model.bind_tools(new), 5)
    yield _times(f"binding {NEW} tools again", "binding them for the first time", again, first, "ms")


def _schemas_in_the_prompt(lm: FrozenLM, model: ToolkenChatModel, reference: Any) -> Iterator[Speed]:
    tools = synthetic_tools(IN_PROMPT)
    bound = model.bind_tools(tools, tool_choice="any")
    questions = [f"What is the price of the book {name}?" for name in ("Emma", "Ulysses", "Dracula")]
    own = statistics.median(_seconds(partial(bound.invoke, question)) for question in questions)
    for form, written in (("JSON schemas", json.dumps(tools)), ("signatures", _signatures(tools))):
        text = f"Tools:\n{written}\n\nQuestion: {questions[0]}\nCall:"
        ids = lm.encode(text).ids
        if len(ids) + CALL_TOKENS > lm.max_length:
            continue  # this form does not fit the LM's context
        spent = _seconds(partial(_generate, lm, ids, CALL_TOKENS, reference))
        beside = f"their {form} in the prompt ({len(ids)} tokens, {CALL_TOKENS} generated)"
        yield _times(f"a call with {IN_PROMPT} tools", beside, own, spent, "ms")


def _signatures(tools: Sequence[dict[str, Any]]) -> str:
    return "\n".join(f"{tool['name']}(name): {tool['description']}" for tool in tools)


def _after_a_result(lm: FrozenLM, model: ToolkenChatModel) -> Iterator[Speed]:
    bound = model.bind_tools(synthetic_tools(2))
    sentence = "The museum of the town has a tower, a garden and a library with old books. "
    story = sentence * (HISTORY // len(lm.encode(sentence).ids))
    call = {"name": "book_price", "args": {"name": "Emma"}, "id": "1"}
    asked = [HumanMessage(f"{story}What is the price of Emma?")]
    messages = [*asked, AIMessage("", tool_calls=[call]), ToolMessage("12 euros", tool_call_id="1")]
    warm, cold = [], []
    for _ in range(5):
        model._lazy.forget()
        cold.append(_seconds(lambda: bound.invoke(messages)))
        model._lazy.forget()
        bound.invoke(asked)
        warm.append(_seconds(lambda: bound.invoke(messages)))
    what = f"the turn after a result, with {HISTORY} tokens of history"
    yield _times(what, "the same without the prefix cache", statistics.median(warm), statistics.median(cold), "ms")


def _batch(model: ToolkenChatModel) -> Iterator[Speed]:
    questions: list[Any] = [f"Tell me about the {thing}." for thing in THINGS[:BATCH]]
    # Without stop texts all answers have the same length.
    form = model._lazy.decoder(BoundTools.of([])).toolset.prompt.model_copy(update={"stop": ()})
    head = _never_calling(model, 1, form)
    alone, together = (ToolkenChatModel(lm=model.lm, head=head, max_tokens=TOKENS // 2) for _ in range(2))
    for one in (alone, together):
        one.invoke("Hello")
    started = time.perf_counter()
    written = sum(_written(alone.invoke(question)) for question in questions)
    single = written / (time.perf_counter() - started)
    started = time.perf_counter()
    written = sum(map(_written, together.batch(questions)))
    batched = written / (time.perf_counter() - started)
    yield Speed(f"a batch of {BATCH}", f"{BATCH} single calls", batched, single, "tokens/s", batched / single)


def _decoding(lm: FrozenLM, model: ToolkenChatModel, reference: Any) -> Iterator[Speed]:
    ids = lm.encode("Question: Tell me a long story about a ship.\nAnswer: The answer is").ids
    long = lm.encode("The museum of the town has a tower, a garden and a library with old books. " * 40).ids[:HISTORY]
    own = {
        f"decoding, {MANY} tools, decisions {where}": _tokens_per_second(_decoder(model, everywhere=everywhere))
        for where, everywhere in (("at the opening", False), ("at every token", True))
    }
    name = str(lm.dtype).removeprefix("torch.")
    read = statistics.median(_seconds(lambda: lm.start().feed(long)) for _ in range(3))
    prefill = statistics.median(_seconds(partial(_forward, lm, long, reference)) for _ in range(3))
    yield _times(f"prefill of {HISTORY} tokens", f"transformers in {name}", read, prefill, "ms")
    references = {name: reference} | (
        {"bfloat16": _transformers_model(lm, torch.bfloat16)} if name != "bfloat16" else {}
    )
    for number, other in references.items():
        speed = TOKENS / _seconds(partial(_generate, lm, ids, TOKENS, other))
        for what, figure in own.items():
            yield Speed(what, f"transformers' generate in {number}", figure, speed, "tokens/s", figure / speed)
    used, there = next(iter(own.values())) * lm.weight_bytes / 1e9, _bandwidth()
    yield Speed("weights read while decoding", "memory bandwidth of this machine", used, there, "GB/s", used / there)


def _transformers_model(lm: FrozenLM, dtype: torch.dtype) -> Any:
    """Return a separate copy of the LM that transformers runs."""
    return FrozenLM.from_pretrained(lm.name, dtype=dtype, device=str(lm.device)).model


def _decoder(model: ToolkenChatModel, *, everywhere: bool) -> Decoder:
    form = model._lazy.decoder(BoundTools.of([])).toolset.prompt
    form = form.model_copy(update={"stop": (), "everywhere": everywhere, "words_preamble": ""})
    head = _never_calling(model, MANY, form)
    return LazyModel(model.lm if isinstance(model.lm, FrozenLM) else None, head).decoder(BoundTools.of(head.specs))


def _never_calling(model: ToolkenChatModel, count: int, form: Any) -> ToolkenHead:
    """Return a head of `count` synthetic tools that never calls one: its threshold is above 1."""
    # Only output embeddings that lie in the LM's own space are decided at every token.
    head = model.model_copy(update={"prior": False})._lazy.decoder(BoundTools.of(synthetic_tools(count))).toolset.head
    assert isinstance(head, ToolkenHead)
    return replace(head, prompt=form, threshold=2.0)


def _tokens_per_second(decoder: Decoder) -> float:
    prompt = conversation_prompt([HumanMessage("Tell me a long story about a ship.")], decoder.toolset.prompt)
    options = DecodingOptions(
        tools=tuple(decoder.toolset.tools.names), max_tokens=TOKENS, parallel=False, missing="write"
    )
    list(decoder.decode(prompt, replace(options, max_tokens=4)))
    speeds = []
    for _ in range(3):
        started = time.perf_counter()
        finished = list(decoder.decode(prompt, options))[-1]
        assert isinstance(finished, Finished)
        speeds.append(finished.output_tokens / (time.perf_counter() - started))
    return statistics.median(speeds)


def _written(message: AIMessage) -> int:
    assert message.usage_metadata is not None
    return message.usage_metadata["output_tokens"]


@torch.no_grad()
def _generate(lm: FrozenLM, ids: Sequence[int], count: int, model: Any) -> None:
    given = torch.tensor([list(ids)], device=lm.device)
    model.generate(
        given,
        attention_mask=torch.ones_like(given),
        max_new_tokens=count,
        min_new_tokens=count,
        do_sample=False,
        pad_token_id=next(iter(lm.stop_ids)),
    )


@torch.no_grad()
def _forward(lm: FrozenLM, ids: Sequence[int], model: Any) -> None:
    model(input_ids=torch.tensor([list(ids)], device=lm.device), use_cache=True, logits_to_keep=1)


def _seconds(work: Callable[[], Any], times: int = 1) -> float:
    """Return the minimum time in seconds of `times` runs."""
    spent = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        spent.append(time.perf_counter() - started)
    return min(spent)


def _times(what: str, beside: str, own: float, other: float, unit: str) -> Speed:
    return Speed(what, beside, 1e3 * own, 1e3 * other, unit, other / own)


def _bandwidth() -> float:
    """Return the memory bandwidth in GB/s, measured by summing a block larger than any cache."""
    block = torch.ones(2**26, dtype=torch.float32)
    return block.numel() * 4 / _seconds(lambda: block.sum().item(), 5) / 1e9
