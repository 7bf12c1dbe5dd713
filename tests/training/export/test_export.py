"""A head becomes a checkpoint that transformers loads without the library and that decides as the head does."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from toolken import Example, FrozenLM, PromptFormat, ToolkenHead, ToolSpec, fit
from toolken.errors import ExportError, FingerprintError
from toolken.training.export import export, read_manifest
from toolken.training.export.checkpoint import Exported, build, next_tokens, read_steps
from toolken.training.export.decider import TEXT, Decider, Decisions, Steps
from toolken.training.export.export_network import ExportNetwork
from toolken.training.export.fold import agreement, fit_fold
from toolken.training.export.step_texts import StepKind
from toolken.training.export.tokens import TOOL, add_tokens
from toolken.training.export.training_texts import few_shot_calls, fitting_texts

pytestmark = pytest.mark.usefixtures("module_background")


@pytest.fixture(scope="module")
def head(tiny_lm: FrozenLM, specs: list[ToolSpec], examples: list[Example], module_background: None) -> ToolkenHead:
    return fit(tiny_lm, specs, examples)


@pytest.fixture(scope="module")
def exported(tiny_lm: FrozenLM, head: ToolkenHead, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Exported]:
    folder = tmp_path_factory.mktemp("export") / "tiny"
    return folder, export(head, tiny_lm, folder)


def test_transformers_alone_loads_it_with_the_lms_own_weights(
    tiny_lm: FrozenLM, exported: tuple[Path, Exported]
) -> None:
    folder, _ = exported
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert not model.config.tie_word_embeddings
    ids = torch.tensor([tokenizer("What is the weather in Paris?")["input_ids"]])
    hidden, logits = tiny_lm.forward(ids, torch.tensor([ids.shape[1] - 1]))
    mine = model(input_ids=ids).logits[0, -1]
    assert torch.allclose(mine[: logits.shape[1]], logits[0], atol=1e-4)
    assert torch.allclose(model.model(input_ids=ids).last_hidden_state[0, -1], hidden[0], atol=1e-4)


def test_each_tool_is_a_special_token(exported: tuple[Path, Exported], specs: list[ToolSpec]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(exported[0])
    for spec in specs:
        ids = tokenizer(TOOL.format(name=spec.name), add_special_tokens=False)["input_ids"]
        assert ids == [read_manifest(exported[0])["tools"][spec.name]]
        assert tokenizer.decode(ids, skip_special_tokens=True) == ""


@pytest.fixture(scope="module")
def wide_lm(build_lm: Callable[..., FrozenLM]) -> FrozenLM:
    """A tiny LM with enough dimensions to separate all kinds of steps."""
    return build_lm(hidden_size=384, intermediate_size=128)


def test_its_largest_logits_are_those_of_the_fold(
    wide_lm: FrozenLM, specs: list[ToolSpec], examples: list[Example], module_background: None, tmp_path: Path
) -> None:
    head = fit(wide_lm, specs, examples)
    folder = tmp_path / "wide"
    built = export(head, wide_lm, folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    texts = list(fitting_texts(head, built.writer, few_shot_calls(head, []), []))
    steps = read_steps(built.network, built.tokens, texts)
    chosen = model.lm_head(steps.hidden).argmax(1)
    folded = built.fold.decide(steps)
    assert torch.equal(chosen, next_tokens(built.tokens, steps, folded))
    # The LM is random and the texts are few; `toolken bench export` measures the agreement with a real LM.
    assert agreement(folded, Decider(head).decide(steps)).double().mean() > 0.8


@pytest.mark.parametrize(
    ("architecture", "tied", "dtype"),
    [("llama", False, torch.float32), ("qwen2", True, torch.float32), ("qwen2", False, torch.bfloat16)],
)
def test_families_tied_or_not_keep_their_number_format(
    build_lm: Callable[..., FrozenLM],
    specs: list[ToolSpec],
    examples: list[Example],
    tmp_path: Path,
    architecture: str,
    tied: bool,
    dtype: torch.dtype,
) -> None:
    lm = build_lm(architecture, tied=tied, dtype=dtype)
    export(fit(lm, specs, examples), lm, tmp_path / "out")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="auto")
    assert model.dtype == dtype
    assert model.config.model_type == architecture
    own = lm.model.get_output_embeddings().weight
    assert torch.equal(model.lm_head.weight[: len(own)], own)


def test_calls_in_running_text_are_folded_too(wide_lm: FrozenLM, specs: list[ToolSpec]) -> None:
    form = PromptFormat(opening="", everywhere=True)
    found = []
    for a, b in ((1, 2), (30, 4), (7, 8), (12, 30), (5, 6), (9, 9), (2, 3)):
        text = f"The sum of {a} and {b} is {a + b}."
        call = {"tool": "add", "args": {"numbers": [a, b]}, "result": str(a + b), "start": text.rindex(str(a + b))}
        found.append(Example.model_validate({"question": f"What is {a} plus {b}?", "answer": text, "calls": [call]}))
    head = fit(wide_lm, specs, found, prompt=form)
    built = build(head, wide_lm, examples=found)
    assert built.tokens.answer is None
    steps = read_steps(built.network, built.tokens, [text for one in found for text in built.writer.example(one)])
    assert agreement(built.fold.decide(steps), Decider(head).decide(steps)).double().mean() > 0.95


def test_an_older_export_is_replaced_and_nothing_else(tiny_lm: FrozenLM, head: ToolkenHead, tmp_path: Path) -> None:
    built = export(head, tiny_lm, tmp_path / "mine")
    (tmp_path / "mine" / "leftover").write_text("of the older one")
    export(head, tiny_lm, tmp_path / "mine")
    assert not (tmp_path / "mine" / "leftover").exists()
    assert [one.name for one in tmp_path.iterdir()] == ["mine"]
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("years of work")
    with pytest.raises(ExportError, match="not an exported head: name a new folder"):
        export(head, tiny_lm, other)
    assert (other / "thesis.txt").exists()
    with pytest.raises(ExportError, match="is a file"):
        export(head, tiny_lm, other / "thesis.txt")
    assert built.tokens.names == tuple(head.names)


def test_a_failed_export_leaves_the_older_one(
    tiny_lm: FrozenLM, head: ToolkenHead, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(head, tiny_lm, tmp_path / "mine")
    before = {one.name: one.read_bytes() for one in (tmp_path / "mine").iterdir()}

    def full(*_: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("toolken.training.export.checkpoint.model_card", full)
    with pytest.raises(ExportError, match="no space left"):
        export(head, tiny_lm, tmp_path / "mine")
    assert {one.name: one.read_bytes() for one in (tmp_path / "mine").iterdir()} == before
    assert [one.name for one in tmp_path.iterdir()] == ["mine"]


def test_other_families_and_other_lms_are_refused(
    build_lm: Callable[..., FrozenLM], specs: list[ToolSpec], head: ToolkenHead, tmp_path: Path
) -> None:
    gpt = build_lm("gpt2")
    with pytest.raises(ExportError, match="family 'gpt2', and only llama and qwen2"):
        export(fit(gpt, specs), gpt, tmp_path / "gpt")
    with pytest.raises(FingerprintError, match="is another one"):
        export(head, build_lm(seed=1), tmp_path / "other")
    assert not list(tmp_path.iterdir())


def test_names_that_cannot_be_tokens_are_refused(tiny_tokenizer: Any) -> None:
    import copy

    with pytest.raises(ExportError, match="'what now' cannot be exported: rename it"):
        add_tokens(copy.deepcopy(tiny_tokenizer), ["what now"], [()], PromptFormat(), [0])
    taken = copy.deepcopy(tiny_tokenizer)
    taken.add_tokens(["<tool:add>"])
    with pytest.raises(ExportError, match="already has a token '<tool:add>'"):
        add_tokens(taken, ["add"], [()], PromptFormat(), [0])


def test_other_folders_are_not_read_as_exports(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="is not an exported head"):
        read_manifest(tmp_path)
    (tmp_path / "toolken.json").write_text(json.dumps({"format": 0}))
    with pytest.raises(ExportError, match="another version"):
        read_manifest(tmp_path)


def test_the_vocabulary_of_an_lm_may_be_larger_than_its_tokenizers(
    build_lm: Callable[..., FrozenLM], tiny_tokenizer: Any
) -> None:
    lm = build_lm("qwen2", vocab_size=len(tiny_tokenizer) + 40)
    network = ExportNetwork(lm, len(tiny_tokenizer) + 4)
    assert network.output_embeddings.shape[0] == len(tiny_tokenizer) + 40


def test_output_embeddings_that_are_not_finite_are_refused() -> None:
    count, size = 12, 4
    hidden = torch.randn(count, size, generator=torch.Generator().manual_seed(0))
    same = torch.zeros(count, dtype=torch.long)
    steps = Steps(hidden, torch.ones(count), same, same + int(StepKind.OPENING), same, same - 1, torch.arange(count))
    wanted = Decisions(same + TEXT, same, torch.zeros(count).double())
    rows = torch.ones(2, size)
    fit_fold(steps, wanted, rows, torch.zeros(2), dtype=torch.float32, chains=False, virtual=1)
    rows[0, 0] = torch.nan
    with pytest.raises(ExportError, match="not finite: check the head"):
        fit_fold(steps, wanted, rows, torch.zeros(2), dtype=torch.float32, chains=False, virtual=1)
