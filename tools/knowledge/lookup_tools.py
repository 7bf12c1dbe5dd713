"""The LangChain tool of a lookup: its argument is the subject, its text the objects, its artifact the rows."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

from langchain_core.tools import BaseTool, StructuredTool
from pydantic import ConfigDict, Field, create_model

from toolken.tools.errors import validation_sentence
from toolken.tools.grounding import Grounded
from toolken.tools.knowledge.names import MAX_NAME_LENGTH

Answer = Callable[[str], tuple[str, Sequence[Mapping[str, Any]]]]


def lookup_tool(name: str, description: str, subject: str, answer: Answer) -> BaseTool:
    """Build a tool whose one argument is the subject, copied from the conversation.

    An invalid argument or a failed lookup gives a tool message with status "error" whose content is one sentence. Set
    `handle_tool_error = False` on the tool to raise the error instead.

    Parameters
    ----------
    name, description : str
        As the model sees them.
    subject : str
        The argument as a noun phrase, such as "the name of the country".
    answer : callable
        Returns text and rows for a subject; raises `ToolError` if there are none.
    """

    def look_up(subject: str) -> tuple[str, Sequence[Mapping[str, Any]]]:
        return answer(subject)

    argument = Field(
        min_length=1,
        max_length=MAX_NAME_LENGTH,
        description=f"{subject[:1].upper()}{subject[1:]}, as it is written in the question.",
    )
    arguments = create_model(
        f"{name}_arguments", __config__=ConfigDict(extra="forbid"), subject=Annotated[str, argument, Grounded()]
    )
    return StructuredTool.from_function(
        func=look_up,
        name=name,
        description=description,
        args_schema=arguments,
        response_format="content_and_artifact",
        handle_tool_error=True,
        handle_validation_error=validation_sentence,
    )


def joined(groups: Mapping[str, Sequence[str]], more: bool) -> str:
    """Join the objects per subject: "A, B" for one subject, "X: A, B; Y: C" for several.

    Parameters
    ----------
    groups : mapping of str to sequence of str
        Object labels by subject.
    more : bool
        Whether the row limit was reached; the text then ends in "and more".
    """
    lists = {subject: ", ".join(objects) for subject, objects in groups.items()}
    text = next(iter(lists.values())) if len(lists) == 1 else "; ".join(f"{s}: {o}" for s, o in lists.items())
    return f"{text} and more" if more else text
