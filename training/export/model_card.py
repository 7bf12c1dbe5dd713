"""The model card of an exported checkpoint."""

from toolken.training.export.tokens import TOOL
from toolken.training.head.toolken_head import ToolkenHead
from toolken.training.lm import FrozenLM

#: Tools that the card lists with their descriptions.
LISTED = 50


def model_card(head: ToolkenHead, lm: FrozenLM, name: str) -> str:
    """Return the card, in Markdown: what the checkpoint is, how it is served, which tools it has."""
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

{lm.name} with {len(head.specs)} tools as tokens. Each tool is one special token, `{TOOL.format(name="NAME")}`: a row
of the output matrix that wins where the tool is to be called. Virtual tokens follow it, with learned input embeddings,
and then its arguments as JSON, whose strings begin with a space that whoever reads them leaves away. All other weights
are those of {lm.name}, unchanged; its licence goes with them.

The tools were learned from {examples} examples and the tools' descriptions by [toolken](https://pypi.org/project/toolken/),
and what decides on a call in that library was folded into the rows.

## Use

```sh
transformers serve
vllm serve {name} --enable-auto-tool-choice --tool-parser-plugin {name}/vllm_parser.py --tool-call-parser toolken
```

Both answer OpenAI's chat requests with `tool_calls`. Ask at temperature 0; the rows are made for the largest logit, not
for drawing. The tools are part of the checkpoint: a request may name them, and one that names others is refused.

## Tools

| tool | what it does |
|---|---|
{table}
"""


def _cell(text: str) -> str:
    line = " ".join(text.replace("|", "\\|").split())
    return line if len(line) <= 120 else line[:119] + "…"
