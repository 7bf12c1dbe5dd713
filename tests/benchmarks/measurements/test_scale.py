"""The measurement of very many tools runs, and its figures on memory and subsets are plausible."""

import pytest

from toolken import FrozenLM
from toolken.benchmarks.measurements.scale import action_specs, measure
from toolken.training.tool_spec import tool_specs


def test_actions_are_repeated_as_variants_that_can_be_told_apart() -> None:
    specs = tool_specs(action_specs(["close book", "open bath_cabinet"], 40))
    assert len({spec.description for spec in specs}) == 40
    assert specs[1].description == "Open bath cabinet."
    assert specs[3].description == "Open bath cabinet in the kitchen."


def test_every_figure_is_measured(tiny_lm: FrozenLM, module_background: None) -> None:
    found = {line.what: line for line in measure(tiny_lm, ["close book", "open door"], tools=2000, read=8)}
    assert found["output embeddings of 2000 tools"].value > 0
    assert found["selecting the tool of a call"].unit == "ms"
    memory = found.get("memory of a process that decides, per-tool part")
    if memory is None:
        pytest.skip("the operating system does not tell how much memory a process holds")
    assert all(line.ratio >= 0 for line in found.values())
