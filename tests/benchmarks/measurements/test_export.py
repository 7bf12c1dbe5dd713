"""The comparison of checkpoint and decoder counts agreement, on small data in the published form."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from toolken import FrozenLM
from toolken.benchmarks.measurements.export import measure
from toolken.errors import DataFormatError
from toolken.training.export.decider import Decider, Decisions

SUBJECTS = ("Oslo", "Lima", "Rome", "Bern", "Kyoto", "Quito")


@pytest.fixture
def data(tmp_path: Path, tiny_background: Path) -> Path:
    """Write KAMEL with two tools, in the parent folder of the data sets."""
    folder = tmp_path / "data" / "kamel"
    folder.mkdir(parents=True)
    asked = {"P1": "Where is {}?", "P2": "Who lives in {}?"}
    information = {f"<{tool}>": {"tool_description": text.format("a city")} for tool, text in asked.items()}
    tools = {"tool_dict": {f"<{tool}>": at for at, tool in enumerate(asked)}, "tool_information": information}
    (folder / "tools.json").write_text(json.dumps(tools))
    for file, names in (("supervised_train.jsonl", SUBJECTS[:4]), ("supervised_dev.jsonl", SUBJECTS[4:])):
        lines = [_record(tool, text.format(name), name) for tool, text in asked.items() for name in names]
        (folder / file).write_text("".join(json.dumps(line) + "\n" for line in lines))
    answer = [{"rdf": "yes", "alternative": [], "chosen": "yes"}]
    test = [{"question": "Where is Bonn?", "answer": answer, "api": "P1"}]
    (folder / "test_first_2.json").write_text(json.dumps(test))
    return folder.parent


def _record(tool: str, question: str, subject: str) -> dict[str, Any]:
    text = f"Question: {question}\nAnswer: The answer is yes"
    call = {"call_tool": f"<{tool}>", "call_param": [subject], "return": ["yes"]}
    return {"text": text, "start_str_idx": [text.index("yes")], "tool_calling": [call]}


def test_steps_are_compared_by_kind(tiny_lm: FrozenLM, data: Path, tmp_path: Path) -> None:
    found = measure(tiny_lm, "kamel", data, limit=4, examples=4, keep=tmp_path / "kept")
    shares = {one.what: one for one in found.shares}
    assert {"same next token, all steps", "same, inside arguments", "right tool called at the opening, decoder"} <= {
        *shares
    }
    assert all(0 <= one.low <= one.value <= one.high <= 1 for one in found.shares)
    assert shares["right tool called at the opening, decoder"].n == 4
    assert (tmp_path / "kept" / "kamel" / "toolken.json").is_file()
    assert any("MiB" in note for note in found.notes)


def test_a_decoder_that_decides_otherwise_is_seen(
    tiny_lm: FrozenLM, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decide = Decider.decide

    def other_tool(self: Decider, steps: Any) -> Decisions:
        found = decide(self, steps)
        return Decisions(torch.ones_like(found.classes), (found.tools + 1) % 2, found.odds)

    before = {one.what: one.value for one in measure(tiny_lm, "kamel", data, limit=4, examples=4).shares}
    monkeypatch.setattr("toolken.benchmarks.measurements.export.Decider.decide", other_tool)
    after = {one.what: one.value for one in measure(tiny_lm, "kamel", data, limit=4, examples=4).shares}
    assert after["same, inside arguments"] < before["same, inside arguments"]


def test_unknown_sets_and_missing_data_are_reported(tiny_lm: FrozenLM, tmp_path: Path) -> None:
    with pytest.raises(DataFormatError, match="no dev set 'stq'"):
        measure(tiny_lm, "stq", tmp_path, limit=1)
    with pytest.raises(DataFormatError):
        measure(tiny_lm, "kamel", tmp_path, limit=1)
