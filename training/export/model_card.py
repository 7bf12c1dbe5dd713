"""The model card of an exported checkpoint."""

from toolken.training.export.tokens import TOOL
from toolken.training.head.toolken_head import ToolkenHead
from toolken.training.lm import FrozenLM

#: Largest number of tools in the card.
LISTED = 50


def model_card(head: ToolkenHead, lm: FrozenLM, name: str) -> str:
    """Return the model card in Markdown: what the checkpoint is, how to serve it, its tools."""
    tools = [f"| `{spec.name}` | {_cell(spec.words)} |" for spec in head.specs[:LISTED]]
    more = len(head.specs) - LISTED
    if more > 0:
        tools.append(f"| … | {more} more, in `toolken.json` |")
    examples = head.provenance.examples
    table = "\n".join(tools)
    return f"""---
library_name: transformers
pipeline_tag: text-generation
tags:
- toolken
- function-calling
---

# {name}

{lm.name} with {len(head.specs)} tools as tokens. Each tool is one special token, `{TOOL.format(name="NAME")}`, whose
output embedding wins where the tool is to be called. Virtual tokens with learned input embeddings follow it, then its
arguments as JSON, whose strings begin with a space that parsers remove. All other weights are those of {lm.name},
unchanged; its licence applies to them.

The tools were learned from {examples} examples and the descriptions of the tools by
[toolken](https://pypi.org/project/toolken/), and the call gate of that library was folded into the output embeddings.

## Use

```sh
transformers serve
vllm serve {name} --enable-auto-tool-choice --tool-parser-plugin {name}/vllm_parser.py --tool-call-parser toolken
```

Both implement OpenAI's chat API with `tool_calls`. Use temperature 0: the output embeddings are fitted for the largest
logit, not for sampling. The tools are part of the checkpoint: a request may name them; one that names others is
refused.

## Tools

| tool | what it does |
|---|---|
{table}
"""


def _cell(text: str) -> str:
    line = " ".join(text.replace("|", "\\|").split())
    return line if len(line) <= 120 else line[:119] + "…"
