"""Merged heads are those of one fit; differences say what changed; provenance adds up like the statistics."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from toolken import Example, FrozenLM, PromptFormat, ToolkenHead, ToolSpec, fit
from toolken.errors import FingerprintError, HeadError, ToolSpecError
from toolken.training.estimation.settings import ClosedFormSettings
from toolken.training.head.differences import differences
from toolken.training.head.merging import merge
from toolken.training.head.provenance import Provenance


@pytest.fixture(scope="module")
def parts(
    tiny_lm: FrozenLM, specs: list[ToolSpec], examples: list[Example], module_background: None
) -> tuple[ToolkenHead, ToolkenHead, ToolkenHead]:
    """Two heads of different tools and examples, and the head of all."""
    first, second = examples[:7], examples[7:]
    settings = ClosedFormSettings()
    heads = [
        fit(tiny_lm, tools, shown, settings=settings)
        for tools, shown in ((specs[:2], first), (specs[1:], second), (specs, examples))
    ]
    return heads[0], heads[1], heads[2]


def test_merging_gives_the_output_embeddings_of_one_fit(parts: tuple[ToolkenHead, ToolkenHead, ToolkenHead]) -> None:
    one, other, whole = parts
    merged = merge([one, other])
    assert sorted(merged.names) == sorted(whole.names)
    order = [merged.names.index(name) for name in whole.names]
    # The temperature is chosen on single examples, and comes from the larger part.
    torch.testing.assert_close(
        merged.output_embeddings[order] * merged.temperature, whole.output_embeddings * whole.temperature
    )
    torch.testing.assert_close(merged.biases[order] * merged.temperature, whole.biases * whole.temperature)
    assert merged.provenance.data == whole.provenance.data
    assert merged.provenance.examples == whole.provenance.examples == 15
    assert merged.provenance.metrics == {}
    for name in whole.names:
        shown = [{one.question for one in head.few_shot.shown if one.tool == name} for head in (merged, whole)]
        assert shown[0] == shown[1]


def test_merging_changes_none_of_its_heads(parts: tuple[ToolkenHead, ToolkenHead, ToolkenHead], tmp_path: Path) -> None:
    versions = [head.save_pretrained(tmp_path / "head") for head in parts[:2]]
    merge(parts[:2])
    assert [head.save_pretrained(tmp_path / "head") for head in parts[:2]] == versions


def test_examples_are_not_counted_twice(parts: tuple[ToolkenHead, ToolkenHead, ToolkenHead]) -> None:
    with pytest.raises(HeadError, match="Heads 1 and 2 were fitted on the same examples"):
        merge([parts[0], parts[0]])


def test_heads_that_do_not_belong_together_are_not_merged(
    parts: tuple[ToolkenHead, ToolkenHead, ToolkenHead], tiny_lm: FrozenLM, specs: list[ToolSpec]
) -> None:
    one = parts[0]
    other_prompt = fit(tiny_lm, specs, prompt=PromptFormat(opening=" It is"))
    with pytest.raises(FingerprintError, match="prompt formats"):
        merge([one, other_prompt])
    renamed = fit(tiny_lm, [ToolSpec(name="add", description="Put a thing into the basket."), specs[1]])
    with pytest.raises(ToolSpecError, match="'add'"):
        merge([one, renamed])
    other_prior = fit(tiny_lm, specs, prior=torch.eye(len(specs), tiny_lm.hidden_size))
    with pytest.raises(HeadError, match="different priors"):
        merge([one, other_prior])
    with pytest.raises(HeadError, match="nothing to merge"):
        merge([])


def test_the_hash_of_examples_adds_up_whatever_their_order(examples: list[Example]) -> None:
    whole = Provenance.of(examples)
    assert Provenance.of(reversed(examples)) == whole
    assert Provenance.of(examples[:5]).merge(Provenance.of(examples[5:])) == whole
    assert whole.without(examples[3:6]) == Provenance.of(examples[:3] + examples[6:])
    assert Provenance.of(examples[:1] * 2).data not in {Provenance().data, Provenance.of(examples[:1]).data}


def test_differences_name_what_changed(
    parts: tuple[ToolkenHead, ToolkenHead, ToolkenHead], tiny_lm: FrozenLM, examples: list[Example], tmp_path: Path
) -> None:
    whole = parts[2]
    whole.save_pretrained(tmp_path / "head")
    changed = ToolkenHead.from_pretrained(tmp_path / "head")
    assert differences(whole, changed) == []
    changed = replace(changed, threshold=0.25)
    assert [line.what for line in differences(whole, changed)] == ["threshold"]
    changed = changed.with_tools([ToolSpec(name="price", description="Look up the price of a product.")], tiny_lm)
    changed = changed.without_examples(examples[:2], tiny_lm)
    found = {line.what: line for line in differences(whole, changed)}
    assert found["tools that only one head has"].other == "price"
    assert found["examples"][1:] == ("15", "13")
    assert found["examples per tool"][1:] == ("add: 4", "add: 2")
    assert "hash of the examples" in found
    assert "output embeddings of common tools, relative distance" in found
    assert found["selection.accuracy"].other == "not measured"


def test_every_head_is_checked_against_all_the_others(
    parts: tuple[ToolkenHead, ToolkenHead, ToolkenHead], tiny_lm: FrozenLM
) -> None:
    book, moon, twin = (
        fit(tiny_lm, [ToolSpec(name=name, description=description)])
        for name, description in (
            ("look", "Look up a book in the library."),
            ("look", "Look at a picture of the moon."),
            ("find_book", "Look up a book in the library."),
        )
    )
    with pytest.raises(ToolSpecError, match="Two different tools are called 'look'"):
        merge([parts[0], book, moon])
    with pytest.raises(ToolSpecError, match="'look' and 'find_book' have one description"):
        merge([parts[0], book, twin])
    assert merge(iter([parts[0], book])).names == ["add", "weather", "look"]
