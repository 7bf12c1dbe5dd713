"""The speed measurement runs and prints every figure."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from toolken import FrozenLM
from toolken.agents.bound_tools import BoundTools
from toolken.benchmarks.measurements import speed
from toolken.benchmarks.measurements.synthetic_tools import synthetic_tools


def test_every_figure_is_measured_and_printed(
    tiny_lm: FrozenLM, tiny_background: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {"MANY": 20, "IN_PROMPT": 3, "NEW": 4, "TOKENS": 8, "HISTORY": 90, "BATCH": 3, "CALL_TOKENS": 2}
    for name, value in small.items():
        monkeypatch.setattr(speed, name, value)
    monkeypatch.setattr(speed, "_transformers_model", lambda lm, _: lm.model)
    written = io.StringIO()
    rows = speed.measure(tiny_lm, Console(file=written, width=200))
    text = written.getvalue()
    assert all(row.ratio > 0 and row.own > 0 and row.other > 0 for row in rows)
    assert all(row.what in text for row in rows)
    for promised in (
        "binding",
        "a call with",
        "after a result",
        "a batch of",
        "prefill of",
        "generate in bfloat16",
        "GB/s",
    ):
        assert any(promised in f"{row.what} {row.beside} {row.unit}" for row in rows)


def test_synthetic_tools_are_all_different() -> None:
    many = BoundTools.of(synthetic_tools(1000))
    assert len(many) == 1000
    assert len({spec.description for spec in many.specs}) == 1000
    with pytest.raises(ValueError, match="5000 tools are more than"):
        synthetic_tools(5000)
