"""One LangChain tool for one lookup: a subject in, the object labels as text, the rows as artifact."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

from langchain_core.tools import BaseTool, StructuredTool
from pydantic import Field, GetJsonSchemaHandler, create_model
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from toolken.tools.knowledge.names import MAX_NAME_LENGTH


class Grounded:
    """Annotation of an argument that is copied from the conversation: "x-grounded": true in its JSON schema.

    As `json_schema_extra` of the field it would be lost: `BaseTool.tool_call_schema` copies a field's annotations only.
    """

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {**handler(schema), "x-grounded": True}


Answer = Callable[[str], tuple[str, Sequence[Mapping[str, Any]]]]


def lookup_tool(name: str, description: str, subject: str, answer: Answer) -> BaseTool:
    """Build a tool whose one argument is the subject, copied from the conversation.

    Parameters
    ----------
    name, description : str
        As the model sees them.
    subject : str
        What is asked for, such as "the name of the country".
    answer : callable
        Gives text and rows for a subject; raises `ToolError` where there are none.
    """

    def look_up(subject: str) -> tuple[str, Sequence[Mapping[str, Any]]]:
        return answer(subject)

    argument = Field(
        min_length=1,
        max_length=MAX_NAME_LENGTH,
        description=f"{subject[:1].upper()}{subject[1:]}, as it is written in the question.",
    )
    return StructuredTool.from_function(
        func=look_up,
        name=name,
        description=description,
        args_schema=create_model(f"{name}_arguments", subject=Annotated[str, argument, Grounded()]),
        response_format="content_and_artifact",
    )


def joined(groups: Mapping[str, Sequence[str]], more: bool) -> str:
    """Write the objects of each subject as text: "A, B" for one subject, "X: A, B; Y: C" where several have the name.

    Parameters
    ----------
    groups : mapping of str to sequence of str
        Object labels by subject.
    more : bool
        Whether the row limit cut the answer, which the text then says.
    """
    lists = {subject: ", ".join(objects) for subject, objects in groups.items()}
    text = next(iter(lists.values())) if len(lists) == 1 else "; ".join(f"{s}: {o}" for s, o in lists.items())
    return f"{text} and more" if more else text
