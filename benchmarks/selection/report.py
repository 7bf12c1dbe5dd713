"""The page of selection results: methods, command lines, tables, and published figures."""

from collections.abc import Sequence

from toolken.benchmarks.selection.rows import Row
from toolken.benchmarks.selection.tables import markdown

#: Description of each method, in the order of the page.
LEGEND = {
    "toolken": "the default of `fit`",
    "toolken-teacher": "with a sentence encoder during the fit and at most 5,000 unlabelled training questions",
    "toolken-refined": "refined by gradient descent if held-out folds gain at all",
    "toolken-fixed-settings": "default settings instead of leave-one-out",
    "toolken-no-sharing": "no learned map from descriptions to means, and no allowance for tools without examples",
    "toolken-no-metric": "identity instead of the covariance as the metric",
    "toolken-output-rows": "rows of the LM's output matrix as the prior",
    "toolken-shuffled": "priors shuffled between tools",
    "toolken-random": "a random prior of the same norm",
    "toolkengpt": "trained as in Hao et al. 2023 (arXiv 2305.11554), batch size one",
    "tokenlearning-figure": "trained as in the figure of Li et al. 2025 (arXiv 2506.14248), batch size one",
    "tokenlearning-code": "trained as in their released code, batch size one",
    "toolken-prior": "tools known by description alone: the pretrained prior of the LM, learned on other tools",
    "minilm": "the sentence encoder all-MiniLM-L6-v2 as a retriever over descriptions",
}

_HEAD = """# Results

Selection accuracy at the positions where a tool is called and, for calls in running text, precision, recall and
F1 of the positions at which any tool is called. All methods share the LM, prompt format, examples and decision
positions. Brackets hold 95 % bootstrap intervals over the test questions; several draws of the training
examples are averaged. The interval of the expected calibration error (ece) is corrected for the upward bias of
resampling. Settings were chosen on training or dev data. "Examples" are training examples per tool; for
gsm8k-xl and virtualhome, training problems. "Seconds to fit" exclude the forward pass of the LM, which all
methods share; the first row of a comparison includes work shared by all methods, and other load on the machine
increases them.

| method | description |
|---|---|
{legend}

```sh
{commands}
```

{tables}
"""

_PUBLISHED = """
## As published, with larger models

| | KAMEL, 234 tools, synthetic | KAMEL, 234 tools, supervised |
|---|---|---|
| ToolkenGPT (13B) | .254 | .932 |
| TokenLearning (13B / 70B) | .238 / .330 | |
| Chain-of-Tools (7B) | .436 | .938 |

Sources: Hao et al. 2023 (arXiv 2305.11554), Li et al. 2025 (arXiv 2506.14248) and the Chain-of-Tools paper.
They trained on the published sentences unchanged; here, sentences that contain a question are cut to it. """


def page(rows: Sequence[Row], command: str) -> str:
    """Return the page as Markdown.

    Parameters
    ----------
    rows
        Rows of one or several comparisons.
    command
        The command line that writes the page.
    """
    methods = {row.method for row in rows}
    legend = "\n".join(f"| {name} | {text} |" for name, text in LEGEND.items() if name in methods)
    commands = "\n".join([*dict.fromkeys(row.command for row in rows if row.command), command])
    text = _HEAD.format(legend=legend, commands=commands, tables=markdown(rows).replace("### ", "## ").rstrip())
    return text + (_PUBLISHED if any(row.benchmark == "kamel" for row in rows) else "")
