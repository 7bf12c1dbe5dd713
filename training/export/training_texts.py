"""The texts on which the fold and the input embeddings of an export are fitted."""

from collections.abc import Callable, Iterator, Sequence

import torch

from toolken.training.examples import Call, Example, FewShotExample
from toolken.training.export.export_network import ExportNetwork
from toolken.training.export.input_embeddings import ArgumentText, initial_embeddings, learn_embeddings, steps_of
from toolken.training.export.step_texts import StepKind, Text, Writer, distinct
from toolken.training.export.synthetic_calls import synthetic_calls, synthetic_results, with_other_values
from toolken.training.export.tokens import VIRTUAL_COUNT, ToolTokens
from toolken.training.features import background as shipped
from toolken.training.head.toolken_head import ToolkenHead
from toolken.training.prompts.conversation_format import question_answer
from toolken.training.tool_spec import ToolSpec

#: Largest numbers of few-shot examples, background requests and examples for the fold.
FEW_SHOT, REQUESTS, EXAMPLES = 300, 400, 100
#: Number of answers that consist of results.
ANSWERS = 80
#: Calls per set of argument names, few-shot and synthetic together; synthetic calls per tool at most; unconstrained
#: texts of each kind, and per batch.
WANTED, SYNTHETIC, FREE, FREE_BATCH = 40, 20, 50, 50

#: Called with a label and a number of steps before work begins; returns a function that is called with completed steps.
Started = Callable[[str, int], Callable[[int], None]]


def few_shot_calls(head: ToolkenHead, examples: Sequence[Example]) -> list[FewShotExample]:
    """Return the calls of the head's few-shot examples and of the examples."""
    found = list(head.few_shot.shown)
    for one in examples:
        for number, call in enumerate(one.calls):
            if call.args and one.question:
                before = tuple(earlier.result for earlier in one.calls[:number])
                found.append(FewShotExample(tool=call.tool, question=one.question, results=before, args=call.args))
    return distinct(found, FEW_SHOT)


def supplementary_calls(head: ToolkenHead, shown: Sequence[FewShotExample]) -> list[FewShotExample]:
    """Return synthetic calls for argument names with too few examples.

    They are few-shot examples with other values or, for tools without any, calls for requests that contain values of
    the right types.
    """
    by_tool: dict[str, list[FewShotExample]] = {}
    for one in shown:
        by_tool.setdefault(one.tool, []).append(one)
    by_form: dict[tuple[str, ...], list[ToolSpec]] = {}
    for spec in head.specs:
        by_form.setdefault(argument_names(spec), []).append(spec)
    requests = shipped.background_requests()[REQUESTS:]
    found = []
    for specs in by_form.values():
        missing = WANTED - sum(len(by_tool.get(spec.name, ())) for spec in specs)
        for at, spec in enumerate(specs[: max(missing, 0)]):
            count = -(-missing // min(len(specs), missing))
            own = by_tool.get(spec.name)
            found += (
                with_other_values(own, count)
                if own
                else synthetic_calls(spec, requests[at :: len(specs)], min(count, SYNTHETIC))
            )
    return found


def argument_names(spec: ToolSpec) -> tuple[str, ...]:
    """Return the names of the arguments of a tool."""
    return tuple(spec.arguments)


def learn_input_embeddings(
    network: ExportNetwork,
    head: ToolkenHead,
    writer: Writer,
    tokens: ToolTokens,
    shown: Sequence[FewShotExample],
    supplementary: Sequence[FewShotExample],
    examples: Sequence[Example],
    step: Started,
) -> None:
    """Learn the input embeddings of the added tokens, after which the LM writes arguments or the whole answer."""
    form = dict(zip(tokens.names, tokens.forms, strict=True))
    first = {form[spec.name]: spec for spec in reversed(head.specs)}
    begun = [writer.inside(_beginning(first[at])) for at in range(len(first))]
    # In running text a call follows the sentence that contains its arguments, not the question.
    in_text = [found for one in examples for found in writer.calls(one)] if head.prompt.everywhere else []
    calls: list[tuple[str, Call | FewShotExample]] = list(in_text)
    calls += [(writer.before_call(one.question, one.results), one) for one in ([] if in_text else shown)]
    calls += [(writer.before_call(one.question, one.results), one) for one in supplementary]
    continuations = [ArgumentText(writer.ids(text), form[one.tool], writer.arguments(one.args)) for text, one in calls]
    ended = tokens.ended()
    if ended:
        shape = question_answer(head.prompt, "an export")
        begun.append(writer.inside(shape.closing + shape.separator + "Answer:"))
        for question, results in _answered([*shown, *supplementary]):
            text = writer.closing(question, results)
            assert text is not None
            at = text.ids.index(ended[0])
            continuations.append(ArgumentText(text.ids[:at], len(first), text.ids[at + len(ended) :]))
    start = initial_embeddings(network, begun, 1 + VIRTUAL_COUNT)
    advance = step("Learning input embeddings", steps_of(continuations))
    rows = learn_embeddings(network, start, continuations, advance=advance).to(network.input_embeddings.dtype)
    for at, token in enumerate(tokens.ids):
        network.input_embeddings[token] = rows[tokens.forms[at], 0]
    if tokens.answer is not None:
        network.input_embeddings[tokens.answer] = rows[-1, 0]
    for own, ids in zip(rows, tokens.virtual, strict=True):
        network.input_embeddings[torch.tensor(ids)] = own[1:]


def _beginning(spec: ToolSpec) -> str:
    """Return the beginning of the arguments of a tool."""
    if not spec.arguments:
        return " {}"
    name, schema = next(iter(spec.arguments.items()))
    kind = schema.get("type") if isinstance(schema, dict) else None
    opened = {"array": "[", "number": "", "integer": "", "boolean": "", "object": "{"}
    return f' {{"{name}": ' + opened.get(str(kind), '"')


def unconstrained_texts(
    network: ExportNetwork,
    head: ToolkenHead,
    writer: Writer,
    tokens: ToolTokens,
    shown: Sequence[FewShotExample],
    step: Started,
) -> list[Text]:
    """Return text and arguments that the network generates without a grammar, in which no tool may win."""
    form = question_answer(head.prompt, "an export")
    kind = StepKind.RUNNING if form.everywhere else StepKind.TEXT
    questions = [one.question for one in shown[:FREE]] + shipped.background_requests()[-FREE:]
    begun = [(writer.ids(form.query(one)), kind) for one in questions]
    for at, (ids, _) in enumerate(begun[:]):
        begun.append(([*ids, *tokens.call(at % len(tokens.ids))], StepKind.ARGUMENTS))
    advance = step("Generating text", len(begun))
    found = []
    for at in range(0, len(begun), FREE_BATCH):
        batch = begun[at : at + FREE_BATCH]
        for (ids, what), written in zip(batch, network.generated([ids for ids, _ in batch], tokens.added), strict=True):
            first = len(ids) if what == kind else len(ids) - 1
            places = range(first, len(ids) + len(written) - 1)
            found.append(Text([*ids, *written], [(place, what, 0) for place in places]))
        advance(len(batch))
    return found


def _answered(shown: Sequence[FewShotExample]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield questions with synthetic results."""
    chosen = shown[:: -(-len(shown) // ANSWERS)] if shown else []
    for one, result in zip(chosen, synthetic_results(len(chosen)), strict=True):
        yield one.question, (*one.results, result)


def fitting_texts(
    head: ToolkenHead, writer: Writer, shown: Sequence[FewShotExample], examples: Sequence[Example]
) -> Iterator[Text]:
    """Yield the texts on which the fold is fitted."""
    for question in shipped.background_requests()[:REQUESTS]:
        yield writer.request(question)
    for spec in head.specs[:REQUESTS]:
        yield writer.request(spec.words)
    for plain in shipped.plain_examples():
        words = writer.words(plain.question, plain.answer or "")
        yield words
        if not any(kind in (StepKind.OPENING, StepKind.RUNNING) for _, kind, _ in words.steps):
            yield writer.request(plain.question)
    for at, one in enumerate(shown):
        yield writer.call(writer.before_call(one.question, one.results), one.tool, one.args, writer.decided(one))
        if at % 2:
            # Pair the question with the call of another tool: no tool may win inside arguments, whichever is called.
            other = shown[(13 * at + 5) % len(shown)]
            yield writer.call(writer.before_call(one.question, ()), other.tool, other.args)
        else:
            yield writer.shuffled_arguments(one, at)
    if not head.prompt.everywhere:
        for question, results in _answered(shown):
            yield writer.following(question, results)
            closing = writer.closing(question, results)
            if closing is not None:
                yield closing
    for example in examples:
        yield from writer.example(example)
