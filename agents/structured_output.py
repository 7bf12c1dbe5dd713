"""Parsers of structured output that raise if the call is invalid, where LangChain's return None."""

from typing import Any

from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import JsonOutputKeyToolsParser, PydanticToolsParser
from langchain_core.outputs import Generation
from langchain_core.runnables import Runnable, RunnableSequence


def structured_output(chain: Runnable[Any, Any]) -> Runnable[Any, Any]:
    """Return LangChain's chain for structured output with parsers that raise if the arguments are invalid."""
    if isinstance(chain, RunnableSequence) and isinstance(chain.last, (PydanticToolsParser, JsonOutputKeyToolsParser)):
        return chain.first | _strict(chain.last)
    return chain


def _strict(parser: PydanticToolsParser | JsonOutputKeyToolsParser) -> Runnable[Any, Any]:
    options = {name: getattr(parser, name) for name in type(parser).model_fields}
    return (StrictPydanticParser if isinstance(parser, PydanticToolsParser) else StrictJsonParser)(**options)


class StrictPydanticParser(PydanticToolsParser):
    """Parses the call of a message into its pydantic class."""

    def parse_result(self, result: list[Generation], *, partial: bool = False) -> Any:
        """Return the object.

        Raises
        ------
        OutputParserException
            If the call's arguments are invalid.
        """
        _refuse_invalid(result, partial)
        return super().parse_result(result, partial=partial)


class StrictJsonParser(JsonOutputKeyToolsParser):
    """Parses the call of a message into a dict."""

    def parse_result(self, result: list[Generation], *, partial: bool = False) -> Any:
        """Return the dict.

        Raises
        ------
        OutputParserException
            If the call's arguments are invalid.
        """
        _refuse_invalid(result, partial)
        return super().parse_result(result, partial=partial)


def _refuse_invalid(result: list[Generation], partial: bool) -> None:
    message = getattr(result[0], "message", None)
    if partial or not isinstance(message, AIMessage) or not message.invalid_tool_calls:
        return
    call = message.invalid_tool_calls[0]
    raise OutputParserException(
        f"The model's answer is invalid: {call.get('error') or call.get('args')}", llm_output=call.get("args") or ""
    )
