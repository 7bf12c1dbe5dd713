"""The JSON schema keyword of extractive arguments, which are copied from the conversation."""

from pydantic import GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

GROUNDED = "x-grounded"
"""JSON schema keyword; true for an extractive argument, whose value is a span of the conversation, false for one that
the LM writes."""


class Grounded:
    """Annotation of an extractive argument: adds "x-grounded": true to its JSON schema.

    Strings and numbers are extractive by default. `Grounded()` lets a string be any span of the conversation, and
    `Grounded(False)` lets the LM write the value, such as a summary, whatever the conversation says.

    `json_schema_extra` on the field does not work: `BaseTool.tool_call_schema` copies only annotations of a field.

    Examples
    --------
    >>> from typing import Annotated
    >>> from pydantic import TypeAdapter
    >>> TypeAdapter(Annotated[str, Grounded()]).json_schema()
    {'type': 'string', 'x-grounded': True}

    Parameters
    ----------
    copied
        Whether the value is copied.
    """

    def __init__(self, copied: bool = True) -> None:
        self.copied = copied

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {**handler(schema), GROUNDED: self.copied}
