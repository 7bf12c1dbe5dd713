"""`export`: a head and its LM as one plain Hugging Face checkpoint."""

import copy
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from toolken.errors import ExportError
from toolken.training.examples import Example, check_examples
from toolken.training.export.chat_template import chat_template, response_template
from toolken.training.export.decider import ANSWER, CALL, VIRTUAL, Decider, Decisions, Steps
from toolken.training.export.fold import Fold, fit_fold
from toolken.training.export.mark import FORMAT, MARK
from toolken.training.export.material import (
    EXAMPLES,
    fitting_texts,
    form_of,
    free_running,
    invented_calls,
    known_calls,
    learn_input_rows,
)
from toolken.training.export.model_card import model_card
from toolken.training.export.network import ExportNetwork, check_family
from toolken.training.export.texts import StepKind, Text, Writer
from toolken.training.export.tokens import ToolTokens, add_tokens
from toolken.training.head.toolken_head import ToolkenHead
from toolken.training.lm import FrozenLM

#: The plug-in for vLLM beside it.
PARSER = "vllm_parser.py"
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
    tokens = add_tokens(tokenizer, head.names, list(map(form_of, head.specs)), head.prompt, sorted(lm.stop_ids))
    network = ExportNetwork(lm, len(tokenizer))
    writer = Writer(lm, head, tokens)
    examples = list(examples)[:EXAMPLES]
    shown = known_calls(head, examples)
    invented = invented_calls(head, shown)
    learn_input_rows(network, head, writer, tokens, shown, invented, examples, step)
    texts = [*fitting_texts(head, writer, [*shown, *invented], examples)]
    texts += free_running(network, head, writer, tokens, shown, step)
    texts = [text for text in texts if 1 < len(text.ids) <= lm.max_length]
    steps = read_steps(network, tokens, texts, step("Reading what the checkpoint will write", len(texts)))
    wanted = Decider(head).decide(steps)
    fold = fit_fold(
        steps,
        wanted,
        head.output_embeddings,
        head.biases,
        dtype=network.output_rows.dtype,
        chains=tokens.answer is not None,
        virtual=len(tokens.all_virtual),
    )
    # Rows of tokens that nobody writes must lose: a row of zeros would win where all words are below it.
    network.output_rows[network.words :] = network.output_rows[: network.words].float().mean(0).to(fold.rows.dtype)
    network.output_rows[torch.tensor(tokens.ids)] = fold.rows
    if tokens.answer is not None and fold.answer is not None:
        network.output_rows[tokens.answer] = fold.answer
    network.output_rows[torch.tensor(tokens.all_virtual)] = fold.virtual
    special = [
        text for text in tokenizer.all_special_tokens if text not in map(tokenizer.convert_ids_to_tokens, tokens.added)
    ]
    ends = [text for text in special if tokenizer.convert_tokens_to_ids(text) in lm.stop_ids]
    tokenizer.chat_template = chat_template(head.prompt, head.names, tokens.forms, special, _beginning(lm))
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
    virtual = virtual_of(tokens, texts)
    return Steps(joined, best, word, torch.tensor(kinds), torch.tensor(results), virtual, torch.tensor(owners))


def virtual_of(tokens: ToolTokens, texts: Sequence[Text]) -> torch.Tensor:
    """Return which virtual token comes next at each step of some texts, `(n,) int64`; -1 where none does."""
    number = {token: at for at, token in enumerate(tokens.all_virtual)}
    return torch.tensor(
        [number[one.ids[at + 1]] if kind == StepKind.VIRTUAL else -1 for one in texts for at, kind, _ in one.steps]
    )


def next_tokens(tokens: ToolTokens, steps: Steps, decided: Decisions) -> torch.Tensor:
    """Return the tokens that come next by some decisions, `(n,) int64`."""
    found = steps.word.clone()
    for kind, ids in ((CALL, tokens.ids), (VIRTUAL, tokens.all_virtual)):
        mine = decided.classes == kind
        found[mine] = torch.tensor(ids)[decided.tools[mine]]
    if tokens.answer is not None:
        found[decided.classes == ANSWER] = tokens.answer
    return found


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
    """Rename a folder to its place; what was there goes first, since no folder is renamed over a full one."""
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
