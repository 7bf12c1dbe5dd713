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
from toolken.training.export.export_network import ExportNetwork, check_family
from toolken.training.export.fold import Fold, fit_fold
from toolken.training.export.manifest import FORMAT, MANIFEST
from toolken.training.export.model_card import model_card
from toolken.training.export.step_texts import StepKind, Text, Writer
from toolken.training.export.tokens import ToolTokens, add_tokens
from toolken.training.export.training_texts import (
    EXAMPLES,
    argument_names,
    few_shot_calls,
    fitting_texts,
    learn_input_embeddings,
    supplementary_calls,
    unconstrained_texts,
)
from toolken.training.head.toolken_head import ToolkenHead
from toolken.training.lm import FrozenLM
from toolken.training.prompts.conversation_format import question_answer

#: File name of the plug-in for vLLM.
PARSER = "vllm_parser.py"
#: Called with a label and a number of steps before work begins; returns a function that is called with completed steps.
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
        The output embeddings of the added tokens.
    writer
        Renders texts in the form of the checkpoint.
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
    """Write a head and its LM as one checkpoint that transformers loads without this library.

    Each tool is a special token with an output embedding, into which gate, threshold and biases are folded. The weights
    of the LM are unchanged.

    Parameters
    ----------
    head, lm
        The head and the LM it was fitted with.
    folder
        A new folder, or an older export, which is replaced in one step.
    examples
        Examples with calls, such as those of the fit. A head with calls in running text needs them, since it does not
        store such text.
    progress
        Called with a label and a number of steps; see `Progress`.

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
    form = question_answer(head.prompt, "an export")
    check_family(lm)
    check_examples(examples, head.names)
    if lm.tokenizer.eos_token_id is None:
        raise ExportError(f"The tokenizer of {lm.name} has no end token: set its eos_token.")

    def step(label: str, total: int) -> Callable[[int], None]:
        return progress(label, total) if progress else (lambda _: None)

    tokenizer = copy.deepcopy(lm.tokenizer)
    tokens = add_tokens(tokenizer, head.names, list(map(argument_names, head.specs)), form, sorted(lm.stop_ids))
    network = ExportNetwork(lm, len(tokenizer))
    writer = Writer(lm, head, tokens)
    examples = list(examples)[:EXAMPLES]
    shown = few_shot_calls(head, examples)
    supplementary = supplementary_calls(head, shown)
    learn_input_embeddings(network, head, writer, tokens, shown, supplementary, examples, step)
    texts = [*fitting_texts(head, writer, [*shown, *supplementary], examples)]
    texts += unconstrained_texts(network, head, writer, tokens, shown, step)
    texts = [text for text in texts if 1 < len(text.ids) <= lm.max_length]
    steps = read_steps(network, tokens, texts, step("Computing hidden states of the checkpoint's texts", len(texts)))
    wanted = Decider(head).decide(steps)
    fold = fit_fold(
        steps,
        wanted,
        head.output_embeddings,
        head.biases,
        dtype=network.output_embeddings.dtype,
        chains=tokens.answer is not None,
        virtual=len(tokens.all_virtual),
    )
    # Unused tokens must lose: an output embedding of zeros would win where all other logits are negative.
    network.output_embeddings[network.vocabulary_size :] = (
        network.output_embeddings[: network.vocabulary_size].float().mean(0).to(fold.rows.dtype)
    )
    network.output_embeddings[torch.tensor(tokens.ids)] = fold.rows
    if tokens.answer is not None and fold.answer is not None:
        network.output_embeddings[tokens.answer] = fold.answer
    network.output_embeddings[torch.tensor(tokens.all_virtual)] = fold.virtual
    special = [
        text for text in tokenizer.all_special_tokens if text not in map(tokenizer.convert_ids_to_tokens, tokens.added)
    ]
    ends = [text for text in special if tokenizer.convert_tokens_to_ids(text) in lm.stop_ids]
    tokenizer.chat_template = chat_template(form, head.names, tokens.forms, special, _beginning(lm))
    tokenizer.response_template = response_template(form, ends)
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
    """Run the network over texts and return their decoding steps."""
    hidden = network.states([one.ids for one in texts], [[at for at, _, _ in one.steps] for one in texts], advance)
    joined = torch.cat(hidden)
    best, word = network.best_token(joined, tokens.added)
    kinds = [int(kind) for one in texts for _, kind, _ in one.steps]
    results = [count for one in texts for _, _, count in one.steps]
    owners = [at for at, one in enumerate(texts) for _ in one.steps]
    virtual = virtual_of(tokens, texts)
    return Steps(joined, best, word, torch.tensor(kinds), torch.tensor(results), virtual, torch.tensor(owners))


def virtual_of(tokens: ToolTokens, texts: Sequence[Text]) -> torch.Tensor:
    """Return the index of the virtual token that comes next at each step, `(n,) int64`; -1 if none does."""
    number = {token: at for at, token in enumerate(tokens.all_virtual)}
    return torch.tensor(
        [number[one.ids[at + 1]] if kind == StepKind.VIRTUAL else -1 for one in texts for at, kind, _ in one.steps]
    )


def next_tokens(tokens: ToolTokens, steps: Steps, decided: Decisions) -> torch.Tensor:
    """Return the next tokens under some decisions, `(n,) int64`."""
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
            (partial / MANIFEST).write_text(json.dumps(_manifest(built, head), indent=1), encoding="utf-8")
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


def _manifest(built: Exported, head: ToolkenHead) -> dict[str, Any]:
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
    """Return the text that the tokenizer prepends to every prompt, which servers do not prepend to a template."""
    with_special, without = (
        lm.tokenizer("a", add_special_tokens=special, verbose=False)["input_ids"] for special in (True, False)
    )
    added = len(with_special) - len(without)
    return str(lm.tokenizer.decode(with_special[:added])) if added and with_special[added:] == without else ""


def _check_folder(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise ExportError(f"{str(folder)!r} is a file: name a new folder.")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MANIFEST).is_file():
        raise ExportError(f"{str(folder)!r} is not empty and not an exported head: name a new folder.")


@contextmanager
def _partial_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder next to `folder`; it is removed unless it was renamed."""
    partial = folder.parent / f".{folder.name}-{uuid.uuid4().hex}"
    partial.mkdir()
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _put_in_place(partial: Path, folder: Path) -> None:
    """Rename a folder to its place, after the old one, since a folder cannot replace a non-empty one."""
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
