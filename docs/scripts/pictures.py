"""Draw the pictures of the documentation: two call decisions, and accuracies on KAMEL. `make pages` runs this."""

import re
from pathlib import Path

import matplotlib as mpl
import torch
from langchain_core.tools import tool
from matplotlib.figure import Figure

DOCS = Path(__file__).parent.parent
PICTURES = DOCS / "pictures"
#: A fixed salt keeps element ids stable, so that a diff of the file is a change of the picture.
mpl.rcParams["svg.hashsalt"] = "toolken"
MUTED, TOOL = "#aab7b8", "#1e8449"


def save(figure: Figure, name: str) -> None:
    """Write a picture as SVG without a date."""
    figure.savefig(PICTURES / f"{name}.svg", metadata={"Date": None})


def draw_decisions() -> None:
    """Draw the joint softmax over vocabulary and tools after two questions, for an agent with three tools."""
    from toolken import FrozenLM, ToolkenAgent, fit

    @tool
    def weather(city: str) -> str:
        """Tell what the weather is like in a city today."""
        return "sun"

    @tool
    def opening_hours(shop: str) -> str:
        """Tell when a shop opens and closes."""
        return "9 to 18"

    @tool
    def shelf_of_book(title: str) -> str:
        """Tell on which shelf of the library a book stands."""
        return "shelf 12"

    lm = FrozenLM.from_pretrained()
    tools = [weather, opening_hours, shelf_of_book]
    toolset = ToolkenAgent(lm, fit(lm, tools), tools).decoder.toolset
    names = [one.name for one in tools]
    questions = ("When does the bakery open?", "What is the opposite of hot?")
    figure = Figure(figsize=(9, 2.6), layout="constrained")
    for axes, question in zip(figure.subplots(1, 2, sharex=True), questions, strict=True):
        hidden, logits = lm.start().feed(lm.encode(toolset.prompt.query(question)).ids)
        decision = toolset.decide(hidden, names, results=0)
        call = float(decision.call_probability)
        best = torch.topk((1 - call) * torch.softmax(logits, dim=0), 4)
        probabilities = dict(zip(names, decision.probabilities.tolist(), strict=True))
        tokens = {f"“{lm.decode([at]).strip()}”": p for p, at in zip(*map(torch.Tensor.tolist, best), strict=True)}
        shown = sorted([*probabilities.items(), *tokens.items()], key=lambda pair: pair[1])
        colours = [TOOL if name in names else MUTED for name, _ in shown]
        axes.barh([name for name, _ in shown], [p for _, p in shown], color=colours)
        axes.set(xlim=(0, 1), xlabel="probability of the next token", title=f"{question} … The answer is")
        axes.title.set_fontsize("medium")
    save(figure, "decisions")


def draw_kamel() -> None:
    """Draw the accuracies on KAMEL's 234 tools against the number of examples, read from the page of results."""
    text = (DOCS / "reference" / "results.md").read_text(encoding="utf-8")
    section = re.split(r"\n#+ ", text.split("kamel, supervised, 234 tools")[1])[0]
    lines: dict[str, list[tuple[str, list[float]]]] = {}
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        figures = re.findall(r"\d\.\d+", cells[2]) if len(cells) > 2 else []
        if len(figures) == 3:
            lines.setdefault(cells[0], []).append((cells[1], [float(one) for one in figures]))
    figure = Figure(figsize=(7, 3.4), layout="constrained")
    axes = figure.subplots()
    shown = ("toolken", "toolken-teacher", "toolken-shuffled", "minilm", "toolkengpt", "tokenlearning-figure")
    ticks = list(dict.fromkeys(count for name in shown for count, _ in lines.get(name, [])))
    for name in shown:
        points = lines.get(name, [])
        at = [ticks.index(count) for count, _ in points]
        values = [value for _, (value, _, _) in points]
        spread = [[value - low for _, (value, low, _) in points], [high - value for _, (value, _, high) in points]]
        axes.errorbar(at, values, yerr=spread, marker="o", capsize=2, label=name)
    axes.set_xticks(range(len(ticks)), ticks)
    axes.set(xlabel="examples per tool", ylabel="selection accuracy, 234 tools", ylim=(0, 1.02))
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", loc="lower right")
    save(figure, "kamel")


if __name__ == "__main__":
    PICTURES.mkdir(exist_ok=True)
    draw_kamel()
    draw_decisions()
