"""Heads with 60,000 tools: an operation of more than linear time would not finish here."""

from pathlib import Path

import pytest
import torch

from toolken import FrozenLM, ToolkenHead, ToolSpec
from toolken.agents.bound_tools import BoundTools
from toolken.agents.decoding.toolset import Toolset
from toolken.errors import ToolSpecError
from toolken.training.estimation import statistics as statistics_module
from toolken.training.estimation.closed_form import closed_form
from toolken.training.estimation.estimate import Estimate
from toolken.training.estimation.refinement import Correction
from toolken.training.estimation.settings import ClosedFormSettings
from toolken.training.estimation.statistics import ToolStatistics
from toolken.training.head.merging import merge

MANY = 60_000


@pytest.fixture(scope="module")
def many(fitted_head: ToolkenHead) -> ToolkenHead:
    """A head of `MANY` tools with the background and the gate of a fitted head; every seventh tool has an example."""
    random = torch.Generator().manual_seed(0)
    size = fitted_head.statistics.hidden_size
    specs = [ToolSpec(name=f"tool_{i}", description=f"Do thing number {i}.") for i in range(MANY)]
    statistics = ToolStatistics.empty([spec.name for spec in specs], size)
    labels = torch.arange(0, MANY, 7)
    statistics.add(torch.randn(len(labels), size, generator=random), labels)
    correction = Correction(tuple(statistics.names), torch.zeros(MANY, size).double(), torch.zeros(MANY).double())
    return ToolkenHead(
        lm_name=fitted_head.lm_name,
        lm_fingerprint=fitted_head.lm_fingerprint,
        prompt=fitted_head.prompt,
        specs=specs,
        estimate=Estimate(
            forms={"query": torch.randn(MANY, size, generator=random)},
            statistics=statistics,
            background=fitted_head.estimate.background,
            correction=correction,
        ),
        gate=fitted_head.gate,
    )


def test_a_head_of_many_tools_can_be_saved_loaded_extended_reduced_and_merged(
    many: ToolkenHead, tiny_lm: FrozenLM, tmp_path: Path
) -> None:
    many.save_pretrained(tmp_path / "head")
    loaded = ToolkenHead.from_pretrained(tmp_path / "head")
    assert torch.equal(loaded.output_embeddings, many.output_embeddings)
    torch.testing.assert_close(loaded.statistics.sums, many.statistics.sums)
    new = [ToolSpec(name=f"new_{i}", description=f"Find the new thing {i}.") for i in range(20)]
    grown = loaded.with_tools(new, tiny_lm)
    grown = grown.without_tools(grown.names[:-20:2])
    assert len(grown.names) == MANY // 2 + 20
    merged = merge([many, grown])
    assert len(merged.names) == MANY + 20
    assert merged.output_embeddings.shape == (MANY + 20, tiny_lm.hidden_size)


def test_a_request_may_be_bound_to_any_subset_of_the_tools_of_one_head(many: ToolkenHead) -> None:
    toolset = Toolset(BoundTools.of(many.specs), many, many.prompt)
    hidden = torch.randn(many.output_embeddings.shape[1], generator=torch.Generator().manual_seed(1))
    whole = toolset.decide(hidden, toolset.tools.names, results=0).shares
    torch.testing.assert_close(whole.sum(), torch.tensor(1.0))
    for names in (toolset.tools.names[::2], toolset.tools.names[5:1000:100]):
        decision = toolset.decide(hidden, names, results=0)
        index = many.subset(names)
        assert index is not None
        torch.testing.assert_close(decision.shares, whole[index] / whole[index].sum())
        torch.testing.assert_close(decision.shares, many.decide(hidden[None], names).log_shares.exp()[0])
        assert decision.call_probability > 0
    with pytest.raises(ToolSpecError, match="'tool_x'"):
        toolset.decide(hidden, ["tool_1", "tool_x"], results=0)


def test_blocks_change_nothing(many: ToolkenHead, monkeypatch: pytest.MonkeyPatch) -> None:
    few = list(range(300))
    forms = {"query": many.forms["query"][few].double(), "teacher": many.forms["query"][300:600].double()}
    forms["teacher"][::5] = torch.nan
    statistics = ToolStatistics.empty(many.names[:300], many.output_embeddings.shape[1])
    labels = torch.arange(0, 300, 2)
    statistics.add(
        torch.randn(len(labels), many.output_embeddings.shape[1], generator=torch.Generator().manual_seed(2)), labels
    )
    geometry = many.geometry
    whole = closed_form(geometry, forms, statistics, ClosedFormSettings())
    monkeypatch.setattr(statistics_module, "BLOCK", 7)
    parts = closed_form(geometry, forms, statistics, ClosedFormSettings())
    for name in ("prior", "means", "leverage", "covariance", "output_embeddings", "biases"):
        torch.testing.assert_close(getattr(parts, name), getattr(whole, name), rtol=1e-9, atol=1e-9)
    rows, biases = parts.output_vectors(2.0)
    torch.testing.assert_close(rows, (whole.output_embeddings / 2).float())
    torch.testing.assert_close(biases, (whole.biases / 2).float())


def test_tools_without_examples_take_up_no_sums(tiny_lm: FrozenLM) -> None:
    statistics = ToolStatistics.empty([f"tool_{i}" for i in range(1000)], tiny_lm.hidden_size)
    statistics.add(torch.ones(2, tiny_lm.hidden_size), torch.tensor([3, 999]))
    tensors = statistics.tensors()
    assert tensors["sums"].shape == (2, tiny_lm.hidden_size)
    restored = ToolStatistics.from_tensors(statistics.names, tensors)
    assert torch.equal(restored.sums, statistics.sums)
    assert torch.equal(restored.copy().sums, statistics.sums)
