"""Tiny LMs that write given texts, chat templates of several forms, and a small set of records."""

import json
from collections.abc import Callable
from copy import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from toolken.training.lm import FrozenLM

#: Templates by the form in which they write calls.
TEMPLATES = {
    "marked": (
        "{% for tool in tools or [] %}[{{ tool.function.name }}]{% endfor %}"
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}"
        "{% for c in m.tool_calls or [] %}\n<tool_call>\n"
        '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}\n</tool_call>{% endfor %}'
        "<|im_end|>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
    ),
    "bare": (
        "{% for tool in tools or [] %}[{{ tool.function.name }}]{% endfor %}"
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}"
        "{% for c in m.tool_calls or [] %}"
        '{"name": "{{ c.function.name }}", "parameters": {{ c.function.arguments | tojson }}}{% endfor %}'
        "<|im_end|>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
    ),
    "list": (
        "{% for tool in tools or [] %}[{{ tool.function.name }}]{% endfor %}"
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}"
        "{% if m.tool_calls %}[TOOL_CALLS] [{% for c in m.tool_calls %}{{ ', ' if loop.index0 }}"
        '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}{% endfor %}]{% endif %}'
        "<|im_end|>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
    ),
    "functions": (
        "{% for tool in tools or [] %}[{{ tool.function.name }}]{% endfor %}"
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}"
        "{% for c in m.tool_calls or [] %}<function={{ c.function.name }}></function>{% endfor %}"
        "<|im_end|>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
    ),
    "plain": "{% for m in messages %}<{{ m.role }}>{{ m.content }}<|im_end|>{% endfor %}<assistant>",
}


class ScriptedSession:
    """A session of the tiny LM whose most probable text is a script, then the end of the text."""

    def __init__(self, inner: Any, lm: FrozenLM, script: str) -> None:
        self.inner, self.lm, self.script = inner, lm, script

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def fork(self) -> "ScriptedSession":
        return ScriptedSession(self.inner.fork(), self.lm, self.script)

    def feed(self, ids: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        hidden, logits = self.inner.feed(ids)
        tokenizer = self.lm.tokenizer
        written = tokenizer.decode(self.inner.ids, skip_special_tokens=False).rpartition("<assistant>")[2]
        left = self.script[len(written) :] if self.script.startswith(written) else ""
        token = tokenizer(left, add_special_tokens=False)["input_ids"][0] if left else tokenizer.eos_token_id
        logits = logits.clone()
        logits[token] += 1e4
        return hidden, logits


@pytest.fixture
def scripted(build_lm: Any) -> Callable[..., FrozenLM]:
    """A function that builds a tiny LM with a chat template, which writes a script if it has one."""

    def build(form: str = "marked", script: str | None = None, context: int = 4096) -> FrozenLM:
        lm: FrozenLM = copy(build_lm(context=context))
        lm.tokenizer = copy(lm.tokenizer)
        lm.tokenizer.chat_template = TEMPLATES[form]
        if script is not None:
            start = lm.start
            lm.start = lambda: ScriptedSession(start(), lm, script)  # type: ignore[method-assign, assignment, return-value]
        return lm

    return build


CITY = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 8}}, "required": ["city"]}


@pytest.fixture
def call_folder(tmp_path: Path) -> Path:
    """A small set in BFCL's form: four requests with a call, two without, and tools for distractors."""
    folder = tmp_path / "mine"
    folder.mkdir()

    def function(name: str, description: str) -> dict[str, Any]:
        return {"name": name, "description": description, "parameters": CITY | {"type": "dict"}}

    tools = {name: function(name, f"{name} of a city.") for name in ("weather", "population", "mayor", "area")}
    cities = ("Oslo", "Rome", "Lima", "Bonn", "Kyoto", "Cairo", "Paris", "Quito")
    asked = [(f"s{at}", city, list(tools)[at % 2]) for at, city in enumerate(cities)]
    write(
        folder / "simple.jsonl",
        *(
            {"id": i, "question": [[{"role": "user", "content": f"{name} of {city}?"}]], "function": [tools[name]]}
            for i, city, name in asked
        ),
    )
    write(folder / "simple_answers.jsonl", *({"id": i, "ground_truth": [{n: {"city": [c]}}]} for i, c, n in asked))
    write(
        folder / "irrelevance.jsonl",
        *(
            {
                "id": f"i{at}",
                "question": [[{"role": "user", "content": f"Tell joke number {at}."}]],
                "function": [tools["mayor"], tools["area"]],
            }
            for at in range(6)
        ),
    )
    return folder


def write(file: Path, *lines: Any) -> None:
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
