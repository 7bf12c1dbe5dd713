"""One LangChain tool for one lookup: a subject in, the object labels as text, the rows as artifact."""

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

    Where the lookup or the argument fails, the tool answers with a sentence, as a tool message with status "error"
    (`handle_tool_error` is set; set it to False on a tool to have the error raised instead).

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
