"""What a fold and the input rows are fitted on: texts as the checkpoint will read and write them."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from toolken.training import background as shipped
from toolken.training.examples import Demonstration, Example
from toolken.training.export.arguments import Continuation, learn_rows, mean_rows, steps_of
from toolken.training.export.made_up import made_up
from toolken.training.export.network import ExportNetwork
from toolken.training.export.texts import Step, Text, Writer, distinct
from toolken.training.export.tokens import ToolTokens
from toolken.training.head import ToolkenHead

#: Demonstrations, background requests, and examples that the fold is fitted on at most.
DEMONSTRATIONS, REQUESTS, EXAMPLES = 300, 400, 200
#: Answers of results alone.
ANSWERS = 80
#: Made-up calls, demonstrations from which on a row needs none; texts written freely of each kind, and at once.
MADE_UP, ENOUGH, FREE, FREE_BATCH = 160, 24, 50, 50

#: Called with a label and a number of steps before some work begins; returns what is called as steps are done.
Started = Callable[[str, int], Callable[[int], None]]


def known_calls(head: ToolkenHead, examples: Sequence[Example]) -> list[Demonstration]:
    """Return demonstrations of arguments: those of the head and of the examples, and for other tools made-up ones."""
    found = list(head.demonstrations.shown)
    for one in examples:
        for number, call in enumerate(one.calls):
            if call.args and one.question:
                before = tuple(earlier.result for earlier in one.calls[:number])
                found.append(Demonstration(tool=call.tool, question=one.question, results=before, args=call.args))
    return distinct(found, DEMONSTRATIONS)


def invented_calls(head: ToolkenHead, shown: Sequence[Demonstration]) -> list[Demonstration]:
    """Return made-up calls: of tools without a demonstration, and some of tools that have few."""
    forms = {spec.name: tuple(spec.arguments) for spec in head.specs}
    counts = Counter(forms[one.tool] for one in shown)
    few = [spec for spec in head.specs if counts[forms[spec.name]] < ENOUGH] or head.specs[:1]
    requests = shipped.background_requests()[REQUESTS : REQUESTS + MADE_UP]
    # Each request once, the tools taking turns.
    found = [one for at, spec in enumerate(few) for one in made_up(spec, requests[at :: len(few)])]
    return distinct(found, 2 * MADE_UP)


def learn_input_rows(
    network: ExportNetwork,
    head: ToolkenHead,
    writer: Writer,
    tokens: ToolTokens,
    shown: Sequence[Demonstration],
    invented: Sequence[Demonstration],
    step: Started,
) -> None:
    """Give the added tokens the input rows behind which their arguments, or the whole answer, are written."""
    forms: dict[tuple[str, ...], int] = {}
    row_of = {spec.name: forms.setdefault(tuple(spec.arguments), len(forms)) for spec in head.specs}
    stand_for = [writer.ids("Arguments: " + ", ".join(names) + ": {") for names in forms]
    continuations = []
    counts = Counter(row_of[one.tool] for one in shown)
    for one in [*shown, *(one for one in invented if counts[row_of[one.tool]] < ENOUGH)]:
        before = writer.ids(writer.before_call(one.question, one.results))
        continuations.append(Continuation(before, row_of[one.tool], writer.arguments(one.args)))
    if tokens.answer is not None:
        stand_for.append(writer.ids(head.prompt.closing + head.prompt.separator + "Answer:"))
        for question, results in _answered([*shown, *invented]):
            text = writer.closing(question, results)
            assert text is not None
            at = text.ids.index(tokens.answer)
            continuations.append(Continuation(text.ids[:at], len(forms), text.ids[at + 1 :]))
    start = mean_rows(network, stand_for)
    advance = step("Learning what stands for a call", steps_of(continuations))
    rows = learn_rows(network, start, continuations, advance=advance).to(network.input_rows.dtype)
    for name, token in zip(tokens.names, tokens.ids, strict=True):
        network.input_rows[token] = rows[row_of[name]]
    if tokens.answer is not None:
        network.input_rows[tokens.answer] = rows[-1]


def free_running(
    network: ExportNetwork,
    head: ToolkenHead,
    writer: Writer,
    tokens: ToolTokens,
    shown: Sequence[Demonstration],
    step: Started,
) -> list[Text]:
    """Return what the network writes by itself, in words and in arguments, where no tool may win."""
    kind = Step.RUNNING if head.prompt.everywhere else Step.WORDS
    questions = [one.question for one in shown[:FREE]] + shipped.background_requests()[-FREE:]
    begun = [(writer.ids(head.prompt.query(one)), kind) for one in questions]
    for at, (ids, _) in enumerate(begun[:]):
        begun.append(([*ids, tokens.ids[at % len(tokens.ids)]], Step.ARGUMENTS))
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


def _answered(shown: Sequence[Demonstration]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield questions with results: where the head knows none, an argument's value stands in for one."""
    values = [str(value) for one in shown for value in one.args.values() if isinstance(value, str | int | float)]
    values += [one.answer.rsplit(" is ", 1)[-1].rstrip(". ") for one in shipped.plain_examples()[:100] if one.answer]
    for at, one in enumerate(shown[:ANSWERS]):
        yield one.question, (*one.results, values[(7 * at + 3) % len(values)])


def fitting_texts(
    head: ToolkenHead, writer: Writer, shown: Sequence[Demonstration], examples: Sequence[Example]
) -> Iterator[Text]:
    """Yield what the checkpoint may read and write: the fold is fitted there."""
    for question in shipped.background_requests()[:REQUESTS]:
        yield writer.request(question)
    for spec in head.specs[:REQUESTS]:
        yield writer.request(spec.words)
    for plain in shipped.plain_examples():
        words = writer.words(plain.question, plain.answer or "")
        yield words
        if not any(kind in (Step.OPENING, Step.RUNNING) for _, kind, _ in words.steps):
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
