"""The mark of an argument that is to be copied from the conversation, in its JSON schema."""

from pydantic import GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

GROUNDED = "x-grounded"
"""JSON schema keyword; true where the value stands in the conversation and is not to be made up."""


class Grounded:
    """Annotation of an argument that is copied from the conversation: "x-grounded": true in its JSON schema.

    As `json_schema_extra` of the field it would be lost: `BaseTool.tool_call_schema` copies a field's annotations only.

    Examples
    --------
    >>> from typing import Annotated
    >>> from pydantic import TypeAdapter
    >>> TypeAdapter(Annotated[str, Grounded()]).json_schema()
    {'type': 'string', 'x-grounded': True}
    """

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {**handler(schema), GROUNDED: True}
