"""Tools that nothing tells apart are not bound, and an agent takes its tools from anywhere."""

import pytest
from langchain_core.tools import tool

from toolken.agents import ToolkenAgent
from toolken.agents.bound_tools import BoundTools
from toolken.agents.toolset import Toolkens
from toolken.errors import ToolSpecError
from toolken.training import FrozenLM, ToolkenHead, ToolSpec

pytestmark = pytest.mark.usefixtures("tiny_background")


@tool
def weather(city: str) -> str:
    """Tell the weather in a city."""
    return "fine"


def test_bound_tools_of_one_description_are_refused(tiny_lm: FrozenLM, tiny_head: ToolkenHead) -> None:
    twins = BoundTools.of([ToolSpec(name=name, description="Feed the cat.") for name in ("feed", "nourish")])
    for head in (None, tiny_head):
        with pytest.raises(ToolSpecError, match="'feed' and 'nourish' have one description"):
            Toolkens(tiny_lm, head).of(twins)
        with pytest.warns(UserWarning, match="'boil' has no description"):
            Toolkens(tiny_lm, head).of(BoundTools.of([ToolSpec(name="boil")]))


def test_only_tools_that_are_bound_together_have_to_be_told_apart(tiny_lm: FrozenLM, tiny_head: ToolkenHead) -> None:
    toolkens = Toolkens(tiny_lm, tiny_head)
    forecast = ToolSpec(name="forecast", description="Tell the weather in a city.")
    assert toolkens.of(BoundTools.of([forecast])).head is not None
    with pytest.raises(ToolSpecError, match="'weather' and 'forecast' have one description"):
        toolkens.of(BoundTools.of([tiny_head.specs[1], forecast]))


def test_an_agent_runs_the_tools_of_a_generator(tiny_lm: FrozenLM) -> None:
    assert list(ToolkenAgent(tiny_lm, None, (one for one in [weather])).tools) == ["weather"]
