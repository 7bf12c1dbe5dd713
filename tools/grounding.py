"""The JSON schema keyword of extractive arguments, which are copied from the conversation."""

from pydantic import GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

GROUNDED = "x-grounded"
"""JSON schema keyword; true for an extractive argument, whose value is a span of the conversation."""


class Grounded:
    """Annotation of an extractive argument: adds "x-grounded": true to its JSON schema.

    `json_schema_extra` on the field does not work: `BaseTool.tool_call_schema` copies only annotations of a field.

    Examples
    --------
    >>> from typing import Annotated
    >>> from pydantic import TypeAdapter
    >>> TypeAdapter(Annotated[str, Grounded()]).json_schema()
    {'type': 'string', 'x-grounded': True}
    """

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {**handler(schema), GROUNDED: True}
