"""Errors of the knowledge base and of reflected schemas."""

from collections.abc import Sequence

from toolken.tools.errors import ToolError
from toolken.tools.quotation import quoted


class KnowledgeError(ToolError):
    """The knowledge base could not be opened, loaded or read.

    The message names the database URL, the file and line, or the relation to correct.
    """


class NothingFoundError(KnowledgeError):
    """A lookup found no row; `suggestions` are similar names, the most similar first.

    Ask for one of the `suggestions`, or load the fact.
    """

    def __init__(self, message: str, suggestions: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.suggestions = list(suggestions)


def did_you_mean(suggestions: Sequence[str]) -> str:
    """Return the end of the sentence "Nothing is stored under ...", which offers `suggestions` if there are any."""
    if not suggestions:
        return ", nor under a similar name."
    return f"; did you mean {' or '.join(quoted(name) for name in suggestions)}?"
