"""Start-up time is measured from the start of a new process, per stage."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from toolken import FrozenLM
from toolken.benchmarks.measurements.startup import measure, start_table
from toolken.errors import LMNotFoundError


def test_the_stages_of_a_start_follow_each_other(tiny_lm: FrozenLM, tmp_path: Path) -> None:
    tiny_lm.tokenizer.save_pretrained(tmp_path)
    tiny_lm.model.save_pretrained(tmp_path)
    starts = measure(tmp_path, runs=2)
    assert [[stage.name for stage in stages] for stages in starts] == [["import", "load", "first text"]] * 2
    for stages in starts:
        assert 0 < stages[0].processor < stages[1].processor < stages[2].processor
        assert 0 < stages[0].wall < stages[1].wall < stages[2].wall
    console = Console(width=120, file=io.StringIO(), record=True)
    console.print(start_table(starts))
    shown = console.export_text()
    for stage in ("import", "load", "first text"):
        assert stage in shown
    assert f"{min(stages[2].processor for stages in starts):.2f}" in shown


def test_an_lm_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(LMNotFoundError, match=r"^No language model could be loaded from .*nowhere") as caught:
        measure(tmp_path / "nowhere", runs=1)
    assert "\n" not in str(caught.value)
