"""Agreement of an exported checkpoint with the project's decoder on dev sets of KAMEL and GSM8K-XL.

The checkpoint is saved, reloaded by transformers alone, and run over dev texts. At each step the token of its largest
logit is compared with the decoder's choice: gate and threshold decide at openings, after results and in running text;
elsewhere the decoder takes the vocabulary token of the largest logit.
"""

import json
import random
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from toolken.agents.grammar.schema_check import schema_problem
from toolken.benchmarks.end_to_end.calls import Figure
from toolken.benchmarks.selection.comparisons import QUESTIONS, REASONING
from toolken.benchmarks.selection.rows import bootstrap_interval
from toolken.benchmarks.selection.sampling import draw
from toolken.benchmarks.sets.gsm8k_xl import read_gsm8k_xl
from toolken.benchmarks.sets.kamel import read_kamel
from toolken.benchmarks.sets.registry import folder_of
from toolken.errors import DataFormatError
from toolken.tools.calculator import calculator_tools
from toolken.tools.calculator.errors import CalculationError
from toolken.tools.calculator.tools import keyword_arguments
from toolken.training.examples import Call, Example
from toolken.training.export.call_text import without_spaces
from toolken.training.export.checkpoint import Exported, build, next_tokens, virtual_of, write
from toolken.training.export.decider import ANSWER, CALL, TEXT, VIRTUAL, Decider, Decisions
from toolken.training.export.step_texts import StepKind, Text
from toolken.training.features.feature_cache import FeatureCache
from toolken.training.fit import Progress, fit
from toolken.training.head.toolken_head import ToolkenHead
from toolken.training.lm import FrozenLM
from toolken.training.prompts.conversation_format import question_answer
from toolken.training.prompts.prompt_format import PromptFormat
from toolken.training.tool_spec import ToolSpec

SETS = ("kamel", "gsm8k-xl")
#: GSM8K-XL: training problems per "example per tool" of KAMEL. Number of calls whose arguments are generated.
PROBLEMS, WRITTEN = 60, 40
#: Tokens per batch of the reloaded checkpoint, padding included.
BATCH_TOKENS = 2048


@dataclass(frozen=True)
class Measured:
    """Shares of steps, and notes on the fold and the size of the checkpoint."""

    shares: list[Figure]
    notes: list[str]


@dataclass(frozen=True)
class _Set:
    specs: list[ToolSpec]
    prompt: PromptFormat
    train: list[Example]
    shown: list[Example]
    dev: list[Example]


def measure(
    lm: FrozenLM,
    name: str,
    data: Path,
    *,
    limit: int,
    examples: int = 5,
    keep: Path | None = None,
    progress: Progress | None = None,
) -> Measured:
    """Fit a head, export it, reload the checkpoint and compare its choices with the decoder's.

    Parameters
    ----------
    name
        One of `SETS`.
    data
        Folder of the data set, or its parent.
    limit
        Number of dev examples, taken from the end: the fold's candidates were chosen on some of the first.
    examples
        Training examples per tool of KAMEL; for GSM8K-XL, this number times `PROBLEMS` problems.
    keep
        Folder that keeps the checkpoint, under the set's name; by default it is deleted.

    Raises
    ------
    DataFormatError
        If the data is missing, or the set is not in `SETS`.
    """
    read = {"kamel": _kamel, "gsm8k-xl": _gsm8k}.get(name)
    if read is None:
        raise DataFormatError(f"There is no dev set {name!r}: name {' or '.join(SETS)}.")
    one = read(folder_of(name, data), limit, examples)
    head = fit(lm, one.specs, one.train, prompt=one.prompt, cache=FeatureCache(lm), progress=progress)
    built = build(head, lm, examples=one.shown, progress=progress)
    with tempfile.TemporaryDirectory() as temporary:
        folder = (keep or Path(temporary)) / name
        write(built, head, lm, folder)
        size = sum(file.stat().st_size for file in folder.iterdir())
        return _compare(built, head, lm, one.dev, folder, size, progress)


def _compare(
    built: Exported,
    head: ToolkenHead,
    lm: FrozenLM,
    dev: Sequence[Example],
    folder: Path,
    size: int,
    progress: Progress | None,
) -> Measured:
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(folder).eval()
    texts, owners = [], []
    for at, example in enumerate(dev):
        for text in _texts(built, example):
            if text.steps and len(text.ids) <= lm.max_length:
                texts.append(text)
                owners.append(at)
    advance = progress("Reading with the checkpoint", len(texts)) if progress else None
    chosen, steps = _run(model, built, texts, advance)
    wanted = Decider(head).decide(steps)
    tokens = built.tokens
    same = chosen == next_tokens(tokens, steps, wanted)
    owner = torch.tensor(owners)[steps.texts]
    decided = torch.isfinite(wanted.odds)
    inside, never = steps.of(StepKind.ARGUMENTS), steps.of(StepKind.TEXT, StepKind.ARGUMENTS)
    called, calls = torch.isin(chosen, torch.tensor(tokens.added)), torch.isin(chosen, torch.tensor(tokens.ids))

    def share(what: str, values: torch.Tensor, mask: torch.Tensor) -> Figure:
        return _share(what, values[mask], owner[mask], len(dev))

    rows = [
        share("same next token, all steps", same, torch.ones_like(same)),
        share("same, where the decoder calls a tool", same, wanted.classes == CALL),
        share("same, where it may call and continues the text", same, decided & (wanted.classes == TEXT)),
        share("same, where a chain of calls ends", same, wanted.classes == ANSWER),
        share("same, in text where no call is possible", same, steps.of(StepKind.TEXT)),
        share("same, between a call and its arguments", same, wanted.classes == VIRTUAL),
        share("same, inside arguments", same, inside),
        share("an added token in text or arguments", called, never),
        share("cost of the fold: call decision differs", calls != (wanted.classes == CALL), decided),
        share(
            "cost of the fold: another tool, where both call",
            ~same,
            (wanted.classes == CALL) & calls,
        ),
    ]
    rows += _right(dev, head, built, steps, wanted, chosen, owner)
    rows += _arguments(model, built, head, dev, progress)
    settings = built.fold.settings
    original = sum(weight.nbytes for _, weight in built.network.model.named_parameters())
    original -= built.network.output_embeddings.nbytes
    notes = [
        f"Fold: gain {settings.gain:g}, penalty {settings.penalty:g}, scale {settings.scale:g} (from training texts).",
        f"Checkpoint: {size / 2**20:.0f} MiB in {lm.number_format}; without the untied output matrix "
        f"{original / 2**20:.0f} MiB.",
    ]
    return Measured([row for row in rows if row.n], notes)


def _texts(built: Exported, example: Example) -> list[Text]:
    """Return the texts of a dev example, and the text that closes it with its results as the answer."""
    texts = list(built.writer.example(example))
    results = tuple(call.result for call in example.calls)
    if built.tokens.answer is not None and results and all(results):
        closing = built.writer.closing(example.question, results)
        if closing is not None:
            texts.append(closing)
    return texts


@torch.no_grad()
def _run(
    model: Any, built: Exported, texts: Sequence[Text], advance: Callable[[int], None] | None
) -> tuple[torch.Tensor, Any]:
    """Return the token of the reloaded checkpoint's largest logit at each step, `(n,)`, and the steps."""
    from toolken.training.export.decider import Steps

    order = sorted(range(len(texts)), key=lambda at: len(texts[at].ids))
    found: dict[int, tuple[torch.Tensor, ...]] = {}
    own = torch.tensor([at for at in built.tokens.added if at < model.lm_head.weight.shape[0]])
    while order:
        longest = len(texts[order[0]].ids)
        batch: list[int] = []
        while order and (len(batch) + 1) * len(texts[order[0]].ids) <= max(BATCH_TOKENS, longest):
            batch.append(order.pop(0))
            if len(batch) * len(texts[batch[-1]].ids) > BATCH_TOKENS:
                break
        width = max(len(texts[at].ids) for at in batch)
        ids = torch.zeros(len(batch), width, dtype=torch.long)
        for row, at in enumerate(batch):
            ids[row, : len(texts[at].ids)] = torch.tensor(texts[at].ids)
        states = model.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state
        for row, at in enumerate(batch):
            hidden = states[row, torch.tensor([place for place, _, _ in texts[at].steps])]
            logits = model.lm_head(hidden).float()
            token = logits.argmax(1)
            logits[:, own] = -torch.inf
            logits[:, built.network.vocabulary_size :] = -torch.inf
            best = logits.max(1)
            found[at] = (token, hidden.float(), best.values, best.indices)
        if advance is not None:
            advance(len(batch))
    parts = [found[at] for at in range(len(texts))]
    kinds = torch.tensor([int(kind) for text in texts for _, kind, _ in text.steps])
    results = torch.tensor([count for text in texts for _, _, count in text.steps])
    owners = torch.tensor([at for at, text in enumerate(texts) for _ in text.steps])
    token, hidden, best_logit, word = (torch.cat([part[i] for part in parts]) for i in range(4))
    return token, Steps(hidden, best_logit, word, kinds, results, virtual_of(built.tokens, texts), owners)


def _right(
    dev: Sequence[Example],
    head: ToolkenHead,
    built: Exported,
    steps: Any,
    wanted: Decisions,
    chosen: torch.Tensor,
    owner: torch.Tensor,
) -> list[Figure]:
    """Return how often decoder and checkpoint call the labelled tool at the opening of an answer."""
    if head.prompt.everywhere:
        return []
    at_opening = steps.of(StepKind.OPENING, StepKind.AFTER_LEAD)
    index = head.index
    truth = torch.tensor([index[one.calls[0].tool] if one.calls else -1 for one in dev])[owner]
    ids = torch.tensor(built.tokens.ids)
    own = (wanted.classes == CALL) & (wanted.tools == truth)
    exported = chosen == ids[truth.clamp(min=0)]
    return [
        _share("right tool called at the opening, decoder", own[at_opening], owner[at_opening], len(dev)),
        _share("right tool called at the opening, checkpoint", exported[at_opening], owner[at_opening], len(dev)),
    ]


def _arguments(
    model: Any, built: Exported, head: ToolkenHead, dev: Sequence[Example], progress: Progress | None
) -> list[Figure]:
    """Return how often arguments generated without a grammar, after the right tool's token, are valid and correct."""
    asked = [
        (text, call)
        for example in dev
        for text, call in zip(_before_calls(head, example), example.calls, strict=False)
        if call.args
    ]
    asked = random.Random(0).sample(asked, min(WRITTEN, len(asked)))
    call_of = {name: built.tokens.call(at) for at, name in enumerate(built.tokens.names)}
    specs = {spec.name: spec for spec in head.specs}
    advance = progress("Writing arguments", len(asked)) if progress else None
    valid, right = [], []
    for text, call in asked:
        ids = torch.tensor([[*built.writer.ids(text), *call_of[call.tool]]])
        written = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=64)[
            0, ids.shape[1] :
        ]
        try:
            arguments = json.loads(without_spaces(built.tokenizer.decode(written, skip_special_tokens=True)))
        except ValueError:
            arguments = None
        fits = isinstance(arguments, dict) and schema_problem(specs[call.tool].parameters, arguments) is None
        valid.append(fits)
        right.append(fits and arguments == call.args)
        if advance is not None:
            advance(1)
    order = torch.arange(len(asked))
    return [
        _share("arguments without a grammar: valid", torch.tensor(valid), order, len(asked)),
        _share("arguments without a grammar: as labelled", torch.tensor(right), order, len(asked)),
    ]


def _before_calls(head: ToolkenHead, example: Example) -> list[str]:
    rendered = question_answer(head.prompt, "an export").render(example)
    return [rendered.plain[:offset] for offset, _ in rendered.calls]


def _share(what: str, values: torch.Tensor, owner: torch.Tensor, count: int) -> Figure:
    """Return a share of steps, with its bootstrap interval over examples."""
    n = len(values)
    if not n:
        return Figure(what, 0.0, 0.0, 0.0, 0)
    counts = torch.zeros(1, count, 2, dtype=torch.float64)
    counts[0, :, 0].index_add_(0, owner, values.double())
    counts[0, :, 1].index_add_(0, owner, torch.ones(n, dtype=torch.float64))
    low, high = bootstrap_interval(counts, lambda rows: rows[..., 0].sum(-1) / rows[..., 1].sum(-1).clamp(min=1))
    return Figure(what, float(values.double().mean()), low, high, n)


def _kamel(data: Path, limit: int, examples: int) -> _Set:
    read = read_kamel(data)
    if not read.dev:
        raise DataFormatError(
            f"There is no supervised_dev.jsonl in {str(data)!r}: give the folder with the KAMEL data."
        )
    schema = {"type": "object", "properties": {"subject": {"type": "string"}}, "required": ["subject"]}
    specs = [spec.model_copy(update={"parameters": schema}) for spec in read.specs]
    train = [_with_subject(one) for one in read.train["supervised"]]
    chosen = [train[at] for at in draw(train, examples, 0, by_problem=False)]
    return _Set(specs, QUESTIONS, chosen, [], [_with_subject(one) for one in read.dev["supervised"][-limit:]])


def _with_subject(example: Example) -> Example:
    calls = [
        call.model_copy(update={"args": {"subject": next(iter(call.args.values()))} if call.args else {}})
        for call in example.calls
    ]
    return example.model_copy(update={"calls": tuple(calls)})


def _gsm8k(data: Path, limit: int, examples: int) -> _Set:
    read = read_gsm8k_xl(data)
    by_name = {tool.name: ToolSpec.of(tool) for tool in calculator_tools("operations")}
    specs = [by_name.get(spec.name, spec) for spec in read.specs]
    train = [_with_operands(one) for one in read.train["supervised"]]
    chosen = [train[at] for at in draw(train, PROBLEMS * examples, 0, by_problem=True)]
    dev = [_with_operands(one) for one in read.tests["dev"].examples[-limit:]]
    return _Set(specs, REASONING, chosen, chosen, dev)


def _with_operands(example: Example) -> Example:
    return example.model_copy(update={"calls": tuple(_operands(call) for call in example.calls)})


def _operands(call: Call) -> Call:
    """Return a call with the calculator's argument names; without arguments if they cannot be parsed."""
    try:
        values = [json.loads(str(value).replace(",", "").strip('"')) for value in call.args.values()]
        return call.model_copy(update={"args": keyword_arguments(call.tool, values)})
    except (CalculationError, ValueError):
        return call.model_copy(update={"args": {}})
