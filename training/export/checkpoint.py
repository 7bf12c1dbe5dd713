"""`export`: a head and its LM as one plain Hugging Face checkpoint."""

import copy
import json
import os
import shutil
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from toolken.errors import ExportError
from toolken.training.background import background_requests, plain_examples
from toolken.training.examples import Demonstration, Example, check_examples
from toolken.training.export.arguments import Continuation, learn_rows, mean_rows, steps_of
from toolken.training.export.chat_template import chat_template, response_template
from toolken.training.export.decider import Decider, Steps
from toolken.training.export.fold import Fold, fit_fold
from toolken.training.export.made_up import made_up
from toolken.training.export.mark import FORMAT, MARK
from toolken.training.export.model_card import model_card
from toolken.training.export.network import ExportNetwork, check_family
from toolken.training.export.texts import Step, Text, Writer, distinct
from toolken.training.export.tokens import ToolTokens, add_tokens
from toolken.training.head import ToolkenHead
from toolken.training.lm import FrozenLM

#: The plug-in for vLLM beside it.
PARSER = "vllm_parser.py"
#: Demonstrations, background requests, and examples that the fold is fitted on at most.
DEMONSTRATIONS, REQUESTS, EXAMPLES = 300, 400, 200
#: Answers of results alone.
ANSWERS = 80
#: Made-up calls, demonstrations from which on a tool needs none; texts written freely of each kind, and at once.
MADE_UP, ENOUGH, FREE, FREE_BATCH = 160, 4, 50, 50

#: Called with a label and a number of steps before some work begins; returns what is called as steps are done.
Progress = Callable[[str, int], Callable[[int], None]]


@dataclass(frozen=True)
class Exported:
    """A checkpoint in memory.

    Attributes
    ----------
    network
        The network.
    tokenizer
        The tokenizer, with the added tokens and the templates.
    tokens
        The added tokens.
    fold
        What gate and rows became.
    writer
        Writes texts as the checkpoint does.
    """

    network: ExportNetwork
    tokenizer: Any
    tokens: ToolTokens
    fold: Fold
    writer: Writer


def export(
    head: ToolkenHead,
    lm: FrozenLM,
    folder: str | Path,
    *,
    examples: Sequence[Example] = (),
    progress: Progress | None = None,
) -> Exported:
    """Write a head and its LM as one checkpoint that transformers loads by itself.

    Each tool is a special token, chosen by a row of the output matrix; gate, threshold and biases are folded into these
    rows. The LM's own weights stay as they are.

    Parameters
    ----------
    head, lm
        The head and the LM it was fitted with.
    folder
        Where to write it: a new folder, or an older export, which is replaced in one step.
    examples
        Examples with the tools' calls, such as those the head was fitted on: where calls stand in running text, the
        head alone does not know what such text looks like.
    progress
        Told what is being done, and how far it has come.

    Raises
    ------
    FingerprintError
        If the head was fitted with another LM.
    ExportError
        If the LM cannot be exported, a tool's name cannot be a token, or the folder holds something else.
    ExampleError
        If an example calls a tool that the head does not have.
    """
    path = Path(folder)
    _check_folder(path)
    built = build(head, lm, examples=examples, progress=progress)
    write(built, head, lm, path)
    return built


def build(
    head: ToolkenHead, lm: FrozenLM, *, examples: Sequence[Example] = (), progress: Progress | None = None
) -> Exported:
    """Return the checkpoint without writing it; see `export`."""
    head.check(lm)
    check_family(lm)
    check_examples(examples, head.names)
    if lm.tokenizer.eos_token_id is None:
        raise ExportError(f"The tokenizer of {lm.name} has no end token: set its eos_token.")

    def step(label: str, total: int) -> Callable[[int], None]:
        return progress(label, total) if progress else (lambda _: None)

    tokenizer = copy.deepcopy(lm.tokenizer)
    tokens = add_tokens(tokenizer, head.names, head.prompt, sorted(lm.stop_ids))
    network = ExportNetwork(lm, len(tokenizer))
    writer = Writer(lm, head, tokens)
    examples = list(examples)[:EXAMPLES]
    shown = _shown(head, examples)
    invented = _made_up(head, shown)
    _learn_input_rows(network, head, writer, tokens, shown, invented, step)
    texts = [*_texts(head, writer, [*shown, *invented], examples)]
    texts += _free_running(network, head, writer, tokens, shown, step)
    texts = [text for text in texts if 1 < len(text.ids) <= lm.max_length]
    steps = read_steps(network, tokens, texts, step("Reading what the checkpoint will write", len(texts)))
    wanted = Decider(head).decide(steps)
    fold = fit_fold(
        steps, wanted, head.rows, head.biases, dtype=network.output_rows.dtype, chains=tokens.answer is not None
    )
    # Rows of tokens that nobody writes must lose: a row of zeros would win where all words are below it.
    network.output_rows[network.words :] = network.output_rows[: network.words].float().mean(0).to(fold.rows.dtype)
    network.output_rows[torch.tensor(tokens.ids)] = fold.rows
    if tokens.answer is not None and fold.answer is not None:
        network.output_rows[tokens.answer] = fold.answer
    special = [text for text in tokenizer.all_special_tokens if text not in map(tokenizer.convert_ids_to_tokens, tokens.added)]
    ends = [text for text in special if tokenizer.convert_tokens_to_ids(text) in lm.stop_ids]
    tokenizer.chat_template = chat_template(head.prompt, head.names, special, _beginning(lm))
    tokenizer.response_template = response_template(head.prompt, ends)
    tokenizer.model_max_length = min(lm.max_length, 10**9)
    generation = network.model.generation_config
    generation.eos_token_id = list(tokens.ends)
    generation.pad_token_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    generation.do_sample, generation.temperature, generation.top_p, generation.top_k = False, None, None, None
    generation.max_new_tokens = 256
    return Exported(network, tokenizer, tokens, fold, writer)


def read_steps(
    network: ExportNetwork, tokens: ToolTokens, texts: Sequence[Text], advance: Callable[[int], None] | None = None
) -> Steps:
    """Run the network over texts and return their steps."""
    hidden = network.states([one.ids for one in texts], [[at for at, _, _ in one.steps] for one in texts], advance)
    joined = torch.cat(hidden)
    best, word = network.best_word(joined, tokens.added)
    kinds = [int(kind) for one in texts for _, kind, _ in one.steps]
    results = [count for one in texts for _, _, count in one.steps]
    owners = [at for at, one in enumerate(texts) for _ in one.steps]
    return Steps(joined, best, word, torch.tensor(kinds), torch.tensor(results), torch.tensor(owners))


def write(built: Exported, head: ToolkenHead, lm: FrozenLM, folder: Path) -> None:
    """Write a checkpoint to a folder, in one step.

    Raises
    ------
    ExportError
        If the folder holds something else, or cannot be written.
    """
    _check_folder(folder)
    folder = folder.absolute()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _partial_folder(folder) as partial:
            built.network.model.save_pretrained(partial)
            built.tokenizer.save_pretrained(partial)
            (partial / MARK).write_text(json.dumps(_mark(built, head), indent=1), encoding="utf-8")
            (partial / PARSER).write_text(
                (Path(__file__).parent / PARSER).read_text(encoding="utf-8"), encoding="utf-8"
            )
            (partial / "README.md").write_text(model_card(head, lm, folder.name), encoding="utf-8")
            for file in partial.iterdir():
                with file.open("rb") as opened:
                    os.fsync(opened.fileno())
            _put_in_place(partial, folder)
    except OSError as error:
        raise ExportError(f"The checkpoint cannot be written to {str(folder)!r}: {error}.") from error


def _mark(built: Exported, head: ToolkenHead) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "lm": head.lm_name,
        "lm_fingerprint": head.lm_fingerprint,
        "tools": dict(zip(built.tokens.names, built.tokens.ids, strict=True)),
        "answer": built.tokens.answer,
        "prompt": head.prompt.model_dump(),
        "specs": [spec.model_dump() for spec in head.specs],
    }


def _beginning(lm: FrozenLM) -> str:
    """Return what the tokenizer puts in front of every text, which a server does not put in front of a template's."""
    with_special, without = (
        lm.tokenizer("a", add_special_tokens=special, verbose=False)["input_ids"] for special in (True, False)
    )
    added = len(with_special) - len(without)
    return str(lm.tokenizer.decode(with_special[:added])) if added and with_special[added:] == without else ""


def _shown(head: ToolkenHead, examples: Sequence[Example]) -> list[Demonstration]:
    """Return demonstrations of arguments: those of the head and of the examples, and for other tools made-up ones."""
    found = list(head.demonstrations.shown)
    for one in examples:
        for number, call in enumerate(one.calls):
            if call.args and one.question:
                before = tuple(earlier.result for earlier in one.calls[:number])
                found.append(Demonstration(tool=call.tool, question=one.question, results=before, args=call.args))
    return distinct(found, DEMONSTRATIONS)


def _made_up(head: ToolkenHead, shown: Sequence[Demonstration]) -> list[Demonstration]:
    """Return made-up calls: of tools without a demonstration, and some of tools that have few."""
    counts = Counter(one.tool for one in shown)
    few = [spec for spec in head.specs if counts[spec.name] < ENOUGH] or head.specs[:1]
    requests = background_requests()[REQUESTS : REQUESTS + MADE_UP]
    # Each request once, the tools taking turns.
    found = [one for at, spec in enumerate(few) for one in made_up(spec, requests[at :: len(few)])]
    return distinct(found, 2 * MADE_UP)


def _learn_input_rows(
    network: ExportNetwork,
    head: ToolkenHead,
    writer: Writer,
    tokens: ToolTokens,
    shown: Sequence[Demonstration],
    invented: Sequence[Demonstration],
    step: Callable[[str, int], Callable[[int], None]],
) -> None:
    """Give the added tokens the input rows behind which their arguments, or the whole answer, are written."""
    forms: dict[tuple[str, ...], int] = {}
    row_of = {spec.name: forms.setdefault(tuple(spec.arguments), len(forms)) for spec in head.specs}
    stand_for = [writer.ids("Arguments: " + ", ".join(names) + ": {") for names in forms]
    continuations = []
    known = {one.tool for one in shown}
    for one in [*shown, *(one for one in invented if one.tool not in known)]:
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


def _free_running(
    network: ExportNetwork,
    head: ToolkenHead,
    writer: Writer,
    tokens: ToolTokens,
    shown: Sequence[Demonstration],
    step: Callable[[str, int], Callable[[int], None]],
) -> list[Text]:
    """Return what the network writes by itself, in words and in arguments, where no tool may win."""
    kind = Step.RUNNING if head.prompt.everywhere else Step.WORDS
    questions = [one.question for one in shown[:FREE]] + background_requests()[-FREE:]
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
    values += [one.answer.rsplit(" is ", 1)[-1].rstrip(". ") for one in plain_examples()[:100] if one.answer]
    for at, one in enumerate(shown[:ANSWERS]):
        yield one.question, (*one.results, values[(7 * at + 3) % len(values)])


def _texts(
    head: ToolkenHead, writer: Writer, shown: Sequence[Demonstration], examples: Sequence[Example]
) -> Iterator[Text]:
    """Yield what the checkpoint may read and write: the fold is fitted there."""
    for question in background_requests()[:REQUESTS]:
        yield writer.request(question)
    for spec in head.specs[:REQUESTS]:
        yield writer.request(spec.words)
    for one in plain_examples():
        yield writer.request(one.question)
        if one.answer:
            yield writer.words(one.question, one.answer)
    for at, one in enumerate(shown):
        yield writer.call(writer.before_call(one.question, one.results), one.tool, one.args, writer.decided(one))
        if at % 2:
            # Arguments are held against those of another tool: whichever is called, none may win inside them.
            other = shown[(13 * at + 5) % len(shown)]
            yield writer.call(writer.before_call(one.question, ()), other.tool, other.args)
    if not head.prompt.everywhere:
        for question, results in _answered(shown):
            yield writer.following(question, results)
            closing = writer.closing(question, results)
            if closing is not None:
                yield closing
    for example in examples:
        yield from writer.example(example)


def _check_folder(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise ExportError(f"{str(folder)!r} is a file: name a new folder.")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MARK).is_file():
        raise ExportError(f"{str(folder)!r} holds something that is no exported head: name a new folder.")


@contextmanager
def _partial_folder(folder: Path) -> Iterator[Path]:
    """Yield a folder beside another one to write in; what is not put in place by then is removed."""
    partial = folder.parent / f".{folder.name}-{uuid.uuid4().hex}"
    partial.mkdir()
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _put_in_place(partial: Path, folder: Path) -> None:
    """Rename a folder to its place; what was there goes first, since a folder that is not empty cannot be renamed over."""
    if not folder.exists():
        partial.rename(folder)
        return
    old = folder.parent / f".{folder.name}-{uuid.uuid4().hex}"
    folder.rename(old)
    try:
        partial.rename(folder)
    except OSError:
        old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)
