"""`--format` of `toolken fit` and `toolken ask`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from toolken import FrozenLM, ToolkenHead
from toolken.training.prompts.chat_format import ChatTemplateFormat
from toolken.training.prompts.prompt_format import PromptFormat

Run = Callable[..., tuple[int, str, str]]


@pytest.mark.usefixtures("module_background")
@pytest.mark.parametrize(("name", "kind"), [("chat", ChatTemplateFormat), ("question", PromptFormat)])
def test_fit_writes_a_head_of_the_format_and_ask_refuses_another(
    run: Run, tmp_path: Path, templated: Any, monkeypatch: pytest.MonkeyPatch, name: str, kind: type
) -> None:
    lm = templated("native")
    monkeypatch.setattr(FrozenLM, "from_pretrained", lambda *_, **__: lm)
    code, _, err = run("fit", "--tools", "calculator", "--format", name, "--out", tmp_path / "head")
    assert code == 0, err
    assert isinstance(ToolkenHead.from_pretrained(tmp_path / "head").prompt, kind)
    other = "question" if name == "chat" else "chat"
    asked = ("ask", "What is 2 plus 3?", "--head", tmp_path / "head", "--tools", "calculator")
    code, _, err = run(*asked, "--format", other)
    assert code == 2
    assert "format" in err


def test_an_unknown_format_is_refused(run: Run, tmp_path: Path) -> None:
    code, _, err = run("fit", "--tools", "calculator", "--format", "poem", "--out", tmp_path / "head")
    assert code == 2
    assert "There is no format 'poem'" in err


def test_ray_reads_questions_and_answers_only(run: Run, tmp_path: Path) -> None:
    options = ("--backend", "ray", "--format", "chat", "--examples", tmp_path / "any.jsonl")
    code, _, err = run("fit", "--tools", "calculator", *options, "--out", tmp_path / "head")
    assert code == 2
    assert "omit" in err
