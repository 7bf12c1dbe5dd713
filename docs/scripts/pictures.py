"""Draw the pictures of the documentation: two call decisions, and the results as their pages have them.

`make pages` runs this. Panels of dev questions, which no page has, are drawn by `toolken bench report --plot` alone.
"""

import re
from pathlib import Path

import matplotlib as mpl
import torch
from langchain_core.tools import tool
from matplotlib.figure import Figure

from toolken import FrozenLM, ToolkenAgent, fit
from toolken.agents.decoding.toolset import Toolset
from toolken.benchmarks.end_to_end.plots import draw_end_to_end
from toolken.benchmarks.selection.plots import FONT_SIZE
from toolken.benchmarks.selection.rows import Row

DOCS = Path(__file__).parent.parent
PICTURES = DOCS / "pictures"
#: A fixed salt keeps element ids stable, so that a diff of the file is a change of the picture.
mpl.rcParams["svg.hashsalt"] = "toolken"
MUTED, TOOL = "#aab7b8", "#1e8449"
#: Pages of end-to-end results, with the beginning of their pictures' names.
END_TO_END = {"results-end-to-end": "end-to-end", "results-one-run": "one-run"}
_HEADING = re.compile(r"## (?P<benchmark>[\w-]+), (?P<split>[^,]+), (?P<tools>\d+) tools \((?P<n>\d+) questions\)")
_FIGURE = re.compile(r"(\d+\.\d+) \((\d+\.\d+)–(\d+\.\d+)\)")


def save(figure: Figure, name: str) -> None:
    """Write a picture as SVG without a date."""
    figure.savefig(PICTURES / f"{name}.svg", metadata={"Date": None})


def draw_decisions() -> None:
    """Draw the joint softmax over vocabulary and tools after two questions, for an agent with three tools."""

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
    with mpl.rc_context({"font.size": FONT_SIZE}):
        _draw_decisions(lm, toolset, names)


def _draw_decisions(lm: FrozenLM, toolset: Toolset, names: list[str]) -> None:
    questions = ("When does the bakery open?", "What is the opposite of hot?")
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    for axes, question in zip(figure.subplots(1, 2, sharex=True), questions, strict=True):
        hidden, logits = lm.start().feed(lm.encode(toolset.prompt.query(question)).ids)
        decision = toolset.decide(hidden, names, results=0)
        call = float(decision.call_probability)
        best = torch.topk((1 - call) * torch.softmax(logits, dim=0), 4)
        probabilities = dict(zip(names, decision.probabilities.tolist(), strict=True))
        tokens = {repr(lm.decode([at])): p for p, at in zip(*map(torch.Tensor.tolist, best), strict=True)}
        shown = sorted([*probabilities.items(), *tokens.items()], key=lambda pair: pair[1])
        colours = [TOOL if name in names else MUTED for name, _ in shown]
        axes.barh([name for name, _ in shown], [p for _, p in shown], color=colours)
        axes.set(xlim=(0, 1), xlabel="probability of the next token", title=f"{question}\n… The answer is")
        axes.title.set_fontsize("medium")
    save(figure, "decisions")


def rows_of(page: str) -> list[Row]:
    """Return the rows of the tables on a page of end-to-end results."""
    found: list[Row] = []
    for section in re.split(r"^(?=## )", page, flags=re.MULTILINE):
        heading = _HEADING.match(section)
        if heading is None:
            continue
        lines = [
            [cell.strip() for cell in line.strip("|").split("|")] for line in re.findall(r"^\|.*\|$", section, re.M)
        ]
        for cells in lines[2:]:
            for metric, cell in zip(lines[0], cells, strict=True):
                if (figure := _FIGURE.fullmatch(cell)) is not None:
                    value, low, high = map(float, figure.groups())
                    found.append(
                        Row(
                            benchmark=heading["benchmark"],
                            split=heading["split"],
                            method=cells[0],
                            tools=int(heading["tools"]),
                            examples_per_tool=None if cells[1] == "all" else int(cells[1]),
                            seed=None,
                            metric=metric,
                            value=value,
                            low=low,
                            high=high,
                            n=int(heading["n"]),
                            seconds=0.0,
                            mode="end-to-end",
                        )
                    )
    return found


def draw_results() -> None:
    """Draw the end-to-end results."""
    for page, name in END_TO_END.items():
        rows = rows_of((DOCS / "reference" / f"{page}.md").read_text(encoding="utf-8"))
        for file in draw_end_to_end(rows, PICTURES / f"{name}.png"):
            if file.suffix == ".svg":  # the pages show the PNG
                file.unlink()


def draw_kamel() -> None:
    """Draw the accuracies on KAMEL's 234 tools by examples per tool, read from the page of selection results."""
    text = (DOCS / "reference" / "results-selection.md").read_text(encoding="utf-8")
    section = re.split(r"\n#+ ", text.split("kamel, supervised, 234 tools")[1])[0]
    lines: dict[str, list[tuple[str, list[float]]]] = {}
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        figures = re.findall(r"\d\.\d+", cells[2]) if len(cells) > 2 else []
        if len(figures) == 3:
            lines.setdefault(cells[0], []).append((cells[1], [float(one) for one in figures]))
    with mpl.rc_context({"font.size": FONT_SIZE}):
        _draw_kamel(lines)


def _draw_kamel(lines: dict[str, list[tuple[str, list[float]]]]) -> None:
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    axes = figure.subplots()
    shown = ("toolken", "toolken-teacher", "toolken-shuffled", "minilm", "toolkengpt", "tokenlearning-figure")
    ticks = list(dict.fromkeys(count for name in shown for count, _ in lines.get(name, [])))
    for name in shown:
        if name not in lines:
            continue
        points = lines[name]
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
    draw_results()
    draw_decisions()
