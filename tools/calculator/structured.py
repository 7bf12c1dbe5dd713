"""A calculation as a LangChain tool."""

import asyncio
from collections.abc import Callable
from typing import Any

from langchain_core.tools import BaseTool, StructuredTool

from toolken.tools.calculator.answer import Answer
from toolken.tools.calculator.errors import CalculationError
from toolken.tools.calculator.schemas import Arguments
from toolken.tools.errors import ToolError, validation_sentence


def structured_tool(
    name: str, compute: Callable[..., Answer], arguments: type[Arguments], description: str, *, blocks: bool = False
) -> BaseTool:
    """Build a tool that answers with text and the `Answer`.

    Parameters
    ----------
    name, description
        As the model sees them.
    compute
        Takes the arguments by their names; its `CalculationError` becomes a `ToolError`.
    arguments
        The schema.
    blocks
        Whether `compute` waits for something, so that an event loop must not.
    """

    # A tool invoked with a bare string instead of named arguments receives it as the one positional argument, `text`.
    def run(*text: str, **values: Any) -> tuple[str, Answer]:
        try:
            answer = compute(**dict(zip(arguments.model_fields, text, strict=False)), **values)
        except CalculationError as error:
            raise ToolError(str(error)) from error
        return answer.text, answer

    async def arun(*text: str, **values: Any) -> tuple[str, Answer]:
        # The others take microseconds: not worth a thread.
        return await asyncio.to_thread(run, *text, **values) if blocks else run(*text, **values)

    return StructuredTool(
        name=name,
        description=description,
        args_schema=arguments,
        func=run,
        coroutine=arun,
        response_format="content_and_artifact",
        handle_tool_error=True,
        handle_validation_error=validation_sentence,
    )
