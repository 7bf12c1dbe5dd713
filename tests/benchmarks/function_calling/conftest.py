"""Tiny LMs that write given texts, and chat templates of several forms."""

from collections.abc import Callable
from copy import copy
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
