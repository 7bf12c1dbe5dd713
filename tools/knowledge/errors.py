"""Errors of the knowledge base: what could not be found, read or loaded, and what to do about it."""

from collections.abc import Sequence

from toolken.tools.errors import ToolError
from toolken.tools.quotation import quoted


class KnowledgeError(ToolError):
    """The knowledge base could not be opened, loaded or read.

    Check the database's address, the file and line or the relation that the message names.
    """


class NothingFoundError(KnowledgeError):
    """A lookup found no row; `suggestions` are the names it could have been, best first.

    Ask for one of the `suggestions`, or load the fact.
    """

    def __init__(self, message: str, suggestions: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.suggestions = list(suggestions)


def did_you_mean(suggestions: Sequence[str]) -> str:
    """Return the end of a sentence that says nothing was found, offering `suggestions` where there are any."""
    if not suggestions:
        return ", nor under a similar name."
    return f"; did you mean {' or '.join(quoted(name) for name in suggestions)}?"
