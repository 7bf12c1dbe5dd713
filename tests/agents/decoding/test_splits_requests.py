"""Whether the parts of a message are decided separately by default."""

from pathlib import Path

from toolken import FrozenLM, ToolkenHead, ToolSpec
from toolken.agents.bound_tools import BoundTools
from toolken.agents.decoding.toolset import Toolkens


def test_parts_are_decided_separately_only_where_no_tool_has_examples(
    tiny_lm: FrozenLM, tiny_head: ToolkenHead, specs: list[ToolSpec], tiny_background: Path
) -> None:
    bound = BoundTools.of(specs)
    assert Toolkens(tiny_lm).of(bound).splits_requests
    assert not Toolkens(tiny_lm, tiny_head, by_name=True).of(bound).splits_requests
