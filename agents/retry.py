"""Retry steps, which correct the arguments of failed calls, and the calls of a question that are made again."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeAlias

from toolken.agents.conversation import canonical

#: Returns the arguments with which a failed call is made again, or None to leave it failed. It gets the arguments of
#: the call, the tool's error and the user's question.
RetryStep: TypeAlias = Callable[[Mapping[str, Any], str, str], dict[str, Any] | None]

#: Text in quotation marks of any kind; an apostrophe inside a word is not one.
_QUOTED = re.compile(r"\"([^\"]+)\"|“([^”]+)”|‘([^’]+)’|`([^`]+)`|(?<!\w)'([^']+)'(?!\w)")


def offered_name(arguments: Mapping[str, Any], error: str, question: str) -> dict[str, Any] | None:
    """Return a call's arguments with names that the tool's error offers instead, or None if it offers none.

    Small models often copy too few or too many words of a name. A name that the error quotes replaces an argument if
    it occurs in the question and either contains the argument, or is contained in it and follows "did you mean". The
    longest such name wins.

    `ToolkenAgent(lm, head, tools, retry=offered_name)` makes such calls again. In LangChain's `create_agent` a
    middleware does so::

        @wrap_tool_call
        def retry_offered_name(request, handler):
            call, question = request.tool_call, request.state["messages"][0].text
            try:
                return handler(request)
            except ToolError as error:
                better = offered_name(call["args"], str(error), question)
                if better is None:
                    raise
                return handler(request.override(tool_call={**call, "args": better}))

    Parameters
    ----------
    arguments
        Arguments of the failed call.
    error
        The tool's error message.
    question
        The user's question.

    Examples
    --------
    >>> error = 'Nothing is stored under "Anne"; did you mean "Anne of Denmark" or "Anne of Kiev"?'
    >>> offered_name({"name": "Anne"}, error, "Who was the mother of Anne of Denmark?")
    {'name': 'Anne of Denmark'}
    """
    asked = question.casefold()
    offered = _quoted_names(error, asked)
    # Errors also quote fragments of the wrong value: a shorter name must be suggested explicitly.
    suggested = set(_quoted_names(error.casefold().partition(" mean")[2], asked))
    found: dict[str, Any] = {}
    for argument, value in arguments.items():
        if isinstance(value, str) and (old := value.strip().casefold()):
            new = [
                name
                for name in offered
                if (one := name.casefold()) != old and (old in one or (one in old and one in suggested))
            ]
            if new:
                found[argument] = max(new, key=len)
    return {**arguments, **found} if found else None


class Retries:
    """Failed calls of one question that are made again with corrected arguments, at most one per tool."""

    def __init__(self, step: RetryStep | None) -> None:
        self._step = step
        self._refused: set[str] = set()
        self._pending: list[tuple[str, dict[str, Any]]] = []
        #: Tools whose only failure has been retried: they may be called again.
        self.settled: set[str] = set()

    def note_failure(self, tool: str, arguments: dict[str, Any], error: str, question: str) -> None:
        """Note a failed call; the first one of a tool may be made again."""
        better = None if self._step is None or tool in self._refused else self._step(arguments, error, question)
        self._refused.add(tool)
        if better is None:
            self.settled.discard(tool)
        else:
            self.settled.add(tool)
            self._pending.append((tool, better))

    def pending(self, tools: Sequence[str], answered: Collection[tuple[str, str]]) -> list[tuple[str, dict[str, Any]]]:
        """Return the calls to be made again, and forget them.

        Parameters
        ----------
        tools
            Names of the tools that may be called.
        answered
            Calls that were answered, as `Prompt.answered` has them; they are not made again.
        """
        calls, self._pending = self._pending, []
        return [
            (tool, arguments)
            for tool, arguments in calls
            if tool in tools and (tool, canonical(arguments)) not in answered
        ]


def _quoted_names(error: str, question: str) -> list[str]:
    """Return the quoted texts that also occur in the question."""
    names = (next(filter(None, groups)).strip() for groups in _QUOTED.findall(error))
    return [name for name in names if name and _occurs(name.casefold(), question)]


def _occurs(name: str, text: str) -> bool:
    """Tell whether a name occurs in a text as whole words."""
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) is not None
