"""The page of results: what was compared, the command lines, the tables, and the published figures beside them."""

from collections.abc import Sequence

from toolken.benchmarks.selection.rows import Row
from toolken.benchmarks.selection.tables import markdown

#: What the methods are, in the order in which they are explained.
LEGEND = {
    "toolken": "the default of `fit`",
    "toolken-teacher": (
        "the same, with a sentence encoder when the head is fitted and at most 5,000 training questions without their "
        "labels"
    ),
    "toolken-refined": "polished by gradient descent wherever held-out folds gain anything by it",
    "toolken-fixed-settings": "nothing chosen by leave-one-out",
    "toolken-no-sharing": "nothing learned of one tool from another, and no allowance for tools without examples",
    "toolken-no-metric": "distances measured without the covariance",
    "toolken-output-rows": "rows of the word matrix as the prior",
    "toolken-shuffled": "each tool has another one's prior",
    "toolken-random": "a random prior of the same norm",
    "toolkengpt": "trained as published by Hao et al. 2023 (arXiv 2305.11554), one example a step",
    "tokenlearning-figure": "trained as in the figure of Li et al. 2025 (arXiv 2506.14248), one example a step",
    "tokenlearning-code": "trained as in their released code, one example a step",
    "minilm": "the sentence encoder (all-MiniLM-L6-v2) as a retriever, by description alone",
}

_HEAD = """# Results

Which tool is chosen at the positions where one is called and, where words stand between the calls, at which positions
any tool is called (precision, recall, f1). Every method gets the same model, wording, examples and positions. In
brackets the 95 % bootstrap interval over the test questions; several draws of the training examples are averaged. The
interval of the calibration error (ece), which resampling raises, is moved back around its figure.
Settings were chosen on training or dev data, never on the test. "Examples" are training examples of each tool; in
gsm8k-xl and virtualhome, training problems. "Seconds to fit" do not count the run of the LM, which all methods share;
the first row of a comparison includes what is computed once for all of them, and other work on the machine makes them
larger.

| method | what it is |
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

Sources: Hao et al. 2023 (arXiv 2305.11554), Li et al. 2025 (arXiv 2506.14248) and the paper of Chain-of-Tools. There
the published training sentences were used as they stand; here those that contain a question are cut to it.
"""


def page(rows: Sequence[Row], command: str) -> str:
    """Return the page as Markdown.

    Parameters
    ----------
    rows
        Of any number of comparisons.
    command
        The command line that makes the page of them.
    """
    methods = {row.method for row in rows}
    legend = "\n".join(f"| {name} | {text} |" for name, text in LEGEND.items() if name in methods)
    commands = "\n".join([*dict.fromkeys(row.command for row in rows if row.command), command])
    text = _HEAD.format(legend=legend, commands=commands, tables=markdown(rows).replace("### ", "## ").rstrip())
    return text + (_PUBLISHED if any(row.benchmark == "kamel" for row in rows) else "")
