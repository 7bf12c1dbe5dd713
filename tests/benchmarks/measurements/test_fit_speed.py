"""A fit is timed against the forward pass and a published trainer on the same examples."""

import pytest

from toolken import Example, FrozenLM, PromptFormat, ToolSpec
from toolken.benchmarks.measurements.fit_speed import measure
from toolken.benchmarks.selection.comparisons import Comparison


@pytest.mark.usefixtures("tiny_background")
def test_every_part_is_timed_and_compared_with_the_fit(
    tiny_lm: FrozenLM, specs: list[ToolSpec], examples: list[Example]
) -> None:
    calling = [example for example in examples if example.calls]
    names = [spec.name for spec in specs]
    comparison = Comparison("supervised", PromptFormat(), specs, names, calling, calling, (None,))
    lines = list(measure(tiny_lm, "kamel", comparison, calling))
    assert [line.what.split(",")[0].split(" over")[0] for line in lines] == [
        "fit",
        "bare forward pass",
        "toolkengpt",
        "one tool added by its description",
        "memory of the fit",
        "memory of a fit of a tenth of the examples",
    ][: len(lines)]
    times = [line for line in lines if line.unit == "s"]
    assert len(times) == 4
    assert lines[0].ratio == 1
    assert all(line.value > 0 and line.ratio == pytest.approx(line.value / lines[0].value) for line in times)
    assert "20 epochs" in lines[2].what
