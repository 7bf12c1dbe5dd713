"""Side effects as the metadata of tools says them."""

from typing import Any

import pytest
from langchain_core.tools import StructuredTool
from mcp.types import ToolAnnotations

from toolken.tools.side_effects import has_side_effects


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        (None, None),
        ({"owner": "me"}, None),
        ({"side_effects": True}, True),
        ({"side_effects": False}, False),
        ({"side_effects": False, "readOnlyHint": False}, False),
        ({"side_effects": True, "readOnlyHint": True}, True),
        (ToolAnnotations(readOnlyHint=True).model_dump(), False),
        (ToolAnnotations(readOnlyHint=False).model_dump(), True),
        (ToolAnnotations(destructiveHint=False).model_dump(), True),
        (ToolAnnotations(readOnlyHint=True, destructiveHint=True).model_dump(), True),
        (ToolAnnotations(title="Anything").model_dump(), True),
    ],
)
def test_side_effects_follow_the_metadata(metadata: dict[str, Any] | None, expected: bool | None) -> None:
    tool = StructuredTool.from_function(func=lambda: "done", name="act", description="Act.", metadata=metadata)
    assert has_side_effects(tool) is expected
