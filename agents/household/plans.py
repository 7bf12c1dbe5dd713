"""Plans as text: one step per line, a verb and its object, each toolken decided after its opening bracket."""

from collections.abc import Sequence

from toolken.training.examples import Call, Example
from toolken.training.prompts.prompt_format import PromptFormat

#: The format of a request that is complete in itself, up to and including "Plan:".
PLANS = PromptFormat(question="{question}", joint="\n", opening="")


def plan_example(question: str, plan: Sequence[str]) -> Example:
    """Return an example whose answer is a plan and whose calls are the plan's toolkens.

    Parameters
    ----------
    question
        The request, up to and including "Plan:".
    plan
        Toolkens such as `[WALK]` and `<couch>`.
    """
    answer, calls = "", []
    for toolken in plan:
        answer += lead(answer, toolken)
        # Verbs and objects alternate, so the bracket carries no decision. After the bracket the LM is about to name
        # a verb or an object, and its hidden state there separates them better than the one before the bracket.
        calls.append(Call(tool=toolken, result=toolken[1:], start=len(answer)))
        answer += toolken[1:]
    return Example(question=question, answer=answer, calls=tuple(calls))


def lead(written: str, toolken: str) -> str:
    """Return the text between a plan and the name of its next toolken: a separator and the opening bracket.

    Parameters
    ----------
    written
        The plan's text so far.
    toolken
        The next toolken.
    """
    if not written:
        return toolken[0]
    return ("\n" if toolken.startswith("[") else " ") + toolken[0]


def plan_text(plan: Sequence[str]) -> str:
    """Return the text of a plan: `[WALK] <couch>`, one step per line."""
    written = ""
    for toolken in plan:
        written += lead(written, toolken) + toolken[1:]
    return written
