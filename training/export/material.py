"""What a fold and the input rows are fitted on: texts as the checkpoint will read and write them."""

from collections.abc import Callable, Iterator, Sequence

import torch

from toolken.training.examples import Call, Example, FewShotExample
from toolken.training.export.arguments import ArgumentText, learn_rows, steps_of, text_rows
from toolken.training.export.made_up import made_up, made_up_results, varied
from toolken.training.export.network import ExportNetwork
from toolken.training.export.texts import StepKind, Text, Writer, distinct
from toolken.training.export.tokens import BEHIND, ToolTokens
from toolken.training.features import background as shipped
from toolken.training.head.toolken_head import ToolkenHead
from toolken.training.tool_spec import ToolSpec

#: Few-shot examples, background requests, and examples that the fold is fitted on at most.
FEW_SHOT, REQUESTS, EXAMPLES = 300, 400, 100
#: Answers of results alone.
ANSWERS = 80
#: Calls wanted per argument form (few-shot examples and made-up ones together), made-up calls per tool at most, texts
#: written freely per kind, and batch size of these.
WANTED, MADE_UP, FREE, FREE_BATCH = 40, 20, 50, 50

#: Called with a label and a number of steps before some work begins; returns what is called as steps are done.
Started = Callable[[str, int], Callable[[int], None]]


def known_calls(head: ToolkenHead, examples: Sequence[Example]) -> list[FewShotExample]:
    """Return few-shot examples of arguments: the head's, the examples' and, for other tools, made-up ones."""
    found = list(head.few_shot.shown)
    for one in examples:
        for number, call in enumerate(one.calls):
            if call.args and one.question:
                before = tuple(earlier.result for earlier in one.calls[:number])
                found.append(FewShotExample(tool=call.tool, question=one.question, results=before, args=call.args))
    return distinct(found, FEW_SHOT)


def invented_calls(head: ToolkenHead, shown: Sequence[FewShotExample]) -> list[FewShotExample]:
    """Return made-up calls for argument forms with too few examples.

    They are few-shot examples with other values; tools without few-shot examples get calls for requests that contain
    values of the right type.
    """
    by_tool: dict[str, list[FewShotExample]] = {}
    for one in shown:
        by_tool.setdefault(one.tool, []).append(one)
    by_form: dict[tuple[str, ...], list[ToolSpec]] = {}
    for spec in head.specs:
        by_form.setdefault(form_of(spec), []).append(spec)
    requests = shipped.background_requests()[REQUESTS:]
    found = []
    for specs in by_form.values():
        missing = WANTED - sum(len(by_tool.get(spec.name, ())) for spec in specs)
        for at, spec in enumerate(specs[: max(missing, 0)]):
            count = -(-missing // min(len(specs), missing))
            own = by_tool.get(spec.name)
            found += varied(own, count) if own else made_up(spec, requests[at :: len(specs)], min(count, MADE_UP))
    return found


def form_of(spec: ToolSpec) -> tuple[str, ...]:
    """Return what the arguments of a tool look like: their names."""
    return tuple(spec.arguments)


def learn_input_rows(
    network: ExportNetwork,
    head: ToolkenHead,
    writer: Writer,
    tokens: ToolTokens,
    shown: Sequence[FewShotExample],
    invented: Sequence[FewShotExample],
    examples: Sequence[Example],
    step: Started,
) -> None:
    """Give the added tokens the input rows behind which their arguments, or the whole answer, are written."""
    form = dict(zip(tokens.names, tokens.forms, strict=True))
    first = {form[spec.name]: spec for spec in reversed(head.specs)}
    begun = [writer.inside(_beginning(first[at])) for at in range(len(first))]
    # In running text a call stands behind the sentence that its arguments are in, not behind the question.
    told = [found for one in examples for found in writer.calls(one)] if head.prompt.everywhere else []
    calls: list[tuple[str, Call | FewShotExample]] = list(told)
    calls += [(writer.before_call(one.question, one.results), one) for one in ([] if told else shown)]
    calls += [(writer.before_call(one.question, one.results), one) for one in invented]
    continuations = [ArgumentText(writer.ids(text), form[one.tool], writer.arguments(one.args)) for text, one in calls]
    ended = tokens.ended()
    if ended:
        begun.append(writer.inside(head.prompt.closing + head.prompt.separator + "Answer:"))
        for question, results in _answered([*shown, *invented]):
            text = writer.closing(question, results)
            assert text is not None
            at = text.ids.index(ended[0])
            continuations.append(ArgumentText(text.ids[:at], len(first), text.ids[at + len(ended) :]))
    start = text_rows(network, begun, 1 + BEHIND)
    advance = step("Learning what stands for a call", steps_of(continuations))
    rows = learn_rows(network, start, continuations, advance=advance).to(network.input_rows.dtype)
    for at, token in enumerate(tokens.ids):
        network.input_rows[token] = rows[tokens.forms[at], 0]
    if tokens.answer is not None:
        network.input_rows[tokens.answer] = rows[-1, 0]
    for own, ids in zip(rows, tokens.virtual, strict=True):
        network.input_rows[torch.tensor(ids)] = own[1:]


def _beginning(spec: ToolSpec) -> str:
    """Return how the arguments of a tool begin."""
    if not spec.arguments:
        return " {}"
    name, schema = next(iter(spec.arguments.items()))
    kind = schema.get("type") if isinstance(schema, dict) else None
    opened = {"array": "[", "number": "", "integer": "", "boolean": "", "object": "{"}
    return f' {{"{name}": ' + opened.get(str(kind), '"')


def free_running(
    network: ExportNetwork,
    head: ToolkenHead,
    writer: Writer,
    tokens: ToolTokens,
    shown: Sequence[FewShotExample],
    step: Started,
) -> list[Text]:
    """Return what the network writes by itself, in words and in arguments, where no tool may win."""
    kind = StepKind.RUNNING if head.prompt.everywhere else StepKind.WORDS
    questions = [one.question for one in shown[:FREE]] + shipped.background_requests()[-FREE:]
    begun = [(writer.ids(head.prompt.query(one)), kind) for one in questions]
    for at, (ids, _) in enumerate(begun[:]):
        begun.append(([*ids, *tokens.call(at % len(tokens.ids))], StepKind.ARGUMENTS))
    advance = step("Writing freely", len(begun))
    found = []
    for at in range(0, len(begun), FREE_BATCH):
        batch = begun[at : at + FREE_BATCH]
        for (ids, what), written in zip(batch, network.continued([ids for ids, _ in batch], tokens.added), strict=True):
            first = len(ids) if what == kind else len(ids) - 1
            places = range(first, len(ids) + len(written) - 1)
            found.append(Text([*ids, *written], [(place, what, 0) for place in places]))
        advance(len(batch))
    return found


def _answered(shown: Sequence[FewShotExample]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield questions with made-up results."""
    chosen = shown[:: -(-len(shown) // ANSWERS)] if shown else []
    for one, result in zip(chosen, made_up_results(len(chosen)), strict=True):
        yield one.question, (*one.results, result)


def fitting_texts(
    head: ToolkenHead, writer: Writer, shown: Sequence[FewShotExample], examples: Sequence[Example]
) -> Iterator[Text]:
    """Yield what the checkpoint may read and write: the fold is fitted there."""
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
            # Arguments are held against those of another tool: whichever is called, none may win inside them.
            other = shown[(13 * at + 5) % len(shown)]
            yield writer.call(writer.before_call(one.question, ()), other.tool, other.args)
        else:
            yield writer.garbled(one, at)
    if not head.prompt.everywhere:
        for question, results in _answered(shown):
            yield writer.following(question, results)
            closing = writer.closing(question, results)
            if closing is not None:
                yield closing
    for example in examples:
        yield from writer.example(example)
